#include "pool.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace elman {
namespace {

std::atomic<int> g_threads{1};
thread_local bool t_busy = false;  // inside of a job: what begins there stays on this thread
constexpr int kSpins = 4000;       // about 20 microseconds: a call that follows at once finds its workers awake

inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Flushes denormals to zero while it lives: a silent input drives the state of a gated cell into the denormals, where
// each operation costs a hundred times as much and never ends.
class FlushDenormals {
#if defined(__x86_64__)
   public:
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }
    ~FlushDenormals() { _mm_setcsr(before_); }

   private:
    unsigned before_;
#elif defined(__aarch64__)
   public:
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" ::"r"(before_ | (std::uint64_t{1} << 24)));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

   private:
    std::uint64_t before_;
#endif
};

struct Job {
    Work work = nullptr;
    void* context = nullptr;
    Team* team = nullptr;
    int size = 0;  // threads that work on it; a worker beyond them must not look at the team, which may be gone
};

class Pool {
   public:
    // Runs the job on `job.size` threads, the caller among them, or returns false if another caller has the pool.
    bool run(const Job& job) {
        std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
        if (!mine.owns_lock()) return false;
        if (!grow(job.size - 1)) return false;
        left_.store(job.size - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(wake_mutex_);
            job_ = job;
            turn_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work_on(job, 0);
        for (int spins = 0; left_.load(std::memory_order_acquire) > 0; ++spins)
            spins < kSpins ? relax() : std::this_thread::yield();
        if (failed_) std::rethrow_exception(std::exchange(failed_, nullptr));
        return true;
    }

   private:
    // An exception waits until all threads are done, for they use what the caller's stack holds.
    void work_on(const Job& job, int me) noexcept {
        const bool before = std::exchange(t_busy, true);
        try {
            job.work(job.context, *job.team, me);
        } catch (...) {
            std::lock_guard<std::mutex> lock(wake_mutex_);
            if (!failed_) failed_ = std::current_exception();
        }
        t_busy = before;
    }

    bool grow(int count) {
        try {
            while (static_cast<int>(workers_.size()) < count) {
                const int me = static_cast<int>(workers_.size()) + 1;
                const unsigned seen = turn_.load();
                workers_.emplace_back([this, me, seen] { serve(me, seen); });
                workers_.back().detach();  // they sleep until the process ends
            }
        } catch (const std::system_error&) {
            return false;  // no more threads to be had: the caller works alone
        }
        return true;
    }

    void serve(int me, unsigned seen) {
        for (;;) {
            for (int spins = 0; turn_.load(std::memory_order_acquire) == seen && spins < kSpins; ++spins) relax();
            Job job;
            {
                std::unique_lock<std::mutex> lock(wake_mutex_);
                wake_.wait(lock, [&] { return turn_.load(std::memory_order_relaxed) != seen; });
                seen = turn_.load(std::memory_order_relaxed);
                job = job_;
            }
            if (me >= job.size) continue;
            {
                FlushDenormals flush;
                work_on(job, me);
            }
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::mutex busy_, wake_mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> turn_{0};
    std::atomic<int> left_{0};
    Job job_;
    std::vector<std::thread> workers_;
    std::exception_ptr failed_;
};

Pool* g_pool = nullptr;
std::once_flag g_made;

// In a child of fork there are no workers, and locks may be held by threads that do not exist there: begin anew.
void forget() { g_pool = new Pool; }

Pool& pool() {
    std::call_once(g_made, [] {
        g_pool = new Pool;
        pthread_atfork(nullptr, nullptr, forget);
    });
    return *g_pool;
}

}  // namespace

int threads() { return g_threads.load(std::memory_order_relaxed); }
void set_threads(int count) { g_threads.store(count < 1 ? 1 : count, std::memory_order_relaxed); }

void Team::wait() {
    if (size == 1) return;
    const unsigned round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        round_.store(round + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins)
        spins < kSpins ? relax() : std::this_thread::yield();
}

void run_on(int count, Work work, void* context) {
    FlushDenormals flush;
    if (count > 1 && !t_busy) {
        Team team(count);
        if (pool().run({work, context, &team, count})) return;
    }
    Team alone(1);
    work(context, alone, 0);
}

}  // namespace elman
