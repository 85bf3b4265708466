// LSTM:  i, f, o = sigmoid(a)   g = tanh(a)   c_t = f c_{t-1} + i g   h_t = o tanh(c_t)
#pragma once

#include "backward.h"
#include "recurrence.h"

namespace elman::ELMAN_ISA {

template <class T, class S>
inline void lstm_step(const ForwardStep<T, S>& at) {
    constexpr int L = kLanes<T>;
    product<T, S>(
        at.n, at.blocks, 4, at.plan.H, static_cast<const S*>(at.call.packed->hh),
        [&](index i) { return at.h_before(i); },
        [&](index i, index block, Vec<T>* acc) {
            const T* from = at.gates_x.slot(at.t, i) + block * 4 * L;
#pragma GCC unroll 4
            for (int g = 0; g < 4; ++g) acc[g] = load(from + g * L);
        },
        [&](index i, index block, const Vec<T>* acc) {
            const int lanes = at.lanes(block);
            const index u = block * L, b = at.rows[i];
            T* cell = at.call.c_last + b * at.plan.H + u;
            const Vec<T> in = sigmoid<T>(acc[0]), forget = sigmoid<T>(acc[1]), g = tanh<T>(acc[2]),
                         out = sigmoid<T>(acc[3]);
            const Vec<T> c = fma(forget, load_first<T>(cell, lanes), in * g);
            store_first<T>(cell, c, lanes);
            store_first<T>(at.h(i) + u, out * tanh<T>(c), lanes);
            if (!at.call.gates) return;
            const Vec<T> gates[] = {in, forget, g, out};
            for (int k = 0; k < 4; ++k) at.keep_gate(i, k, block, gates[k]);
            store_first<T>(at.call.c + (at.t * at.call.walk.B + b) * at.plan.H + u, c, lanes);
        });
}

// d_c_{t-1} = f_t d_c_t: the cell's own path, without a matrix or a squashing.
template <class T>
inline void lstm_step_backward(const BackwardStep<T>& at) {
    const Vec<T> one = splat(T(1));
    at.each_active([&](index row, index u, int lanes) {
        const auto gate = [&](int g) { return load_first<T>(at.gate(row, g) + u, lanes); };
        const Vec<T> in = gate(0), forget = gate(1), g = gate(2), out = gate(3);
        const Vec<T> tanh_c = tanh<T>(load_first<T>(at.state(at.call.c_after, row) + u, lanes));
        T* carry_c = at.carry(at.call.d_c, row) + u;
        const Vec<T> d_h = at.d_h(row, u, lanes);
        const Vec<T> d_c = fma(d_h * out, one - tanh_c * tanh_c, load_first<T>(carry_c, lanes));
        store_first<T>(at.state(at.call.d_c_steps, row) + u, d_c, lanes);
        store_first<T>(carry_c, d_c * forget, lanes);
        const Vec<T> c_before = load_first<T>(at.state(at.call.c_before, row) + u, lanes);
        store_first<T>(at.d_a(row, 0) + u, d_c * g * in * (one - in), lanes);
        store_first<T>(at.d_a(row, 1) + u, d_c * c_before * forget * (one - forget), lanes);
        store_first<T>(at.d_a(row, 2) + u, d_c * in * (one - g * g), lanes);
        store_first<T>(at.d_a(row, 3) + u, d_h * tanh_c * out * (one - out), lanes);
    });
    at.meet();
    at.carry_h(
        4 * at.plan.H, at.work.hh, [&](index row) { return at.d_a(row, 0); },
        [](index, index, int) { return Vec<T>{}; });
}

}  // namespace elman::ELMAN_ISA
