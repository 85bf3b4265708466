// Threads of our own: a pool that sleeps between calls, survives fork, and serves one caller at a time.
#pragma once

#include <atomic>
#include <cstdint>

namespace elman {

int threads();          // how many a call may use
void set_threads(int);  // at least 1

// The threads that work on one call. All of them meet at `wait`, which orders memory between them.
class Team {
   public:
    explicit Team(int count) : size(count) {}
    void wait();
    const int size;

   private:
    std::atomic<int> arrived_{0};
    std::atomic<unsigned> round_{0};
};

using Work = void (*)(void* context, Team& team, int me);
void run_on(int count, Work work, void* context);

// Calls f(team, me) on up to `count` threads and returns when all are done. Denormals are flushed while f runs, and the
// floating-point mode of the caller is as before afterwards. An exception of f is thrown again when all are done; f may
// throw only where no thread waits for the others. A thread that waits spins, then gives its turn to others.
template <class F>
void parallel(int count, F f) {
    run_on(count, [](void* context, Team& team, int me) { (*static_cast<F*>(context))(team, me); }, &f);
}

}  // namespace elman
