// Every kernel over odd shapes, on every instruction set of this machine and on 1, 2 and 4 threads, for the sanitizers
// to watch: `make sanitize`. Arrays are as long as a kernel may read or write and not a number longer, and hold NaN
// where nothing was computed. What it checks itself: results are finite, the same on any number of threads, and the
// floating-point mode of the caller is as before.

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "beam.h"
#include "calls.h"
#include "isa.h"
#include "packed.h"
#include "pool.h"
#include "stream.h"

namespace {

using namespace elman;
using index = std::int64_t;

std::string g_doing;
std::atomic<long> g_calls{0};

void require(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "%s: %s\n", g_doing.c_str(), what);
    std::exit(1);
}

unsigned mode() {
#if defined(__x86_64__)
    return _mm_getcsr();
#else
    return 0;
#endif
}

template <class T>
struct Numbers : std::vector<T> {
    explicit Numbers(index n, T value = std::numeric_limits<T>::quiet_NaN())
        : std::vector<T>(static_cast<std::size_t>(n), value) {}
    T* p() { return this->data(); }
    const T* p() const { return this->data(); }
};

template <class T>
Numbers<T> random_numbers(index n, double scale, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<double> normal(0, scale);
    Numbers<T> numbers(n);
    for (T& x : numbers) x = static_cast<T>(normal(engine));
    return numbers;
}

template <class T>
Numbers<index> random_ids(index n, index below, unsigned seed) {
    std::mt19937 engine(seed);
    Numbers<index> ids(n, 0);
    for (index& id : ids) id = static_cast<index>(engine() % static_cast<unsigned>(below));
    return ids;
}

