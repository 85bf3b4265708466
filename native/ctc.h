// The CTC loss and its gradient: the sum over all alignments of a target, row by row of the batch.
//
// The places of a target are  blank l1 blank l2 ... blank, 2 S + 1 of them; a is the sum of all paths that reach a place
// at a frame, b of all that go on from it. Where the reference twin takes logarithms, this one has numbers with an
// exponent of their own, m 2^e with 1 <= m < 2 and e of 64 bits: they have the range of logarithms, add and multiply
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
    const i64s mantissa = (bits & splat_int((std::int64_t{1} << kMantissaBits) - 1)) |
                          splat_int(kExponentBias << kMantissaBits);
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

inline Number from_log(double log_p) {
    constexpr double log_2_high = 6.93147180369123816490e-01, log_2_low = 1.90821492927058770002e-10;
    if (log_p == -std::numeric_limits<double>::infinity()) return {};
    const double n = std::floor(log_p / (log_2_high + log_2_low));
    const double m = std::exp((log_p - n * log_2_high) - n * log_2_low);
    int shift = 0;
    const double half = std::frexp(m, &shift);  // m may have rounded to just below 1, or to 2
    return {2 * half, static_cast<std::int64_t>(n) + shift - 1};
}

// What one row needs, kept between the rows of a thread.
struct CtcRoom {
    std::vector<double> m, emit_m, next_m, share, label_m, d, log_p;
    std::vector<std::int64_t> e, emit_e, next_e, label_e, jump, may_jump;
    std::vector<std::int32_t> place;
};

