// What is not recurrent: Linear, activations, softmax with cross-entropy, and sums into rows of a table.
#pragma once

#include <cmath>

#include "recurrence.h"

namespace elman::ELMAN_ISA {

template <class T, class S>
inline void pack_dense_weights(Packed& to, const T* weight, const T* bias) {
    const Columns columns = Columns::of<T>(to.H);
    S* ih = room_for<T, S>(to, columns.size(kLanes<T>, to.I));
    to.ih = ih;
    pack_columns<T, S>(ih, weight, columns, to.I, to.I, 1);
    const index padded = columns.blocks * kLanes<T>;
    T* start = room_for<T, T>(to, padded);
    to.bias = start;
    for (index k = 0; k < padded; ++k) start[k] = bias && k < to.H ? bias[k] : T(0);
}

template <class T>
inline Packed* pack_dense(index I, index O, const T* weight, const T* bias, bool narrow) {
    std::unique_ptr<Packed> packed(new Packed);
    packed->I = I;
    packed->H = O;
    packed->narrow = narrow;
    if constexpr (sizeof(T) == 4) {
        if (narrow) {
            pack_dense_weights<T, bf16>(*packed, weight, bias);
            return packed.release();
        }
    }
    pack_dense_weights<T, T>(*packed, weight, bias);
    return packed.release();
}

template <class T, class S>
inline void dense_typed(const Dense<T>& call, T* y) {
    constexpr int L = kLanes<T>;
    const Columns columns = Columns::of<T>(call.O);
    const S* weights = static_cast<const S*>(call.packed->ih);
    const T* bias = static_cast<const T*>(call.packed->bias);
    const int count = team_for(double(call.N) * double(call.I) * double(call.O));
    parallel(count, [&](Team& team, int me) {
        const bool by_rows = call.N >= 4 * team.size;
        const Range rows = by_rows ? share(call.N, me, team.size) : Range{0, call.N};
        const Range panels = by_rows ? Range{0, columns.panels()} : share(columns.panels(), me, team.size);
        product_of_columns<T, S>(
            columns, rows.to - rows.from, panels, call.I, weights,
            [&](index i) { return call.x + (rows.from + i) * call.x_row; },
            [&](index, index block) { return load(bias + block * L); },
            [&](index i, index block, Vec<T> sum) {
                store_first<T>(y + (rows.from + i) * call.O + block * L, sum,
                               static_cast<int>(std::min<index>(L, call.O - block * L)));
            });
    });
}

template <class T>
inline void dense(const Dense<T>& call, T* y) {
    std::unique_ptr<Packed> own;
    Dense<T> with = call;
    if (!call.packed) {
        own.reset(pack_dense<T>(call.I, call.O, call.weight, call.bias, false));
        with.packed = own.get();
    }
    if constexpr (sizeof(T) == 4) {
        if (with.packed->narrow) return dense_typed<T, bf16>(with, y);
    }
    dense_typed<T, T>(with, y);
}

template <class T>
inline void dense_backward(const Dense<T>& call, const T* d_y, T* d_x, T* d_weight, T* d_bias) {
    constexpr int L = kLanes<T>;
    const index N = call.N, I = call.I, O = call.O;
    const Columns columns = Columns::of<T>(I);
    const int count = team_for(2 * double(N) * double(I) * double(O));
    Buffer<T> weights(d_x ? columns.size(kLanes<T>, O) : 0);
    const index scratch_size = add_outer_scratch<T>(I);
    Buffer<T> scratch(scratch_size * count);
    if (d_x) pack_columns<T, T>(weights, call.weight, columns, O, 1, I);
    parallel(count, [&](Team& team, int me) {
        const auto d_row = [&](index r) { return d_y + r * O; };
        const Range tiles = share(divide_up(O, kRows), me, team.size);
        const Range mine = {std::min<index>(tiles.from * kRows, O), std::min<index>(tiles.to * kRows, O)};
        if (mine.from < mine.to)
            add_outer<T>(
                d_weight, I, mine, I, N, d_row, [&](index r) { return call.x + r * call.x_row; },
                scratch + me * scratch_size);
        if (d_bias) add_rows<T>(d_bias, mine, N, d_row);
        if (!d_x) return;
        const Range rows = share(N, me, team.size);
        product_of_columns<T, T>(
            columns, rows.to - rows.from, {0, columns.panels()}, O, static_cast<const T*>(weights),
            [&](index i) { return d_row(rows.from + i); }, [](index, index) { return Vec<T>{}; },
            [&](index i, index block, Vec<T> sum) {
                store_first<T>(d_x + (rows.from + i) * I + block * L, sum,
                               static_cast<int>(std::min<index>(L, I - block * L)));
            });
    });
}

template <class T, class F>
inline void each_vector(const T* x, T* y, index n, F f) {
    constexpr int L = kLanes<T>;
    const int count = team_for(16 * double(n));
    parallel(count, [&](Team& team, int me) {
        const Range mine = share(divide_up(n, L), me, team.size);
        for (index block = mine.from; block < mine.to; ++block) {
            const int lanes = static_cast<int>(std::min<index>(L, n - block * L));
            store_first<T>(y + block * L, f(load_first<T>(x + block * L, lanes)), lanes);
        }
    });
}

template <class T>
inline void activate(Activation f, const T* x, T* y, index n) {
    switch (f) {
        case Activation::tanh: return each_vector(x, y, n, [](Vec<T> v) { return tanh<T>(v); });
        case Activation::relu: return each_vector(x, y, n, [](Vec<T> v) { return relu<T>(v); });
        case Activation::sigmoid: return each_vector(x, y, n, [](Vec<T> v) { return sigmoid<T>(v); });
    }
}

template <class T>
inline void exponential(const T* x, T* y, index n) {
    each_vector(x, y, n, [](Vec<T> v) { return exp<T>(v); });
}

// The sum of a row in an order that no vector's width changes: 64 bytes of partial sums, then those one after the
// other.
template <class T>
struct RowSum {
    static constexpr int L = kLanes<T>, parts = 64 / kBytes;
    Vec<T> sums[parts] = {};
    void add(index block, Vec<T> x) { sums[block % parts] += x; }
    T total() const {
        T all[64 / sizeof(T)];
        std::memcpy(all, sums, sizeof all);
        T sum = 0;
        for (const T x : all) sum += x;
        return sum;
    }
};

// The largest of n numbers; what it is beside a NaN does not matter to who then computes with all of them.
template <class T>
inline T largest(const T* x, index n) {
    constexpr int L = kLanes<T>;
    T most = x[0];
    index k = 0;
    if (n >= L) {
        Vec<T> each = load(x);
        for (k = L; k + L <= n; k += L) {
            const Vec<T> next = load(x + k);
            each = next > each ? next : each;
        }
        for (int lane = 0; lane < L; ++lane) most = each[lane] > most ? each[lane] : most;
    }
    for (; k < n; ++k) most = x[k] > most ? x[k] : most;
    return most;
}

// Each row, with e for smoothing: loss = log sum exp(y) - (1 - e) y[target] - e mean(y), and
// d_y = scale (softmax(y) - (1 - e) one_hot(target) - e / V); zeros where the target is negative.
template <class T>
inline void cross_entropy(const T* y, const index* targets, T smoothing, T scale, index N, index V, T* losses, T* d_y) {
    constexpr int L = kLanes<T>;
    const index blocks = divide_up(V, L);
    const int count = team_for(16 * double(N) * double(V));
    parallel(count, [&](Team& team, int me) {
        const Range rows = share(N, me, team.size);
        for (index r = rows.from; r < rows.to; ++r) {
            const T* from = y + r * V;
            T* to = d_y + r * V;
            if (targets[r] < 0) {
                std::fill_n(to, V, T(0));
                losses[r] = 0;
                continue;
            }
            const T most = largest(from, V);
            RowSum<T> sum, sum_of_scores;
            for (index block = 0; block < blocks; ++block) {
                const int lanes = static_cast<int>(std::min<index>(L, V - block * L));
                const Vec<T> score = load_first<T>(from + block * L, lanes) - splat(most);
                if (smoothing > 0) {
                    store_first<T>(to + block * L, score, lanes);
                    sum_of_scores.add(block, load_first<T>(to + block * L, lanes));
                }
                Vec<T> e = exp<T>(score);
                store_first<T>(to + block * L, e, lanes);
                if (lanes < L) e = load_first<T>(to + block * L, lanes);
                sum.add(block, e);
            }
            const T total = sum.total();
            const Vec<T> factor = splat(scale / total), shared = splat(scale * smoothing / static_cast<T>(V));
            for (index block = 0; block < blocks; ++block) {
                const int lanes = static_cast<int>(std::min<index>(L, V - block * L));
                store_first<T>(to + block * L, load_first<T>(to + block * L, lanes) * factor - shared, lanes);
            }
            losses[r] = std::log(total) - (1 - smoothing) * (from[targets[r]] - most);
            if (smoothing > 0) losses[r] -= smoothing * (sum_of_scores.total() / static_cast<T>(V));
            to[targets[r]] -= scale * (1 - smoothing);
        }
    });
}

// Adam's update of n numbers w with gradients g and moments m and v.
template <class T>
inline void adam(const AdamRule& rule, T* w, const T* g, T* m, T* v, index n) {
    constexpr int L = kLanes<T>;
    const auto all = [](double x) { return splat(static_cast<T>(x)); };
    const Vec<T> beta1 = all(rule.beta1), beta2 = all(rule.beta2), rest1 = all(1 - rule.beta1);
    const Vec<T> rest2 = all(1 - rule.beta2), rate = all(rule.rate), scale = all(rule.scale);
    const Vec<T> epsilon = all(rule.epsilon);
    parallel(team_for(16 * double(n)), [&](Team& team, int me) {
        const Range mine = share(divide_up(n, L), me, team.size);
        for (index block = mine.from; block < mine.to; ++block) {
            const index k = block * L;
            const int lanes = static_cast<int>(std::min<index>(L, n - k));
            const Vec<T> d = load_first<T>(g + k, lanes);
            const Vec<T> mean = load_first<T>(m + k, lanes) * beta1 + rest1 * d;
            const Vec<T> square = load_first<T>(v + k, lanes) * beta2 + rest2 * (d * d);
            store_first<T>(m + k, mean, lanes);
            store_first<T>(v + k, square, lanes);
            const Vec<T> root = sqrt_lanes(square) * scale + epsilon;
            store_first<T>(w + k, load_first<T>(w + k, lanes) - rate * mean / root, lanes);
        }
    });
}

// The sum of squares in double, in an order that no vector's width changes: 16 sums, then those one after the other.
template <class T>
inline double sum_of_squares(const T* x, index n) {
    constexpr int D = kLanes<double>, parts = 16 / D;
    typedef T Few __attribute__((vector_size(D * sizeof(T))));
    f64s sums[parts] = {};
    index k = 0;
    for (; k + 16 <= n; k += 16)
        for (int part = 0; part < parts; ++part) {
            Few few;
            std::memcpy(&few, x + k + part * D, sizeof few);
            const f64s wide = __builtin_convertvector(few, f64s);
            sums[part] += wide * wide;
        }
    double all[16];
    std::memcpy(all, sums, sizeof all);
    for (int part = 0; k < n; ++k, ++part) all[part] += static_cast<double>(x[k]) * static_cast<double>(x[k]);
    double total = 0;
    for (const double sum : all) total += sum;
    return total;
}

// table[id] += row, for the rows from the last to the first.
template <class T>
inline void scatter(const index* ids, const T* rows, T* table, index N, index V, index O, std::ptrdiff_t table_row,
                    std::ptrdiff_t table_column) {
    (void)V;
    parallel(1, [&](Team&, int) {
        for (index r = N; r-- > 0;) {
            const T* from = rows + r * O;
            T* to = table + ids[r] * table_row;
            for (index k = 0; k < O; ++k) to[k * table_column] += from[k];
        }
    });
}

// Reads n numbers in eight sums: only to measure how fast memory gives them.
template <class T>
inline double read(const T* x, index n) {
    constexpr int L = kLanes<T>;
    Vec<T> sums[8] = {};
    index k = 0;
    for (; k + 8 * L <= n; k += 8 * L)
#pragma GCC unroll 8
        for (int s = 0; s < 8; ++s) sums[s] += load(x + k + s * L);
    double total = 0;
    for (const Vec<T>& v : sums)
        for (int lane = 0; lane < L; ++lane) total += static_cast<double>(v[lane]);
    return total;
}

}  // namespace elman::ELMAN_ISA