template <class T>
void put_all(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

template <class T>
bool all_finite(const std::vector<T>& numbers) {
    for (const T x : numbers)
        if (!std::isfinite(x)) return false;
    return true;
}

struct Shape {
    index B, T, I, H;
};

struct Options {
    bool ids, ragged, reverse, hold, bias, narrow, strided;
};

// ----------------------------------------------------------------------------------------------------------
// recurrences

// A forward pass without and with a tape, and a backward pass; everything they give, one after the other.
template <class T>
std::vector<T> recurrence(const Kernels<T>& kernels, Cell cell, Shape shape, Options with) {
    const auto [B, T_, I, H] = shape;
    const index G = gates_of(cell), GH = G * H, TB = T_ * B;
    const bool lstm = cell == Cell::lstm;
    const double scale = 1 / std::sqrt(double(H));
    const auto w_ih = random_numbers<T>(GH * I, scale, 1), w_hh = random_numbers<T>(GH * H, scale, 2);
    const auto b_ih = random_numbers<T>(GH, 0.3, 3), b_hh = random_numbers<T>(GH, 0.3, 4);
    const Weights<T> weights = {w_ih.p(), w_hh.p(), with.bias ? b_ih.p() : nullptr, with.bias ? b_hh.p() : nullptr};
    const std::unique_ptr<Packed> packed(kernels.pack(cell, I, H, weights, with.narrow));

    Numbers<index> lengths(B, T_);
    for (index b = 0; b < B && with.ragged; ++b) lengths[static_cast<std::size_t>(b)] = (b * 7 + T_ - 1) % (T_ + 1);
    const index gap = with.strided ? 3 : 0;  // rows of x and h that do not touch
    auto x = random_numbers<T>(TB * (I + gap), 1, 5);
    const auto ids = random_ids<T>(TB, I, 6);
    const auto h0 = random_numbers<T>(B * H, 0.5, 7), c0 = random_numbers<T>(B * H, 0.5, 8);

    Walk walk{T_, B, I, H, with.ragged ? lengths.p() : nullptr, with.reverse, with.hold};
    Input<T> input;
    if (with.ids)
        input.ids = {ids.p(), B, 1};
    else
        input.x = {x.p(), B * (I + gap), I + gap};
    std::vector<T> all;
    const auto forward = [&](T* h, index h_step, index h_row, T* gates, T* hidden_n, T* c) {
        Numbers<T> h_last(B * H), c_last(lstm ? B * H : 0), memory(0);
        Forward<T> call{};
        call.cell = cell;
        call.walk = walk;
        call.input = input;
        call.packed = packed.get();
        call.h0 = h0.p();
        call.c0 = lstm ? c0.p() : nullptr;
        call.h = {h, h_step, h_row};
        call.gates = gates;
        call.hidden_n = hidden_n;
        call.c = c;
        call.h_last = h_last.p();
        call.c_last = lstm ? c_last.p() : nullptr;
        std::unique_ptr<char, decltype(&std::free)> brought(nullptr, &std::free);
        if (with.strided) {
            const index bytes = kernels.forward_bytes(cell, walk);
            brought.reset(static_cast<char*>(std::aligned_alloc(64, static_cast<std::size_t>((bytes + 63) / 64 * 64))));
            call.memory = brought.get();
            call.memory_bytes = bytes;
        }
        kernels.forward(call);
        ++g_calls;
        require(all_finite(h_last) && all_finite(c_last), "a state is not finite");
        put_all(all, h_last);
        put_all(all, c_last);
    };
    {
        Numbers<T> h(TB * (H + gap));
        forward(h.p(), B * (H + gap), H + gap, nullptr, nullptr, nullptr);
        for (index t = 0; t < T_; ++t)
            for (index b = 0; b < B; ++b)
                for (index u = 0; u < H + gap; ++u) {
                    const T value = h[static_cast<std::size_t>((t * B + b) * (H + gap) + u)];
                    const bool written = u < H && t < lengths[static_cast<std::size_t>(b)];
                    require(std::isnan(value) != written, "an output is missing, or written where there is none");
                    if (written) all.push_back(value);
                }
    }
    if (with.narrow) return all;

    Numbers<T> h((T_ + 1) * B * H, 0), c(lstm ? (T_ + 1) * B * H : 0, 0);
    Numbers<T> gates(G > 1 ? TB * GH : 0, 0), hidden_n(cell == Cell::gru_after ? TB * H : 0, 0);
    const index before = with.reverse ? B * H : 0, after = with.reverse ? 0 : B * H, first = with.reverse ? TB * H : 0;
    std::copy(h0.begin(), h0.end(), h.begin() + first);
    if (lstm) std::copy(c0.begin(), c0.end(), c.begin() + first);
    forward(h.p() + after, B * H, H, G > 1 ? gates.p() : nullptr, hidden_n.empty() ? nullptr : hidden_n.p(),
            lstm ? c.p() + after : nullptr);

    const auto d_y = random_numbers<T>(TB * (H + gap), 1, 9);
    Numbers<T> d_h = random_numbers<T>(B * H, 1, 10), d_c = random_numbers<T>(lstm ? B * H : 0, 1, 11);
    Numbers<T> d_h_steps(TB * H), d_c_steps(lstm ? TB * H : 0), d_x(with.ids ? 0 : TB * I, 0);
    Numbers<T> d_ih(GH * I, 1), d_hh(GH * H, 1), d_bias_ih(GH, 1), d_bias_hh(GH, 1);
    Backward<T> call{};
    call.cell = cell;
    call.walk = walk;
    call.input = input;
    call.weights = weights;
    call.h_before = h.p() + before;
    call.h_after = h.p() + after;
    call.c_before = lstm ? c.p() + before : nullptr;
    call.c_after = lstm ? c.p() + after : nullptr;
    call.gates = G > 1 ? gates.p() : nullptr;
    call.hidden_n = hidden_n.empty() ? nullptr : hidden_n.p();
    call.d_y = {d_y.p(), B * (H + gap), H + gap};
    call.d_h = d_h.p();
    call.d_c = lstm ? d_c.p() : nullptr;
    call.d_h_steps = d_h_steps.p();
    call.d_c_steps = lstm ? d_c_steps.p() : nullptr;
    call.d_x = with.ids ? nullptr : d_x.p();
    call.d_ih = d_ih.p();
    call.d_hh = d_hh.p();
    call.d_bias_ih = with.bias ? d_bias_ih.p() : nullptr;
    call.d_bias_hh = with.bias ? d_bias_hh.p() : nullptr;
    kernels.backward(call);
    ++g_calls;
    for (const auto* part : {&d_h, &d_c, &d_h_steps, &d_c_steps, &d_x, &d_ih, &d_hh, &d_bias_ih, &d_bias_hh}) {
        require(all_finite(*part), "a gradient is not finite");
        put_all(all, *part);
    }
    return all;
}

// ---------------------------------------------------------------------------------------------------- everything else

template <class T>
std::vector<T> dense_and_losses(const Kernels<T>& kernels, index N, index I, index O, bool narrow) {
    const auto x = random_numbers<T>(N * I, 1, 1), weight = random_numbers<T>(O * I, 0.2, 2);
    const auto bias = random_numbers<T>(O, 0.2, 3), d_y = random_numbers<T>(N * O, 1, 4);
    Numbers<T> y(N * O), d_x(N * I), d_weight(O * I, 1), d_bias(O, 1), losses(N), d_logits(N * O);
    const std::unique_ptr<Packed> packed(kernels.pack_dense(I, O, weight.p(), bias.p(), narrow));
    kernels.dense({N, I, O, x.p(), I, nullptr, nullptr, packed.get()}, y.p());
    std::vector<T> all;
    put_all(all, y);
    kernels.dense({N, I, O, x.p(), I, weight.p(), nullptr, nullptr}, y.p());
    put_all(all, y);
    kernels.dense_backward({N, I, O, x.p(), I, weight.p(), nullptr, nullptr}, d_y.p(), d_x.p(), d_weight.p(),
                           d_bias.p());
    kernels.dense_backward({N, I, O, x.p(), I, weight.p(), nullptr, nullptr}, d_y.p(), nullptr, d_weight.p(), nullptr);
    auto targets = random_ids<T>(N, O, 5);
    if (N > 0) targets.p()[0] = -1;
    kernels.cross_entropy(y.p(), targets.p(), T(0.1), T(0.5), N, O, losses.p(), d_logits.p());
    for (const auto* part : {&d_x, &d_weight, &d_bias, &losses, &d_logits}) put_all(all, *part);
    for (const Activation f : {Activation::tanh, Activation::relu, Activation::sigmoid}) {
        kernels.activate(f, x.p(), d_x.p(), N * I);
        put_all(all, d_x);
    }
    kernels.exp(x.p(), d_x.p(), N * I);
    put_all(all, d_x);
    Numbers<T> table(2 * I * O, 0);  // (I, O), once row by row and once column by column
    const auto ids = random_ids<T>(N, I, 6);
    kernels.scatter(ids.p(), d_y.p(), table.p(), N, I, O, O, 1);
    kernels.scatter(ids.p(), d_y.p(), table.p() + I * O, N, I, O, 1, I);
    put_all(all, table);
    Numbers<T> w(N * I, 1), m(N * I, 0), v(N * I, 0);
    kernels.adam({0.01, 0.9, 0.999, 1.5, 1e-8}, w.p(), x.p(), m.p(), v.p(), N * I);
    for (const auto* part : {&w, &m, &v}) put_all(all, *part);
    require(std::isfinite(kernels.sum_of_squares(x.p(), N * I)), "a sum of squares is not finite");
    require(std::isfinite(kernels.read(x.p(), N * I)), "a sum is not finite");
    require(all_finite(all), "a result is not finite");
    g_calls += 13;
    return all;
}

template <class T>
std::vector<T> stream(const Kernels<T>& kernels, index B, index I, index H, bool narrow) {
    auto layers = std::make_shared<std::vector<Layer<T>>>();
    const auto add = [&](Op op, index from, index to, Packed* packed) -> Layer<T>& {
        layers->push_back(Layer<T>{op});
        Layer<T>& layer = layers->back();
        layer.I = from;
        layer.O = to;
        layer.packed.reset(packed);
        return layer;
    };
    const auto cell = [&](Cell kind, index from, index to) {
        const index GH = gates_of(kind) * to;
        const auto ih = random_numbers<T>(GH * from, 0.2, 1), hh = random_numbers<T>(GH * to, 0.2, 2);
        add(Op::recurrent, from, to, kernels.pack(kind, from, to, {ih.p(), hh.p(), nullptr, nullptr}, narrow)).cell =
            kind;
    };
    Layer<T>& embedding = add(Op::embed, 11, I, nullptr);
    embedding.takes_ids = true;
    const auto table = random_numbers<T>(11 * I, 1, 3);
    embedding.table = std::make_shared<const std::vector<T>>(table.begin(), table.end());
    cell(Cell::lstm, I, H);
    cell(Cell::gru_before, H, H);
    add(Op::add_to, H, H, nullptr).source = 1;
    cell(Cell::gru_after, H, H);
    cell(Cell::rnn_tanh, H, H);
    const auto weight = random_numbers<T>(H * H, 0.2, 4);
    add(Op::dense, H, H, kernels.pack_dense(H, H, weight.p(), nullptr, narrow)).activation = 0;
    Stream<T> made(kernels, layers, B);
    std::vector<T> all;
    for (unsigned t = 0; t < 5; ++t) {
        Numbers<T> y(B * H);
        made.step(nullptr, random_ids<T>(B, 11, t).p(), y.p());
        put_all(all, y);
    }
    auto one = std::make_shared<std::vector<Layer<T>>>();
    one->push_back(layers->back());
    Stream<T> dense(kernels, one, B);
    Numbers<T> both = random_numbers<T>(B * H + 5, 1, 5);  // the output lies where the input lies, nearly
    dense.step(both.p(), nullptr, both.p() + 5);
    dense.step(both.p() + 5, nullptr, both.p());
    put_all(all, both);
    require(all_finite(all), "an output of a stream is not finite");
    g_calls += 7;
    return all;
}

// ---------------------------------------------------------------------------------------------------------- all of it

// Runs f on 1, 2 and 4 threads, and twice at once from two threads; the results must be the same.
template <class F>
void on_any_threads(F f) {
    const unsigned before = mode();
    set_threads(1);
    const auto expected = f();
    for (const int count : {2, 4}) {
        set_threads(count);
        const auto found = f();
        require(found.size() == expected.size(), "another number of threads gives other results");
        require(found.empty() || std::memcmp(found.data(), expected.data(), found.size() * sizeof found[0]) == 0,
                "another number of threads gives other bits");
    }
    require((mode() & 0xffc0u) == (before & 0xffc0u), "the floating-point mode is not restored");
}

// The CTC loss, rows of every length, some impossible; as one vector of losses and gradients.
template <class T>
std::vector<T> alignments(const Kernels<T>& kernels, index steps, index B, index V, index S, bool from_logits) {
    const auto y = random_numbers<T>(steps * B * V, 3, 7);
    Numbers<T> d_y(steps * B * V);
    Numbers<double> losses(B);
    Numbers<std::int64_t> lengths(B, 0), starts(B + 1, 0), targets(0, 0);
    for (index b = 0; b < B; ++b) {
        lengths[b] = steps * (b + 1) / B;
        const index n = S * (B - b) / B;
        for (index s = 0; s < n; ++s) targets.push_back(V > 1 ? 1 + (s * s + b) % (V - 1) : 0);
        starts[b + 1] = static_cast<index>(targets.size());
    }
    kernels.ctc({steps,
                 B,
                 V,
                 {y.p(), B * V, V},
                 lengths.p(),
                 targets.p(),
                 starts.p(),
                 0,
                 from_logits,
                 losses.p(),
                 {d_y.p(), B * V, V}});
    std::vector<T> all(d_y.begin(), d_y.end());
    for (const double loss : losses) all.push_back(static_cast<T>(std::isinf(loss) ? -1 : loss));
    require(all_finite(all), "a result is not finite");
    ++g_calls;
    return all;
}

// A beam without a scorer, and one that is told of its scorer's states as it meets them.
void beams() {
    for (const index V : {2, 3, 30})
        for (const index width : {1, 2, 50}) {
            g_doing = "beam of " + std::to_string(width) + ", labels " + std::to_string(V);
            const index steps = 40;
            const auto log_p = random_numbers<double>(steps * V, 2, 8);
            Beam plain(V, width, V - 1, -1);
            require(plain.advance(log_p.p(), steps, nullptr) == steps, "a frame is missing");
            Beam scored(V, width, 0, 0);
            std::vector<std::int64_t> row_of, following;
            std::vector<double> scores;
            for (index done = 0; done < steps;) {
                for (const std::int64_t state : scored.states) {
                    if (state >= static_cast<index>(row_of.size())) row_of.resize(state + 1, -1);
                    if (row_of[state] >= 0) continue;
                    row_of[state] = static_cast<index>(scores.size()) / V;
                    for (index k = 0; k < V; ++k) following.push_back(state + 1), scores.push_back(0.1 * (k % 3));
                }
                const Transitions transitions = {row_of.data(), static_cast<index>(row_of.size()), following.data(),
                                                 scores.data()};
                done += scored.advance(log_p.p() + done * V, steps - done, &transitions);
            }
            for (const Beam* beam : {&plain, &scored})
                for (std::size_t place = 0; place < beam->nodes.size(); ++place)
                    require(beam->labels(static_cast<index>(place)).size() <= steps, "a label has no frame");
            g_calls += 2;
        }
}

template <class T>
void all_of(const KernelTable& table, const Kernels<T>& kernels, bool quick) {
    const std::string where = std::string(table.isa) + (sizeof(T) == 4 ? " float32" : " float64");
    std::vector<Shape> shapes = {{1, 1, 1, 1},   {2, 3, 2, 3},   {3, 4, 5, 7},     {5, 2, 17, 15}, {7, 3, 16, 16},
                                 {13, 3, 3, 33}, {4, 5, 31, 65}, {2, 3, 130, 130}, {0, 3, 2, 3},   {3, 0, 2, 3}};
    shapes.push_back({17, 20, 33, 65});              // rows are shared out
    shapes.push_back({2, 12, 65, 257});              // units are shared out, with barriers
    shapes.push_back({9, 20, 33, 130});              // rows on two threads, units on four
    if (!quick) shapes.push_back({9, 3, 700, 600});  // sums in slices
    for (int kind = 0; kind < 6; ++kind)
        for (const Shape& shape : shapes)
            for (unsigned bits = 0; bits < 8; ++bits) {
                Options with{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, bits == 3,
                             bits != 5,       false,           bits % 3 == 1};
                for (const bool narrow : {false, true}) {
                    if (narrow && (sizeof(T) == 8 || bits > 1)) continue;
                    with.narrow = narrow;
                    g_doing = where + ", cell " + std::to_string(kind) + ", B " + std::to_string(shape.B) + " T " +
                              std::to_string(shape.T) + " I " + std::to_string(shape.I) + " H " +
                              std::to_string(shape.H) + ", options " + std::to_string(bits);
                    on_any_threads([&] { return recurrence<T>(kernels, static_cast<Cell>(kind), shape, with); });
                }
            }
    for (const auto& [N, I, O] : {std::tuple<index, index, index>{1, 1, 1},
                                  {3, 5, 7},
                                  {7, 17, 33},
                                  {13, 130, 65},
                                  {0, 3, 2},
                                  {200, 130, 257},
                                  {1, 1300, 1200},
                                  {9, 0, 4}})
        for (const bool narrow : {false, true}) {
            g_doing = where + ", dense " + std::to_string(N) + " " + std::to_string(I) + " " + std::to_string(O);
            if (I > 0) on_any_threads([&] { return dense_and_losses<T>(kernels, N, I, O, narrow); });
        }
    for (const auto& [B, I, H] :
         {std::tuple<index, index, index>{1, 1, 1}, {1, 9, 33}, {3, 17, 20}, {2, 65, 300}, {20, 33, 130}})
        for (const bool narrow : {false, true}) {
            g_doing = where + ", stream " + std::to_string(B) + " " + std::to_string(I) + " " + std::to_string(H);
            on_any_threads([&] { return stream<T>(kernels, B, I, H, narrow && sizeof(T) == 4); });
        }
    for (const auto& [steps, B, V, S] : {std::tuple<index, index, index, index>{1, 1, 1, 0},
                                         {1, 1, 2, 1},
                                         {0, 2, 3, 1},
                                         {5, 3, 4, 2},
                                         {7, 1, 3, 9},
                                         {40, 5, 6, 13},
                                         {60, 8, 30, 20},
                                         {3, 0, 4, 0}})
        for (const bool from_logits : {false, true}) {
            g_doing = where + ", ctc " + std::to_string(steps) + " " + std::to_string(B) + " " + std::to_string(S);
            on_any_threads([&] { return alignments<T>(kernels, steps, B, V, S, from_logits); });
        }
    g_doing = where + ", two callers at once";
    set_threads(2);
    const auto work = [&] {
        recurrence<T>(kernels, Cell::lstm, {17, 20, 33, 65}, {false, true, false, false, true, false, false});
    };
    std::thread other([&] {
        for (int k = 0; k < 10; ++k) work();
    });
    for (int k = 0; k < 10; ++k) work();
    other.join();
}

}  // namespace

int main(int count, char** arguments) {
    const bool quick = count > 1 && std::string(arguments[1]) == "--quick";
    beams();
    for (const KernelTable* table : instruction_sets()) {
        all_of<float>(*table, table->f32, quick);
        all_of<double>(*table, table->f64, quick);
        std::printf("%s: %ld calls so far, nothing found\n", table->isa, g_calls.load());
        std::fflush(stdout);
    }
}
