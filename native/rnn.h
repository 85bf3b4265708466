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
        at.plan.units, at.n, panels, at.plan.H, static_cast<const S*>(at.call.packed->hh),
        [&](index i) { return at.h_before(i); },
        [&](index i, index block) { return load(at.gates_x.slot(at.t, i) + block * L); },
        [&](index i, index block, Vec<T> sum) {
            store_first<T>(at.h(i) + block * L, activated<f, T>(sum), at.lanes(block));
        });
}

template <Activation f, class T>
inline void rnn_step_backward(const BackwardStep<T>& at) {
    at.each_active([&](index row, index u, int lanes) {
        const Vec<T> h = load_first<T>(at.state(at.call.h_after, row) + u, lanes);
        store_first<T>(at.d_a(row, 0) + u, at.d_h(row, u, lanes) * slope<f, T>(h), lanes);
    });
    at.meet();
    at.carry_h(
        at.plan.H, at.work.hh, [&](index row) { return at.d_a(row, 0); }, [](index, index, int) { return Vec<T>{}; });
}

}  // namespace elman::ELMAN_ISA
