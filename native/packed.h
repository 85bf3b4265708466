// Packed: the weights of a layer in the order in which the kernels read them. Made by one instruction set, and only
// for it; whoever holds one does not look inside.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

#include "calls.h"

namespace elman {

struct Packed {
    Cell cell = Cell::rnn_tanh;  // not used for a dense layer
    std::int64_t I = 0, H = 0;   // H: the outputs of a dense layer
    bool narrow = false;         // weights are bfloat16
    void* ih = nullptr;
    void* hh = nullptr;      // of a GRU that resets before: r and z only
    void* hh_n = nullptr;    // its candidate
    void* bias = nullptr;    // what a pre-activation starts from, [panel][W][lanes]
    void* bias_n = nullptr;  // of a GRU that resets after: b_hh of the candidate, [panel][lanes]
    std::int64_t bytes = 0;

    Packed() = default;
    Packed(const Packed&) = delete;
    Packed& operator=(const Packed&) = delete;
    ~Packed() {
        for (void* part : {ih, hh, hh_n, bias, bias_n}) std::free(part);
    }
    void* room(std::int64_t count, std::size_t each) {
        const std::size_t size = (static_cast<std::size_t>(count) * each + 127) / 64 * 64;
        void* p = std::aligned_alloc(64, size);
        if (!p) throw std::bad_alloc();
        bytes += static_cast<std::int64_t>(size);
        return p;
    }
};

}  // namespace elman
