// LSTM:  i, f, o = sigmoid(a)   g = tanh(a)   c_t = f c_{t-1} + i g   h_t = o tanh(c_t)
#pragma once

#include "backward.h"
#include "recurrence.h"

namespace elman::ELMAN_ISA {

template <class T, class S>
inline void lstm_step(const ForwardStep<T, S>& at) {
    constexpr int L = kLanes<T>;
    product<T, S>(
        at.n, at.blocks, 4, at.plan.H, static_cast<const S*>(at.call.packed->hh), at.h_before(),
        [&](index i, index block, Vec<T>* acc) {
            const T* from = at.rows[i].gates_x + block * 4 * L;
#pragma GCC unroll 4
            for (int g = 0; g < 4; ++g) acc[g] = load(from + g * L);
            at.fetch_tape(at.rows[i], block);
        },
        [&](index i, index block, const Vec<T>* acc) {
            const ForwardRow<T>& row = at.rows[i];
            const int lanes = at.lanes(block);
            const index u = block * L;
            T* cell = row.c + u;
            const Vec<T> in = sigmoid<T>(acc[0]), forget = sigmoid<T>(acc[1]), g = tanh<T>(acc[2]),
                         out = sigmoid<T>(acc[3]);
            const Vec<T> c = fma(forget, load_first<T>(cell, lanes), in * g);
            store_first<T>(cell, c, lanes);
            store_first<T>(row.h + u, out * tanh<T>(c), lanes);
            if (!row.gates) return;
            const Vec<T> gates[] = {in, forget, g, out};
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) store_first<T>(row.gates + k * at.plan.H + u, gates[k], lanes);
            store_first<T>(row.c_kept + u, c, lanes);
        });
}

// d_c_{t-1} = f_t d_c_t: the cell's own path, without a matrix or a squashing.
template <class T>
inline void lstm_step_backward(const BackwardStep<T>& at) {
    const Vec<T> one = splat(T(1));
    const index H = at.plan.H;
    at.each_active([&](const BackwardRow<T>& row, index u, auto lanes) ELMAN_INLINE {
        const auto gate = [&](int g) { return load_first<T>(row.gates + g * H + u, lanes); };
        const Vec<T> in = gate(0), forget = gate(1), g = gate(2), out = gate(3);
        const Vec<T> tanh_c = tanh<T>(load_first<T>(row.c_after + u, lanes));
        const Vec<T> d_h = at.d_h(row, u, lanes);
        const Vec<T> d_c = fma(d_h * out, one - tanh_c * tanh_c, load_first<T>(row.d_c + u, lanes));
        store_first<T>(row.d_c_steps + u, d_c, lanes);
        store_first<T>(row.d_c + u, d_c * forget, lanes);
        const Vec<T> c_before = load_first<T>(row.c_before + u, lanes);
        store_first<T>(row.d_a + u, d_c * g * in * (one - in), lanes);
        store_first<T>(row.d_a + H + u, d_c * c_before * forget * (one - forget), lanes);
        store_first<T>(row.d_a + 2 * H + u, d_c * in * (one - g * g), lanes);
        store_first<T>(row.d_a + 3 * H + u, d_h * tanh_c * out * (one - out), lanes);
    });
    at.meet();
    at.carry_h(4 * H, at.work.hh, [](const auto& row) { return row.d_a; }, at.nothing());
}

}  // namespace elman::ELMAN_ISA
