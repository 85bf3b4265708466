// GRU:  r, z = sigmoid(a)   h_t = (1 - z) n + z h_{t-1}
//       resets after:   n = tanh(W_n x + b_ih_n + r (U_n h_{t-1} + b_hh_n))
//       resets before:  n = tanh(W_n x + b_ih_n + U_n (r h_{t-1}) + b_hh_n)
#pragma once

#include "backward.h"
#include "recurrence.h"

namespace elman::ELMAN_ISA {

template <class T>
inline Vec<T> between(Vec<T> z, Vec<T> n, Vec<T> h) {
    return fma(z, h, (splat(T(1)) - z) * n);
}

template <class T, class S>
inline void gru_after_step(const ForwardStep<T, S>& at) {
    constexpr int L = kLanes<T>;
    const T* bias_n = static_cast<const T*>(at.call.packed->bias_n);
    product<T, S>(
        at.n, at.blocks, 3, at.plan.H, static_cast<const S*>(at.call.packed->hh), at.h_before(),
        [&](index i, index block, Vec<T>* acc) {
            const T* from = at.rows[i].gates_x + block * 3 * L;
            at.fetch_tape(at.rows[i], block);
            acc[0] = load(from);
            acc[1] = load(from + L);
            acc[2] = load(bias_n + block * L);
        },
        [&](index i, index block, const Vec<T>* acc) {
            const ForwardRow<T>& row = at.rows[i];
            const int lanes = at.lanes(block);
            const index u = block * L;
            const Vec<T> r = sigmoid<T>(acc[0]), z = sigmoid<T>(acc[1]);
            const Vec<T> n = tanh<T>(fma(r, acc[2], load(row.gates_x + (block * 3 + 2) * L)));
            store_first<T>(row.h + u, between<T>(z, n, load_first<T>(row.h_before + u, lanes)), lanes);
            if (!row.gates) return;
            at.keep_gate(row, 0, block, r);
            at.keep_gate(row, 1, block, z);
            at.keep_gate(row, 2, block, n);
            store_first<T>(row.hidden_n + u, acc[2], lanes);
        });
}

template <class T, class S>
inline void gru_before_step(const ForwardStep<T, S>& at) {
    constexpr int L = kLanes<T>;
    product<T, S>(
        at.n, at.blocks, 2, at.plan.H, static_cast<const S*>(at.call.packed->hh), at.h_before(),
        [&](index i, index block, Vec<T>* acc) {
            const T* from = at.rows[i].gates_x + block * 3 * L;
            at.fetch_tape(at.rows[i], block);
            acc[0] = load(from);
            acc[1] = load(from + L);
        },
        [&](index i, index block, const Vec<T>* acc) {
            const ForwardRow<T>& row = at.rows[i];
            const index u = block * L;
            const Vec<T> r = sigmoid<T>(acc[0]), z = sigmoid<T>(acc[1]);
            store<T>(row.reset_h + u, r * load_first<T>(row.h_before + u, at.lanes(block)));
            store<T>(row.update + u, z);
            at.keep_gate(row, 0, block, r);
            at.keep_gate(row, 1, block, z);
        });
    at.meet();
    const index panels = at.plan.units.panels();
    const Range mine = at.alone ? Range{0, panels} : share(panels, at.me, at.team.size);
    product_of_columns<T, S>(
        at.plan.units, at.n, mine, at.plan.H, static_cast<const S*>(at.call.packed->hh_n),
        [&](index i) { return static_cast<const T*>(at.rows[i].reset_h); },
        [&](index i, index block) { return load(at.rows[i].gates_x + (block * 3 + 2) * L); },
        [&](index i, index block, Vec<T> sum) {
            const ForwardRow<T>& row = at.rows[i];
            const int lanes = at.lanes(block);
            const index u = block * L;
            const Vec<T> n = tanh<T>(sum), z = load<T>(row.update + u);
            store_first<T>(row.h + u, between<T>(z, n, load_first<T>(row.h_before + u, lanes)), lanes);
            at.keep_gate(row, 2, block, n);
        });
}

// What both forms share: d_z and d_n of a step, from the gradient of its state.
template <class T>
struct UpdateGradients {
    Vec<T> d_h, z, d_n;
};

template <class T, class Lanes>
inline UpdateGradients<T> gru_update_backward(const BackwardStep<T>& at, const BackwardRow<T>& row, index u,
                                              Lanes lanes) {
    const index H = at.plan.H;
    const Vec<T> one = splat(T(1));
    const Vec<T> z = load_first<T>(row.gates + H + u, lanes), n = load_first<T>(row.gates + 2 * H + u, lanes);
    const Vec<T> h_before = load_first<T>(row.h_before + u, lanes), d_h = at.d_h(row, u, lanes);
    store_first<T>(row.d_a + H + u, d_h * (h_before - n) * z * (one - z), lanes);
    const Vec<T> d_n = d_h * (one - z) * (one - n * n);
    store_first<T>(row.d_a + 2 * H + u, d_n, lanes);
    return {d_h, z, d_n};
}

template <class T>
inline void gru_after_step_backward(const BackwardStep<T>& at) {
    const Vec<T> one = splat(T(1));
    const index H = at.plan.H;
    at.each_active([&](const BackwardRow<T>& row, index u, auto lanes) ELMAN_INLINE {
        const auto [d_h, z, d_n] = gru_update_backward<T>(at, row, u, lanes);
        const Vec<T> r = load_first<T>(row.gates + u, lanes);
        const Vec<T> hidden_n = load_first<T>(row.hidden_n + u, lanes);
        store_first<T>(row.d_hidden_n + u, d_n * r, lanes);
        store_first<T>(row.d_a + u, d_n * hidden_n * r * (one - r), lanes);
        store_first<T>(row.d_h + u, d_h * z, lanes);
    });
    at.meet();
    at.carry_h(2 * H, at.work.hh, [](const auto& row) { return row.d_a; }, at.so_far());
    at.carry_h(H, at.work.hh_n, [](const auto& row) { return row.d_hidden_n; }, at.so_far());
}

template <class T>
inline void gru_before_step_backward(const BackwardStep<T>& at) {
    const Vec<T> one = splat(T(1));
    const index H = at.plan.H;
    at.each_active([&](const BackwardRow<T>& row, index u, auto lanes) ELMAN_INLINE {
        const auto [d_h, z, d_n] = gru_update_backward<T>(at, row, u, lanes);
        store_first<T>(row.d_h + u, d_h * z, lanes);
    });
    at.meet();
    // Through the candidate's matrix to r h_{t-1}, and from there to both factors.
    product_of_columns<T, T>(
        at.plan.units, at.n, at.panels, H, at.work.hh_n,
        [&](index i) { return static_cast<const T*>(at.rows[i].d_a + 2 * H); }, [](index, index) { return Vec<T>{}; },
        [&](index i, index block, Vec<T> through) {
            const BackwardRow<T>& row = at.rows[i];
            const index u = block * kLanes<T>;
            const int lanes = at.lanes(block);
            const Vec<T> r = load_first<T>(row.gates + u, lanes);
            const Vec<T> h_before = load_first<T>(row.h_before + u, lanes);
            store_first<T>(row.d_a + u, through * h_before * r * (one - r), lanes);
            store_first<T>(row.reset_h + u, r * h_before, lanes);
            store_first<T>(row.d_h + u, fma(through, r, load_first<T>(row.d_h + u, lanes)), lanes);
        });
    at.meet();
    at.carry_h(2 * H, at.work.hh, [](const auto& row) { return row.d_a; }, at.so_far());
}

}  // namespace elman::ELMAN_ISA
