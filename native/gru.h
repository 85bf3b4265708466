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
        at.n, at.blocks, 3, at.plan.H, static_cast<const S*>(at.call.packed->hh),
        [&](index i) { return at.h_before(i); },
        [&](index i, index block, Vec<T>* acc) {
            const T* from = at.gates_x.slot(at.t, i) + block * 3 * L;
            acc[0] = load(from);
            acc[1] = load(from + L);
            acc[2] = load(bias_n + block * L);
        },
        [&](index i, index block, const Vec<T>* acc) {
            const int lanes = at.lanes(block);
            const index u = block * L;
            const Vec<T> r = sigmoid<T>(acc[0]), z = sigmoid<T>(acc[1]);
            const Vec<T> n = tanh<T>(fma(r, acc[2], load(at.gates_x.slot(at.t, i) + (block * 3 + 2) * L)));
            store_first<T>(at.h(i) + u, between<T>(z, n, load_first<T>(at.h_before(i) + u, lanes)), lanes);
            if (!at.call.gates) return;
            at.keep_gate(i, 0, block, r);
            at.keep_gate(i, 1, block, z);
            at.keep_gate(i, 2, block, n);
            store_first<T>(at.call.hidden_n + (at.t * at.call.walk.B + at.rows[i]) * at.plan.H + u, acc[2], lanes);
        });
}

template <class T, class S>
inline void gru_before_step(const ForwardStep<T, S>& at) {
    constexpr int L = kLanes<T>;
    const index padded = at.plan.units.blocks * L;
    product<T, S>(
        at.n, at.blocks, 2, at.plan.H, static_cast<const S*>(at.call.packed->hh),
        [&](index i) { return at.h_before(i); },
        [&](index i, index block, Vec<T>* acc) {
            const T* from = at.gates_x.slot(at.t, i) + block * 3 * L;
            acc[0] = load(from);
            acc[1] = load(from + L);
        },
        [&](index i, index block, const Vec<T>* acc) {
            const index u = block * L, b = at.rows[i];
            const Vec<T> r = sigmoid<T>(acc[0]), z = sigmoid<T>(acc[1]);
            store<T>(at.reset_h + b * padded + u, r * load_first<T>(at.h_before(i) + u, at.lanes(block)));
            store<T>(at.update + b * padded + u, z);
            at.keep_gate(i, 0, block, r);
            at.keep_gate(i, 1, block, z);
        });
    at.meet();
    const index panels = at.plan.units.panels();
    const Range mine = at.alone ? Range{0, panels} : share(panels, at.me, at.team.size);
    product_of_columns<T, S>(
        at.plan.units, at.n, mine, at.plan.H, static_cast<const S*>(at.call.packed->hh_n),
        [&](index i) { return static_cast<const T*>(at.reset_h + at.rows[i] * padded); },
        [&](index i, index block) { return load(at.gates_x.slot(at.t, i) + (block * 3 + 2) * L); },
        [&](index i, index block, Vec<T> sum) {
            const int lanes = at.lanes(block);
            const index u = block * L, b = at.rows[i];
            const Vec<T> n = tanh<T>(sum), z = load<T>(at.update + b * padded + u);
            store_first<T>(at.h(i) + u, between<T>(z, n, load_first<T>(at.h_before(i) + u, lanes)), lanes);
            at.keep_gate(i, 2, block, n);
        });
}

// What both forms share: d_z and d_n of a step, from the gradient of its state.
template <class T>
struct UpdateGradients {
    Vec<T> d_h, z, d_n;
};

template <class T>
inline UpdateGradients<T> gru_update_backward(const BackwardStep<T>& at, index row, index u, int lanes) {
    const Vec<T> one = splat(T(1));
    const Vec<T> z = load_first<T>(at.gate(row, 1) + u, lanes), n = load_first<T>(at.gate(row, 2) + u, lanes);
    const Vec<T> h_before = load_first<T>(at.state(at.call.h_before, row) + u, lanes), d_h = at.d_h(row, u, lanes);
    store_first<T>(at.d_a(row, 1) + u, d_h * (h_before - n) * z * (one - z), lanes);
    const Vec<T> d_n = d_h * (one - z) * (one - n * n);
    store_first<T>(at.d_a(row, 2) + u, d_n, lanes);
    return {d_h, z, d_n};
}

template <class T>
inline void gru_after_step_backward(const BackwardStep<T>& at) {
    const Vec<T> one = splat(T(1));
    const index H = at.plan.H;
    at.each_active([&](index row, index u, int lanes) {
        const auto [d_h, z, d_n] = gru_update_backward<T>(at, row, u, lanes);
        const Vec<T> r = load_first<T>(at.gate(row, 0) + u, lanes);
        const Vec<T> hidden_n = load_first<T>(at.state(at.call.hidden_n, row) + u, lanes);
        store_first<T>(at.state(at.work.d_hidden_n, row) + u, d_n * r, lanes);
        store_first<T>(at.d_a(row, 0) + u, d_n * hidden_n * r * (one - r), lanes);
        store_first<T>(at.carry(at.call.d_h, row) + u, d_h * z, lanes);
    });
    at.meet();
    const auto so_far = [&](index row, index u, int lanes) {
        return load_first<T>(at.carry(at.call.d_h, row) + u, lanes);
    };
    at.carry_h(2 * H, at.work.hh, [&](index row) { return at.d_a(row, 0); }, so_far);
    at.carry_h(H, at.work.hh_n, [&](index row) { return at.state(at.work.d_hidden_n, row); }, so_far);
}

template <class T>
inline void gru_before_step_backward(const BackwardStep<T>& at) {
    const Vec<T> one = splat(T(1));
    const index H = at.plan.H;
    at.each_active([&](index row, index u, int lanes) {
        const auto [d_h, z, d_n] = gru_update_backward<T>(at, row, u, lanes);
        store_first<T>(at.carry(at.call.d_h, row) + u, d_h * z, lanes);
    });
    at.meet();
    // Through the candidate's matrix to r h_{t-1}, and from there to both factors.
    product_of_columns<T, T>(
        at.plan.units, at.n, at.panels, H, at.work.hh_n, [&](index i) { return static_cast<const T*>(at.d_a(i, 2)); },
        [](index, index) { return Vec<T>{}; },
        [&](index row, index block, Vec<T> through) {
            const index u = block * kLanes<T>;
            const int lanes = at.lanes(block);
            const Vec<T> r = load_first<T>(at.gate(row, 0) + u, lanes);
            const Vec<T> h_before = load_first<T>(at.state(at.call.h_before, row) + u, lanes);
            store_first<T>(at.d_a(row, 0) + u, through * h_before * r * (one - r), lanes);
            store_first<T>(at.state(at.work.reset_h, row) + u, r * h_before, lanes);
            T* carry = at.carry(at.call.d_h, row) + u;
            store_first<T>(carry, fma(through, r, load_first<T>(carry, lanes)), lanes);
        });
    at.meet();
    at.carry_h(
        2 * H, at.work.hh, [&](index row) { return at.d_a(row, 0); },
        [&](index row, index u, int lanes) { return load_first<T>(at.carry(at.call.d_h, row) + u, lanes); });
}

}  // namespace elman::ELMAN_ISA