template <class T>
void ctc_row(const Ctc<T>& call, std::int64_t b, CtcRoom& room) {
    constexpr int L = kLanes<double>;
    const std::int64_t V = call.V, length = call.lengths[b];
    const std::int64_t* target = call.targets + call.starts[b];
    const std::int64_t S = call.starts[b + 1] - call.starts[b], n = 2 * S + 1;
    const std::int64_t wide = (n + L - 1) / L * L, row = wide + 2 * L;  // L cells of nothing on each side
    const double infinity = std::numeric_limits<double>::infinity();
    for (std::int64_t t = 0; t < call.T; ++t) {
        T* d_y = call.d_y(t, b);
        for (std::int64_t k = 0; k < V; ++k) d_y[k] = 0;
    }
    if (length == 0) {
        call.losses[b] = S ? infinity : 0;
        return;
    }
    room.place.assign(wide, static_cast<std::int32_t>(call.blank));
    room.jump.assign(row, 0);
    room.may_jump.assign(row, 0);
    for (std::int64_t s = 0; s < S; ++s) {
        room.place[2 * s + 1] = static_cast<std::int32_t>(target[s]);
        if (s && target[s] != target[s - 1]) room.jump[2 * s + 1] = room.may_jump[2 * s - 1] = -1;
    }
    room.m.assign((length + 1) * row, 0);
    room.e.assign((length + 1) * row, kNever);
    room.emit_m.resize(wide), room.emit_e.resize(wide), room.share.resize(wide);
    room.label_m.resize(length * V), room.label_e.resize(length * V);
    room.log_p.resize(length * V), room.d.resize(V);

    bool is_number = true;
    for (std::int64_t t = 0; t < length; ++t) {
        const T* y = call.y(t, b);
        double* log_p = room.log_p.data() + t * V;
        double shift = 0;
        if (call.from_logits) {
            double most = -infinity, total = 0;
            for (std::int64_t k = 0; k < V; ++k) most = y[k] > most ? static_cast<double>(y[k]) : most;
            for (std::int64_t k = 0; k < V; ++k) total += std::exp(static_cast<double>(y[k]) - most);
            shift = most + std::log(total);
        }
        for (std::int64_t k = 0; k < V; ++k) {
            log_p[k] = static_cast<double>(y[k]) - shift;
            if (!(log_p[k] < infinity)) is_number = false;  // NaN, or infinitely likely
            const Number p = is_number ? from_log(log_p[k]) : Number{};
            room.label_m[t * V + k] = p.m, room.label_e[t * V + k] = p.e;
        }
    }
    if (!is_number) {
        call.losses[b] = std::numeric_limits<double>::quiet_NaN();
        for (std::int64_t t = 0; t < length; ++t)
            for (std::int64_t k = 0; k < V; ++k) call.d_y(t, b)[k] = std::numeric_limits<T>::quiet_NaN();
        return;
    }

    const auto emit = [&](std::int64_t t) {
        for (std::int64_t s = 0; s < wide; ++s) {
            room.emit_m[s] = room.label_m[t * V + room.place[s]];
            room.emit_e[s] = room.label_e[t * V + room.place[s]];
        }
    };
    // From the front. Row 0 of m, e stands before the first frame: at the blank in front, from where the first label can
    // be reached too. No jump leads from there, for the first places have none.
    double* m = room.m.data() + L;
    std::int64_t* e = room.e.data() + L;
    m[0] = 1, e[0] = 0;
    for (std::int64_t t = 0; t < length; ++t) {
        emit(t);
        const double* before_m = m + t * row;
        const std::int64_t* before_e = e + t * row;
        const std::int64_t end = std::min(wide, 2 * t + 2);  // no path is further yet
        for (std::int64_t s = 0; s < end; s += L) {
            const i64s jump = load_ints(room.jump.data() + s);
            const Wide stay{load(before_m + s), load_ints(before_e + s)}, step{load(before_m + s - 1), load_ints(before_e + s - 1)};
            const Wide leap{jump ? load(before_m + s - 2) : f64s{}, jump ? load_ints(before_e + s - 2) : splat_int(kNever)};
            const Wide a = sum(stay, step, leap);
            const Wide now = normalised(a.m * load(room.emit_m.data() + s), a.e + load_ints(room.emit_e.data() + s));
            store(m + (t + 1) * row + s, now.m);
            store_ints(e + (t + 1) * row + s, now.e);
        }
        for (std::int64_t s = n; s < std::min(wide, end + L); ++s) m[(t + 1) * row + s] = 0, e[(t + 1) * row + s] = kNever;
    }
    const double* last_m = m + length * row;
    const std::int64_t* last_e = e + length * row;
    Number total{last_m[n - 1], last_e[n - 1]};
    if (S) {
        const std::int64_t most = std::max(total.e, last_e[n - 2]);
        const auto part = [&](double one, std::int64_t exponent) {
            return exponent - most < -1000 ? 0.0 : std::ldexp(one, static_cast<int>(exponent - most));
        };
        total = {part(total.m, total.e) + part(last_m[n - 2], last_e[n - 2]), most};
    }
    if (total.m == 0) {
        call.losses[b] = infinity;
        return;
    }
    call.losses[b] = -(std::log(total.m) + static_cast<double>(total.e) * 0.693147180559945309417) + 0.0;

    // From the end; next is p b of the frame after.
    room.next_m.assign(row, 0);
    room.next_e.assign(row, kNever);
    double* next_m = room.next_m.data();
    std::int64_t* next_e = room.next_e.data();
    next_m[n - 1] = 1, next_e[n - 1] = 0;  // after the last frame: at the blank at the end, or at the last label
    const f64s inverse = splat(1 / total.m);
    const i64s exponent = splat_int(total.e);
    for (std::int64_t t = length - 1; t >= 0; --t) {
        emit(t);
        for (std::int64_t s = 0; s < wide; s += L) {
            const i64s jump = load_ints(room.may_jump.data() + s);
            const Wide stay{load(next_m + s), load_ints(next_e + s)}, step{load(next_m + s + 1), load_ints(next_e + s + 1)};
            const Wide leap{jump ? load(next_m + s + 2) : f64s{}, jump ? load_ints(next_e + s + 2) : splat_int(kNever)};
            const Wide later = sum(stay, step, leap);
            const Wide a{load(m + (t + 1) * row + s), load_ints(e + (t + 1) * row + s)};
            const i64s by = a.e + later.e - exponent;
            store(room.share.data() + s, scaled(a.m * later.m * inverse, by < splat_int(1000) ? by : splat_int(1000)));
            const Wide now = normalised(later.m * load(room.emit_m.data() + s), later.e + load_ints(room.emit_e.data() + s));
            store(next_m + s, now.m);  // place s is read no more at this frame
            store_ints(next_e + s, now.e);
        }
        for (std::int64_t s = n; s < wide; ++s) next_m[s] = 0, next_e[s] = kNever;
        for (std::int64_t k = 0; k < V; ++k) room.d[k] = 0;
        for (std::int64_t s = 0; s < n; ++s) room.d[room.place[s]] += room.share[s];
        T* d_y = call.d_y(t, b);
        for (std::int64_t k = 0; k < V; ++k) {
            const double p = call.from_logits ? std::exp(room.log_p[t * V + k]) : 0;
            d_y[k] = static_cast<T>(p - room.d[k]);
        }
    }
}

// Rows of the batch are shared out among the threads; each row is one thread's, so their number changes no bit.
template <class T>
void ctc(const Ctc<T>& call) {
    const std::int64_t cells = call.B * call.T * (2 * (call.B ? call.starts[call.B] / call.B : 0) + call.V);
    const int count = cells < 20000 ? 1 : static_cast<int>(std::min<std::int64_t>(threads(), call.B));
    parallel(count, [&](Team& team, int me) {
        CtcRoom room;
        for (std::int64_t b = me; b < call.B; b += team.size) ctc_row(call, b, room);
    });
}

}  // namespace elman::ELMAN_ISA
