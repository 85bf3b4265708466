// The CTC loss and its gradient: the sum over all alignments of a target, row by row of the batch.
//
// The places of a target are  blank l1 blank l2 ... blank,  2 S + 1 of them; a is the sum of all paths that reach a
// place at a frame, b of all that go on from it. Where the reference twin takes logarithms, this one has numbers with
// an exponent of their own, m 2^e with 1 <= m < 2 and e of 64 bits: they have the range of logarithms, add and multiply
// without exp and log, and round like doubles. Every element is computed in one fixed order, whatever the instruction
// set or the number of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "calls.h"
#include "packed.h"
#include "pool.h"
#include "vec.h"

namespace elman::ELMAN_ISA {

constexpr std::int64_t kNever = -(std::int64_t{1} << 40);  // the exponent of 0
constexpr double kLeastLog = -7e11;  // a probability whose logarithm is not above this counts as 0
constexpr std::int64_t kExponentBias = 1023;
constexpr int kMantissaBits = 52;

struct Wide {
    f64s m;
    i64s e;
};

inline i64s load_ints(const std::int64_t* p) {
    i64s v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store_ints(std::int64_t* p, i64s v) { std::memcpy(p, &v, sizeof v); }

inline i64s splat_int(std::int64_t x) { return x - i64s{}; }

// m 2^by for by up to 1023; less than 2^-1000 counts as nothing.
inline f64s scaled(f64s m, i64s by) {
    const i64s least = splat_int(-1000);
    const i64s small = by < least;
    const i64s bits = ((small ? least : by) + splat_int(kExponentBias)) << kMantissaBits;
    return small ? f64s{} : m * (f64s)bits;
}

// The same number with 1 <= m < 2, or the zero of kNever.
inline Wide normalised(f64s m, i64s e) {
    const i64s bits = (i64s)m;
    const i64s none = m == f64s{};
    const i64s grown = e + (bits >> kMantissaBits) - splat_int(kExponentBias);
    const i64s mantissa =
        (bits & splat_int((std::int64_t{1} << kMantissaBits) - 1)) | splat_int(kExponentBias << kMantissaBits);
    return {none ? f64s{} : (f64s)mantissa, none ? splat_int(kNever) : grown};
}

inline i64s larger(i64s a, i64s b) { return a > b ? a : b; }

inline Wide sum(Wide a, Wide b, Wide c) {
    const i64s e = larger(larger(a.e, b.e), c.e);
    return {scaled(a.m, a.e - e) + scaled(b.m, b.e - e) + scaled(c.m, c.e - e), e};
}

// One number, as above.
struct Number {
    double m = 0;
    std::int64_t e = kNever;
};

inline Number plus(Number a, Number b) {
    const std::int64_t e = std::max(a.e, b.e);
    const auto part = [e](Number x) { return x.e - e < -1000 ? 0.0 : std::ldexp(x.m, static_cast<int>(x.e - e)); };
    return {part(a) + part(b), e};
}

inline double log_of(Number x) { return std::log(x.m) + static_cast<double>(x.e) * 0.693147180559945309417; }

inline Number from_log(double log_p) {
    constexpr double log_2_high = 6.93147180369123816490e-01, log_2_low = 1.90821492927058770002e-10;
    if (log_p <= kLeastLog) return {};
    const double n = std::floor(log_p / (log_2_high + log_2_low));
    const double m = std::exp((log_p - n * log_2_high) - n * log_2_low);
    int shift = 0;
    const double half = std::frexp(m, &shift);  // m may have rounded to just below 1, or to 2
    return {2 * half, static_cast<std::int64_t>(n) + shift - 1};
}

// The sums of one row of the batch after the other; what a row needs is kept for the next.
template <class T>
class CtcSums {
   public:
    explicit CtcSums(const Ctc<T>& call) : call_(call), V_(call.V) {}

    void row(std::int64_t b) {
        for (std::int64_t t = 0; t < call_.T; ++t) std::fill_n(call_.d_y(t, b), V_, T(0));
        length_ = call_.lengths[b];
        prepare(call_.targets + call_.starts[b], call_.starts[b + 1] - call_.starts[b]);
        if (length_ == 0) {
            call_.losses[b] = n_ > 1 ? kInfinity : 0;
        } else if (!read_probabilities(b)) {
            call_.losses[b] = std::numeric_limits<double>::quiet_NaN();
            for (std::int64_t t = 0; t < length_; ++t)
                std::fill_n(call_.d_y(t, b), V_, std::numeric_limits<T>::quiet_NaN());
        } else {
            const Number total = from_front();
            call_.losses[b] = total.m == 0 ? kInfinity : 0.0 - log_of(total);
            if (total.m != 0) from_end(b, total);
        }
    }

   private:
    static constexpr std::int64_t L = kLanes<double>;
    static constexpr double kInfinity = std::numeric_limits<double>::infinity();

    // Lays out the places of a target, and which of them can be reached or left by a jump.
    void prepare(const std::int64_t* target, std::int64_t S) {
        n_ = 2 * S + 1;
        wide_ = (n_ + L - 1) / L * L;
        row_ = wide_ + 2 * L;  // L cells of nothing on each side
        place_.assign(wide_, call_.blank);
        jump_.assign(row_, 0);
        may_jump_.assign(row_, 0);
        for (std::int64_t s = 0; s < S; ++s) {
            place_[2 * s + 1] = target[s];
            if (s && target[s] != target[s - 1]) jump_[2 * s + 1] = may_jump_[2 * s - 1] = -1;
        }
        m_.assign((length_ + 1) * row_, 0);
        e_.assign((length_ + 1) * row_, kNever);
        emit_m_.resize(wide_), emit_e_.resize(wide_), share_.resize(wide_), d_.resize(V_);
        log_p_.resize(length_ * V_), label_m_.resize(length_ * V_), label_e_.resize(length_ * V_);
    }

    // Returns whether all are numbers: not NaN, and not infinitely likely.
    bool read_probabilities(std::int64_t b) {
        for (std::int64_t t = 0; t < length_; ++t) {
            const T* y = call_.y(t, b);
            double shift = 0;
            if (call_.from_logits) {
                double most = -kInfinity, total = 0;
                for (std::int64_t k = 0; k < V_; ++k) most = std::max<double>(most, y[k]);
                for (std::int64_t k = 0; k < V_; ++k) total += std::exp(y[k] - most);
                shift = most + std::log(total);
            }
            for (std::int64_t k = 0; k < V_; ++k) {
                const std::int64_t at = t * V_ + k;
                log_p_[at] = y[k] - shift;
                if (!(log_p_[at] < kInfinity)) return false;
                const Number p = from_log(log_p_[at]);
                label_m_[at] = p.m, label_e_[at] = p.e;
            }
        }
        return true;
    }

    // Looks up the probabilities of all places at a frame.
    void emit(std::int64_t t) {
        for (std::int64_t s = 0; s < wide_; ++s) {
            emit_m_[s] = label_m_[t * V_ + place_[s]];
            emit_e_[s] = label_e_[t * V_ + place_[s]];
        }
    }

    Wide emitted(Wide a, std::int64_t s) const {
        return normalised(a.m * load(emit_m_.data() + s), a.e + load_ints(emit_e_.data() + s));
    }

    static Wide at(const double* m, const std::int64_t* e) { return {load(m), load_ints(e)}; }

    static Wide at_jump(i64s jump, const double* m, const std::int64_t* e) {
        return {jump ? load(m) : f64s{}, jump ? load_ints(e) : splat_int(kNever)};
    }

    // Row 0 of m, e stands before the first frame: at the blank in front, from where the first label can be reached
    // too. No jump leads from there, for the first places have none. Returns the sum of all paths.
    Number from_front() {
        double* m = m_.data() + L;
        std::int64_t* e = e_.data() + L;
        m[0] = 1, e[0] = 0;
        for (std::int64_t t = 0; t < length_; ++t, m += row_, e += row_) {
            emit(t);
            const std::int64_t end = std::min(wide_, 2 * t + 2);  // no path is further yet
            for (std::int64_t s = 0; s < end; s += L) {
                const i64s jump = load_ints(jump_.data() + s);
                const Wide now =
                    emitted(sum(at(m + s, e + s), at(m + s - 1, e + s - 1), at_jump(jump, m + s - 2, e + s - 2)), s);
                store(m + row_ + s, now.m);
                store_ints(e + row_ + s, now.e);
            }
            for (std::int64_t s = n_; s < wide_; ++s) m[row_ + s] = 0, e[row_ + s] = kNever;
        }
        const Number last = {m[n_ - 1], e[n_ - 1]};
        return n_ == 1 ? last : plus(last, {m[n_ - 2], e[n_ - 2]});
    }

    // next is p b of the frame after; after the last one, at the blank at the end or at the last label.
    void from_end(std::int64_t b, Number total) {
        next_m_.assign(row_, 0);
        next_e_.assign(row_, kNever);
        double* next_m = next_m_.data();
        std::int64_t* next_e = next_e_.data();
        next_m[n_ - 1] = 1, next_e[n_ - 1] = 0;
        const f64s inverse = splat(1 / total.m);
        const i64s exponent = splat_int(total.e), most = splat_int(1000);
        for (std::int64_t t = length_ - 1; t >= 0; --t) {
            emit(t);
            const double* m = m_.data() + L + (t + 1) * row_;
            const std::int64_t* e = e_.data() + L + (t + 1) * row_;
            for (std::int64_t s = 0; s < wide_; s += L) {
                const i64s jump = load_ints(may_jump_.data() + s);
                const Wide later = sum(at(next_m + s, next_e + s), at(next_m + s + 1, next_e + s + 1),
                                       at_jump(jump, next_m + s + 2, next_e + s + 2));
                const i64s by = load_ints(e + s) + later.e - exponent;
                store(share_.data() + s, scaled(load(m + s) * later.m * inverse, by < most ? by : most));
                const Wide now = emitted(later, s);
                store(next_m + s, now.m);  // place s is read no more at this frame
                store_ints(next_e + s, now.e);
            }
            for (std::int64_t s = n_; s < wide_; ++s) next_m[s] = 0, next_e[s] = kNever;
            write_gradient(t, b);
        }
    }

    void write_gradient(std::int64_t t, std::int64_t b) {
        std::fill(d_.begin(), d_.end(), 0);
        for (std::int64_t s = 0; s < n_; ++s) d_[place_[s]] += share_[s];
        T* d_y = call_.d_y(t, b);
        for (std::int64_t k = 0; k < V_; ++k) {
            const double p = call_.from_logits ? std::exp(log_p_[t * V_ + k]) : 0;
            d_y[k] = static_cast<T>(p - d_[k]);
        }
    }

    const Ctc<T>& call_;
    const std::int64_t V_;
    std::int64_t length_ = 0, n_ = 0, wide_ = 0, row_ = 0;  // frames; places, rounded up to vectors, with a margin
    std::vector<std::int64_t> place_, jump_, may_jump_;     // label of each place; masks
    std::vector<double> m_, emit_m_, next_m_, label_m_;  // mantissas: a (T + 1, places), p of places, p b, p of labels
    std::vector<std::int64_t> e_, emit_e_, next_e_, label_e_;  // their exponents
    std::vector<double> share_, d_, log_p_;
};

// Rows of the batch are shared out among the threads; each row is one thread's, so their number changes no bit.
template <class T>
void ctc(const Ctc<T>& call) {
    const std::int64_t cells = call.B * call.T * (2 * (call.B ? call.starts[call.B] / call.B : 0) + call.V);
    const int count = cells < 20000 ? 1 : static_cast<int>(std::min<std::int64_t>(threads(), call.B));
    parallel(count, [&](Team& team, int me) {
        CtcSums<T> sums(call);
        for (std::int64_t b = me; b < call.B; b += team.size) sums.row(b);
    });
}

}  // namespace elman::ELMAN_ISA
