// All kernels for one instruction set, as a table. CMake compiles this file once for each of them.

#include "backward.h"
#include "calls.h"
#include "ctc.h"
#include "dense.h"
#include "gru.h"
#include "lstm.h"
#include "recurrence.h"
#include "rnn.h"

#define ELMAN_TEXT_(x) #x
#define ELMAN_TEXT(x) ELMAN_TEXT_(x)

namespace elman::ELMAN_ISA {
namespace {

template <class T, class S>
void forward_typed(const Forward<T>& call) {
    using At = ForwardStep<T, S>;
    switch (call.cell) {
        case Cell::rnn_tanh: return walk_forward<T, S>(call, [](const At& at) { rnn_step<Activation::tanh>(at); });
        case Cell::rnn_relu: return walk_forward<T, S>(call, [](const At& at) { rnn_step<Activation::relu>(at); });
        case Cell::rnn_sigmoid:
            return walk_forward<T, S>(call, [](const At& at) { rnn_step<Activation::sigmoid>(at); });
        case Cell::lstm: return walk_forward<T, S>(call, [](const At& at) { lstm_step(at); });
        case Cell::gru_after: return walk_forward<T, S>(call, [](const At& at) { gru_after_step(at); });
        case Cell::gru_before: return walk_forward<T, S>(call, [](const At& at) { gru_before_step(at); });
    }
}

template <class T>
void forward(const Forward<T>& call) {
    if constexpr (sizeof(T) == 4) {
        if (call.packed->narrow) return forward_typed<T, bf16>(call);
    }
    forward_typed<T, T>(call);
}

template <class T>
void backward(const Backward<T>& call) {
    using At = BackwardStep<T>;
    switch (call.cell) {
        case Cell::rnn_tanh: return walk_backward(call, [](const At& at) { rnn_step_backward<Activation::tanh>(at); });
        case Cell::rnn_relu: return walk_backward(call, [](const At& at) { rnn_step_backward<Activation::relu>(at); });
        case Cell::rnn_sigmoid:
            return walk_backward(call, [](const At& at) { rnn_step_backward<Activation::sigmoid>(at); });
        case Cell::lstm: return walk_backward(call, [](const At& at) { lstm_step_backward(at); });
        case Cell::gru_after: return walk_backward(call, [](const At& at) { gru_after_step_backward(at); });
        case Cell::gru_before: return walk_backward(call, [](const At& at) { gru_before_step_backward(at); });
    }
}

template <class T>
constexpr Kernels<T> kernels() {
    return {pack<T>,  pack_dense<T>,     forward<T>,  forward_bytes<T>, backward<T>,
            dense<T>, dense_backward<T>, activate<T>, exponential<T>,   cross_entropy<T>,
            adam<T>,  sum_of_squares<T>, scatter<T>,  ctc<T>,           read<T>};
}

}  // namespace

extern const KernelTable table;
const KernelTable table = {ELMAN_TEXT(ELMAN_ISA), kernels<float>(), kernels<double>()};

}  // namespace elman::ELMAN_ISA
