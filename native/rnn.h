// RNN:  h_t = f(a)
#pragma once

#include "backward.h"
#include "recurrence.h"

namespace elman::ELMAN_ISA {

template <Activation f, class T>
inline Vec<T> activated(Vec<T> a) {
    if constexpr (f == Activation::tanh) return tanh<T>(a);
    if constexpr (f == Activation::relu) return relu<T>(a);
    if constexpr (f == Activation::sigmoid) return sigmoid<T>(a);
}

// The derivative, as a function of the activated value.
template <Activation f, class T>
inline Vec<T> slope(Vec<T> y) {
    const Vec<T> one = splat(T(1));
    if constexpr (f == Activation::tanh) return one - y * y;
    if constexpr (f == Activation::relu) return y > Vec<T>{} ? one : Vec<T>{};
    if constexpr (f == Activation::sigmoid) return y * (one - y);
}

template <Activation f, class T, class S>
inline void rnn_step(const ForwardStep<T, S>& at) {
    constexpr int L = kLanes<T>;
    const Range panels = {at.blocks.from / 4, divide_up(at.blocks.to, 4)};
    product_of_columns<T, S>(
        at.plan.units, at.n, panels, at.plan.H, static_cast<const S*>(at.call.packed->hh), at.h_before(),
        [&](index i, index block) { return load(at.rows[i].gates_x + block * L); },
        [&](index i, index block, Vec<T> sum) {
            store_first<T>(at.rows[i].h + block * L, activated<f, T>(sum), at.lanes(block));
        });
}

template <Activation f, class T>
inline void rnn_step_backward(const BackwardStep<T>& at) {
    at.each_active([&](const BackwardRow<T>& row, index u, auto lanes) ELMAN_INLINE {
        const Vec<T> h = load_first<T>(row.h_after + u, lanes);
        store_first<T>(row.d_a + u, at.d_h(row, u, lanes) * slope<f, T>(h), lanes);
    });
    at.meet();
    at.carry_h(at.plan.H, at.work.hh, [](const auto& row) { return row.d_a; }, at.nothing());
}

}  // namespace elman::ELMAN_ISA
