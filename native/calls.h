// What a call of a kernel needs, as plain structures: the C++ side of elman/kernels/spec.py, whose letters it uses.
//
//     T time   B batch   I input   H hidden   G gates   O output   V vocabulary
//
// Arrays are row-major; where a structure has strides, they count elements and the last axis is contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elman {

enum class Cell { rnn_tanh, rnn_relu, rnn_sigmoid, lstm, gru_after, gru_before };
enum class Activation { tanh, relu, sigmoid };

constexpr int gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell >= Cell::gru_after ? 3 : 1; }

// (T, B, F), or (T, B): the row of step t and batch row b begins at `at + t * step + b * row`.
template <class T>
struct Rows {
    T* at = nullptr;
    std::ptrdiff_t step = 0, row = 0;
    T* operator()(std::int64_t t, std::int64_t b) const { return at + t * step + b * row; }
};

// Features, or token ids that stand for one-hot rows.
template <class T>
struct Input {
    Rows<const T> x;
    Rows<const std::int64_t> ids;
    bool is_ids() const { return ids.at != nullptr; }
};

template <class T>
struct Weights {
    const T* ih = nullptr;       // (G*H, I)
    const T* hh = nullptr;       // (G*H, H)
    const T* bias_ih = nullptr;  // (G*H,), may be missing
    const T* bias_hh = nullptr;
};

struct Walk {
    std::int64_t T = 0, B = 0, I = 0, H = 0;
    const std::int64_t* lengths = nullptr;  // (B,), or missing where every row has T steps
    bool reverse = false;
    bool hold = false;  // backward: padded steps put out the standing state, so their d_y counts
    bool ids = false;   // the input is token ids, whose projection is a gather
    std::int64_t length(std::int64_t b) const { return lengths ? lengths[b] : T; }
};

struct Packed;  // weights in the order that the kernels of one instruction set read them

template <class T>
struct Forward {
    Cell cell;
    Walk walk;
    Input<T> input;
    const Packed* packed;
    const T* h0;             // (B, H)
    const T* c0;             // (B, H), LSTM only
    Rows<T> h;               // where the state after step t goes, at valid steps only; it is read at the next one
    T* gates;                // (T, B, G*H) activated, or missing
    T* hidden_n;             // (T, B, H), of a GRU that resets after, or missing
    T* c;                    // (T, B, H) the cell after each step, or missing
    T* h_last;               // (B, H)
    T* c_last;               // (B, H), LSTM only; h_last and c_last may be h0 and c0
    char* memory = nullptr;  // for the call to work in, of `forward_bytes`; without it the call takes its own
    std::int64_t memory_bytes = 0;
};

template <class T>
struct Backward {
    Cell cell;
    Walk walk;
    Input<T> input;
    Weights<T> weights;
    const T* h_before;  // (T, B, H) state before each step
    const T* h_after;   // (T, B, H) state after it
    const T* c_before;  // likewise, LSTM only
    const T* c_after;
    const T* gates;
    const T* hidden_n;
    Rows<const T> d_y;  // (T, B, H)
    T* d_h;             // (B, H) gradient of the last state, becomes that of the first
    T* d_c;
    T* d_h_steps;  // (T, B, H) gradient of each state
    T* d_c_steps;
    T* d_x;                                  // (T, B, I), zero at padding; missing for ids
    T *d_ih, *d_hh, *d_bias_ih, *d_bias_hh;  // added to; biases may be missing
};

// y = x weight^T + bias for N rows.
// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  w -= rate m / (scale sqrt(v) + epsilon)
struct AdamRule {
    double rate, beta1, beta2, scale, epsilon;
};

template <class T>
struct Dense {
    std::int64_t N, I, O;
    const T* x;  // (N, I), rows `x_row` apart
    std::ptrdiff_t x_row;
    const T* weight;       // (O, I)
    const T* bias;         // (O,), may be missing
    const Packed* packed;  // instead of weight, if there
};

// -log P of a target for each row of the batch, over all its alignments, and the gradient.
template <class R>
struct Ctc {
    std::int64_t T, B, V;
    Rows<const R> y;              // (T, B, V) logits or log-probabilities
    const std::int64_t* lengths;  // (B,) frames of each row
    const std::int64_t* targets;  // the labels of all rows, one after the other
    const std::int64_t* starts;   // (B + 1,) where the labels of each row begin
    std::int64_t blank;
    bool from_logits;
    double* losses;  // (B,) infinite where no path reads so
    Rows<R> d_y;     // (T, B, V) gradient of each row's own loss; 0 where it is infinite, and at padding
};

// Every kernel, compiled for one instruction set and one type.
template <class T>
struct Kernels {
    Packed* (*pack)(Cell, std::int64_t I, std::int64_t H, const Weights<T>&, bool narrow);
    Packed* (*pack_dense)(std::int64_t I, std::int64_t O, const T* weight, const T* bias, bool narrow);
    void (*forward)(const Forward<T>&);
    std::int64_t (*forward_bytes)(Cell, const Walk&);
    void (*backward)(const Backward<T>&);
    void (*dense)(const Dense<T>&, T* y);
    void (*dense_backward)(const Dense<T>&, const T* d_y, T* d_x, T* d_weight, T* d_bias);
    void (*activate)(Activation, const T* x, T* y, std::int64_t n);
    void (*exp)(const T* x, T* y, std::int64_t n);
    // rows of logits (N, V) and a target each -> losses (N,) and their gradient (N, V) times scale; 0 for targets below
    // 0
    void (*cross_entropy)(const T* y, const std::int64_t* targets, T smoothing, T scale, std::int64_t N, std::int64_t V,
                          T* losses, T* d_y);
    void (*adam)(const AdamRule& rule, T* w, const T* g, T* m, T* v, std::int64_t n);
    double (*sum_of_squares)(const T* x, std::int64_t n);
    void (*scatter)(const std::int64_t* ids, const T* rows, T* table, std::int64_t N, std::int64_t V, std::int64_t O,
                    std::ptrdiff_t table_row, std::ptrdiff_t table_column);
    void (*ctc)(const Ctc<T>&);
    double (*read)(const T* x, std::int64_t n);  // a sum that only measures how fast memory is read
};

struct KernelTable {
    const char* isa;
    Kernels<float> f32;
    Kernels<double> f64;
};

}  // namespace elman
