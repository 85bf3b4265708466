// A stream: the states of some rows, and the layers they go through, one step at a time.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "calls.h"
#include "packed.h"

namespace elman {

// What a step does, in order. Values of a step lie in `B x size` buffers, each layer writing its own.
enum class Op { embed, recurrent, dense, add_to };

template <class T>
struct Layer {
    Op op;
    Cell cell = Cell::rnn_tanh;
    std::int64_t I = 0, O = 0;
    bool takes_ids = false;
    int activation = -1;                            // of a dense layer, an Activation
    std::shared_ptr<const Packed> packed{};         // recurrent, dense
    std::shared_ptr<const std::vector<T>> table{};  // embed: (V, O)
    int source = -1;                                // add_to: the layer whose output is added (-1: the input)
};

template <class T>
class Stream {
   public:
    Stream(const Kernels<T>& kernels, std::shared_ptr<const std::vector<Layer<T>>> layers, std::int64_t B)
        : kernels_(kernels), layers_(std::move(layers)), B_(B) {
        std::int64_t most = 0;
        for (const Layer<T>& layer : *layers_) {
            outputs_.emplace_back(static_cast<std::size_t>(B * layer.O));
            const bool holds = layer.op == Op::recurrent;
            h_.emplace_back(static_cast<std::size_t>(holds ? B * layer.O : 0));
            c_.emplace_back(static_cast<std::size_t>(holds && layer.cell == Cell::lstm ? B * layer.O : 0));
            if (holds) most = std::max(most, kernels.forward_bytes(layer.cell, walk(layer)));
            const double inputs = layer.takes_ids ? 1 : double(layer.I);  // an id picks a row or a column
            work_ += double(B) * double(layer.O) * (inputs + (holds ? double(layer.O) : 0)) * gates_of(layer.cell);
        }
        memory_.resize(static_cast<std::size_t>(most) + 64);
    }

    std::int64_t batch() const { return B_; }
    double work() const { return work_; }
    std::vector<T>& h(std::size_t layer) { return h_.at(layer); }
    std::vector<T>& c(std::size_t layer) { return c_.at(layer); }
    std::int64_t bytes() const {
        std::size_t count = memory_.size();
        for (const auto* buffers : {&outputs_, &h_, &c_})
            for (const auto& buffer : *buffers) count += buffer.size() * sizeof(T);
        return static_cast<std::int64_t>(count);
    }

    // x (B, I) or ids (B,) -> y (B, O), which may lie where x does. Nothing is allocated.
    void step(const T* x, const std::int64_t* ids, T* y) {
        const T* input = x;
        const std::int64_t size_x = x ? B_ * layers_->front().I : 0, size_y = B_ * layers_->back().O;
        const std::less_equal<const T*> before;
        const bool apart = before(x + size_x, y) || before(y + size_y, x);
        std::size_t k = 0;
        for (const Layer<T>& layer : *layers_) {
            T* to = apart && k + 1 == layers_->size() ? y : outputs_[k].data();
            switch (layer.op) {
                case Op::embed:
                    for (std::int64_t b = 0; b < B_; ++b)
                        std::copy_n(layer.table->data() + ids[b] * layer.O, layer.O, to + b * layer.O);
                    break;
                case Op::dense: {
                    Dense<T> call{B_, layer.I, layer.O, input, layer.I, nullptr, nullptr, layer.packed.get()};
                    kernels_.dense(call, to);
                    if (layer.activation >= 0)
                        kernels_.activate(static_cast<Activation>(layer.activation), to, to, B_ * layer.O);
                    break;
                }
                case Op::recurrent: recur(layer, k, input, layer.takes_ids ? ids : nullptr, to); break;
                case Op::add_to: {
                    const T* other = layer.source < 0 ? x : outputs_[static_cast<std::size_t>(layer.source)].data();
                    for (std::int64_t i = 0; i < B_ * layer.O; ++i) to[i] = input[i] + other[i];
                    break;
                }
            }
            input = to;
            ++k;
        }
        if (!apart) std::copy_n(input, size_y, y);
    }

   private:
    Walk walk(const Layer<T>& layer) const { return {1, B_, layer.I, layer.O, nullptr, false, false, layer.takes_ids}; }

    void recur(const Layer<T>& layer, std::size_t k, const T* x, const std::int64_t* ids, T* to) {
        const bool lstm = layer.cell == Cell::lstm;
        Forward<T> call{};
        call.cell = layer.cell;
        call.walk = walk(layer);
        call.input = {{x, 0, layer.I}, {ids, 0, 1}};
        call.packed = layer.packed.get();
        call.h0 = call.h_last = h_[k].data();
        call.c0 = call.c_last = lstm ? c_[k].data() : nullptr;
        call.h = {to, 0, layer.O};
        // More threads than at the beginning may need more room, once.
        const std::int64_t needed = kernels_.forward_bytes(call.cell, call.walk) + 64;
        if (needed > static_cast<std::int64_t>(memory_.size())) memory_.resize(static_cast<std::size_t>(needed));
        call.memory = memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64;
        call.memory_bytes = static_cast<std::int64_t>(memory_.size()) - 64;
        kernels_.forward(call);
    }

    const Kernels<T>& kernels_;
    std::shared_ptr<const std::vector<Layer<T>>> layers_;
    std::int64_t B_;
    double work_ = 0;
    std::vector<std::vector<T>> outputs_, h_, c_;
    std::vector<char> memory_;
};

}  // namespace elman
