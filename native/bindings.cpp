// The door to Python. Types and shapes are checked here; nothing is computed here.

#include <algorithm>
#include <optional>
#include <string>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "isa.h"
#include "pool.h"

namespace elman {

const KernelTable* g_table = nullptr;

namespace {

template <class T, class A>
T* optional_data(const char* name, Maybe<A>& a, std::initializer_list<std::int64_t> shape) {
    if (!a) return nullptr;
    check(name, *a, shape);
    return a->data();
}

template <class A>
auto rows(const char* name, A& a, std::int64_t T, std::int64_t B, std::int64_t F) {
    check(name, a, {T, B, F}, false);
    using E = std::remove_pointer_t<decltype(a.data())>;
    return Rows<E>{a.data(), a.stride(0), a.stride(1)};
}

Cell cell_of(int number) {
    if (number < 0 || number > 5) refuse("native kernels: no such cell");
    return static_cast<Cell>(number);
}

template <class T>
struct Given {  // what both directions of a recurrence check alike
    Walk walk;
    Input<T> input;
    std::vector<std::int64_t> own_ids;

    Given(Cell cell, Maybe<Array<T>>& x, Maybe<Ids>& ids, const Array<T>& weight_ih, const Array<T>& weight_hh,
          Maybe<Ids>& lengths, bool reverse, bool hold) {
        if (weight_hh.ndim() != 2 || weight_ih.ndim() != 2) refuse("native kernels: weights must have two axes");
        const auto G = gates_of(cell);
        walk.H = static_cast<std::int64_t>(weight_hh.shape(1));
        walk.I = static_cast<std::int64_t>(weight_ih.shape(1));
        check("weight_ih", weight_ih, {G * walk.H, walk.I});
        check("weight_hh", weight_hh, {G * walk.H, walk.H});
        walk.reverse = reverse;
        walk.hold = hold;
        if (x.has_value() == ids.has_value()) refuse("native kernels: either x or ids");
        if (x) {
            if (x->ndim() != 3) refuse("native kernels: x must have three axes");
            walk.T = static_cast<std::int64_t>(x->shape(0));
            walk.B = static_cast<std::int64_t>(x->shape(1));
            input.x = rows("x", *x, walk.T, walk.B, walk.I);
        } else {
            if (ids->ndim() != 2 || !is_aligned(*ids)) refuse("native kernels: ids must be aligned and have two axes");
            walk.T = static_cast<std::int64_t>(ids->shape(0));
            walk.B = static_cast<std::int64_t>(ids->shape(1));
            walk.ids = true;
            // Copied as they are checked, so that another Python thread cannot change them in between.
            const Rows<const std::int64_t> theirs = {ids->data(), ids->stride(0), ids->stride(1)};
            own_ids.reserve(static_cast<std::size_t>(walk.T * walk.B) + 1);
            for (std::int64_t t = 0; t < walk.T; ++t)
                for (std::int64_t b = 0; b < walk.B; ++b) {
                    const std::int64_t id = *theirs(t, b);
                    own_ids.push_back(id);
                    if (id < 0 || id >= walk.I)
                        refuse("native kernels: id " + std::to_string(id) + " is not one of " + std::to_string(walk.I));
                }
            input.ids = {own_ids.data(), walk.B, 1};
        }
        walk.lengths = optional_data<const std::int64_t>("lengths", lengths, {walk.B});
        for (std::int64_t b = 0; walk.lengths && b < walk.B; ++b)
            if (walk.lengths[b] < 0 || walk.lengths[b] > walk.T) refuse("native kernels: a length is out of range");
    }
};

// ------------------------------------------------------------------------------------------------------- packed
// weights

template <class T>
PackedWeights pack_recurrent(int cell, Array<T> weight_ih, Array<T> weight_hh, Maybe<Array<T>> bias_ih,
                             Maybe<Array<T>> bias_hh, bool narrow) {
    const Cell kind = cell_of(cell);
    if (weight_hh.ndim() != 2 || weight_ih.ndim() != 2) refuse("native kernels: weights must have two axes");
    const std::int64_t H = static_cast<std::int64_t>(weight_hh.shape(1)),
                       I = static_cast<std::int64_t>(weight_ih.shape(1));
    const std::int64_t GH = gates_of(kind) * H;
    check("weight_ih", weight_ih, {GH, I});
    check("weight_hh", weight_hh, {GH, H});
    const Weights<T> weights = {weight_ih.data(), weight_hh.data(), optional_data<const T>("bias_ih", bias_ih, {GH}),
                                optional_data<const T>("bias_hh", bias_hh, {GH})};
    return {std::shared_ptr<const Packed>(of<T>(g_table).pack(kind, I, H, weights, narrow)), g_table, sizeof(T) == 8};
}

template <class T>
PackedWeights pack_linear(Array<T> weight, Maybe<Array<T>> bias, bool narrow) {
    if (weight.ndim() != 2) refuse("native kernels: weight must have two axes");
    const std::int64_t O = static_cast<std::int64_t>(weight.shape(0)), I = static_cast<std::int64_t>(weight.shape(1));
    check("weight", weight, {O, I});
    const T* start = optional_data<const T>("bias", bias, {O});
    return {std::shared_ptr<const Packed>(of<T>(g_table).pack_dense(I, O, weight.data(), start, narrow)), g_table,
            sizeof(T) == 8};
}

// The weights packed for a cell, or for a dense layer where there is none.
template <class T>
const Packed* packed_for(const PackedWeights& weights, std::optional<Cell> cell, std::int64_t I, std::int64_t H) {
    const Packed& packed = *weights.packed;
    const bool fits = is_recurrent(weights) ? cell == packed.cell : !cell;
    if (!fits || weights.is_double != (sizeof(T) == 8) || packed.I != I || packed.H != H)
        refuse("native kernels: packed weights of another layer or type");
    return &packed;
}

// ----------------------------------------------------------------------------------------------------------
// recurrences

template <class T>
void forward(int cell, Maybe<Array<T>> x, Maybe<Ids> ids, Array<T> weight_ih, Array<T> weight_hh,
             Maybe<Array<T>> bias_ih, Maybe<Array<T>> bias_hh, const PackedWeights* packed, Maybe<Ids> lengths,
             bool reverse, Array<T> h0, Maybe<Array<T>> c0, Out<T> h, Maybe<Out<T>> gates, Maybe<Out<T>> hidden_n,
             Maybe<Out<T>> c, Out<T> h_last, Maybe<Out<T>> c_last) {
    const Cell kind = cell_of(cell);
    const Given<T> given(kind, x, ids, weight_ih, weight_hh, lengths, reverse, false);
    const auto [T_, B, I, H] = std::tuple(given.walk.T, given.walk.B, given.walk.I, given.walk.H);
    const std::int64_t GH = gates_of(kind) * H;
    const bool lstm = kind == Cell::lstm;
    if (lstm != c0.has_value() || lstm != c_last.has_value()) refuse("native kernels: an LSTM, and only it, has cells");
    check("h0", h0, {B, H});
    check("h_last", h_last, {B, H});
    Forward<T> call{};
    call.cell = kind;
    call.walk = given.walk;
    call.input = given.input;
    call.h0 = h0.data();
    call.c0 = optional_data<const T>("c0", c0, {B, H});
    call.h = rows("h", h, T_, B, H);
    call.gates = optional_data<T>("gates", gates, {T_, B, GH});
    call.hidden_n = optional_data<T>("hidden_n", hidden_n, {T_, B, H});
    call.c = optional_data<T>("c", c, {T_, B, H});
    call.h_last = h_last.data();
    call.c_last = optional_data<T>("c_last", c_last, {B, H});
    if (call.gates && ((lstm && !call.c) || (kind == Cell::gru_after && !call.hidden_n)))
        refuse("native kernels: the tape lacks an array");
    const Weights<T> weights = {weight_ih.data(), weight_hh.data(), optional_data<const T>("bias_ih", bias_ih, {GH}),
                                optional_data<const T>("bias_hh", bias_hh, {GH})};
    const KernelTable* table = packed ? packed->table : g_table;
    if (packed) call.packed = packed_for<T>(*packed, kind, I, H);
    nb::gil_scoped_release released;
    std::unique_ptr<Packed> own;
    if (!packed) {
        own.reset(of<T>(table).pack(kind, I, H, weights, false));
        call.packed = own.get();
    }
    of<T>(table).forward(call);
}

template <class T>
void backward(int cell, Maybe<Array<T>> x, Maybe<Ids> ids, Array<T> weight_ih, Array<T> weight_hh, Maybe<Ids> lengths,
              bool reverse, bool hold, Array<T> h_before, Array<T> h_after, Maybe<Array<T>> c_before,
              Maybe<Array<T>> c_after, Maybe<Array<T>> gates, Maybe<Array<T>> hidden_n, Array<T> d_y, Out<T> d_h,
              Maybe<Out<T>> d_c, Out<T> d_h_steps, Maybe<Out<T>> d_c_steps, Maybe<Out<T>> d_x, Out<T> d_weight_ih,
              Out<T> d_weight_hh, Maybe<Out<T>> d_bias_ih, Maybe<Out<T>> d_bias_hh) {
    const Cell kind = cell_of(cell);
    const Given<T> given(kind, x, ids, weight_ih, weight_hh, lengths, reverse, hold);
    const auto [T_, B, I, H] = std::tuple(given.walk.T, given.walk.B, given.walk.I, given.walk.H);
    const std::int64_t GH = gates_of(kind) * H;
    Backward<T> call{};
    call.cell = kind;
    call.walk = given.walk;
    call.input = given.input;
    call.weights = {weight_ih.data(), weight_hh.data(), nullptr, nullptr};
    check("h_before", h_before, {T_, B, H});
    check("h_after", h_after, {T_, B, H});
    call.h_before = h_before.data();
    call.h_after = h_after.data();
    call.c_before = optional_data<const T>("c_before", c_before, {T_, B, H});
    call.c_after = optional_data<const T>("c_after", c_after, {T_, B, H});
    call.gates = optional_data<const T>("gates", gates, {T_, B, GH});
    call.hidden_n = optional_data<const T>("hidden_n", hidden_n, {T_, B, H});
    call.d_y = rows("d_y", d_y, T_, B, H);
    check("d_h", d_h, {B, H});
    check("d_h_steps", d_h_steps, {T_, B, H});
    call.d_h = d_h.data();
    call.d_c = optional_data<T>("d_c", d_c, {B, H});
    call.d_h_steps = d_h_steps.data();
    call.d_c_steps = optional_data<T>("d_c_steps", d_c_steps, {T_, B, H});
    call.d_x = optional_data<T>("d_x", d_x, {T_, B, I});
    check("d_weight_ih", d_weight_ih, {GH, I});
    check("d_weight_hh", d_weight_hh, {GH, H});
    call.d_ih = d_weight_ih.data();
    call.d_hh = d_weight_hh.data();
    call.d_bias_ih = optional_data<T>("d_bias_ih", d_bias_ih, {GH});
    call.d_bias_hh = optional_data<T>("d_bias_hh", d_bias_hh, {GH});
    const bool gated = gates_of(kind) > 1;
    if (kind == Cell::lstm && !(call.c_before && call.c_after && call.d_c && call.d_c_steps))
        refuse("native kernels: an LSTM needs its cells");
    if ((gated && !call.gates) || (kind == Cell::gru_after && !call.hidden_n) || (x.has_value() != d_x.has_value()))
        refuse("native kernels: the tape lacks an array");
    const Kernels<T>& kernels = of<T>(g_table);
    nb::gil_scoped_release released;
    kernels.backward(call);
}

// ----------------------------------------------------------------------------------------------------------------
// dense

template <class T>
void linear(Array<T> x, Array<T> weight, Maybe<Array<T>> bias, const PackedWeights* packed, Out<T> y) {
    if (x.ndim() != 2 || weight.ndim() != 2) refuse("native kernels: x and weight must have two axes");
    const std::int64_t N = static_cast<std::int64_t>(x.shape(0)), I = static_cast<std::int64_t>(x.shape(1));
    const std::int64_t O = static_cast<std::int64_t>(weight.shape(0));
    check("x", x, {N, I});
    check("weight", weight, {O, I});
    check("y", y, {N, O});
    const Dense<T> call = {N,
                           I,
                           O,
                           x.data(),
                           I,
                           weight.data(),
                           optional_data<const T>("bias", bias, {O}),
                           packed ? packed_for<T>(*packed, std::nullopt, I, O) : nullptr};
    const Kernels<T>& kernels = of<T>(packed ? packed->table : g_table);
    nb::gil_scoped_release released;
    kernels.dense(call, y.data());
}

template <class T>
void linear_backward(Array<T> x, Array<T> weight, Array<T> d_y, Maybe<Out<T>> d_x, Out<T> d_weight,
                     Maybe<Out<T>> d_bias) {
    if (x.ndim() != 2 || weight.ndim() != 2) refuse("native kernels: x and weight must have two axes");
    const std::int64_t N = static_cast<std::int64_t>(x.shape(0)), I = static_cast<std::int64_t>(x.shape(1));
    const std::int64_t O = static_cast<std::int64_t>(weight.shape(0));
    check("x", x, {N, I});
    check("weight", weight, {O, I});
    check("d_y", d_y, {N, O});
    check("d_weight", d_weight, {O, I});
    const Dense<T> call = {N, I, O, x.data(), I, weight.data(), nullptr, nullptr};
    T* to_x = optional_data<T>("d_x", d_x, {N, I});
    T* to_bias = optional_data<T>("d_bias", d_bias, {O});
    const Kernels<T>& kernels = of<T>(g_table);
    nb::gil_scoped_release released;
    kernels.dense_backward(call, d_y.data(), to_x, d_weight.data(), to_bias);
}

template <class T>
void activate(int activation, Array<T> x, Out<T> y) {
    if (activation < 0 || activation > 3) refuse("native kernels: no such activation");
    const std::int64_t n = static_cast<std::int64_t>(x.size());
    if (x.ndim() != 1 || y.ndim() != 1) refuse("native kernels: x and y must have one axis");
    check("x", x, {n});
    check("y", y, {n});
    nb::gil_scoped_release released;
    if (activation == 3)
        of<T>(g_table).exp(x.data(), y.data(), n);
    else
        of<T>(g_table).activate(static_cast<Activation>(activation), x.data(), y.data(), n);
}

template <class T>
void cross_entropy(Array<T> y, Ids targets, double smoothing, double scale, Out<T> losses, Out<T> d_y) {
    if (y.ndim() != 2) refuse("native kernels: y must have two axes");
    const std::int64_t N = static_cast<std::int64_t>(y.shape(0)), V = static_cast<std::int64_t>(y.shape(1));
    check("y", y, {N, V});
    check("d_y", d_y, {N, V});
    check("targets", targets, {N});
    check("losses", losses, {N});
    const std::vector<std::int64_t> ids(targets.data(), targets.data() + N);  // as they are checked below
    const Kernels<T>& kernels = of<T>(g_table);
    for (const std::int64_t id : ids)
        if (id >= V) refuse("native kernels: a target is out of range");
    nb::gil_scoped_release released;
    kernels.cross_entropy(y.data(), ids.data(), static_cast<T>(smoothing), static_cast<T>(scale), N, V, losses.data(),
                          d_y.data());
}

template <class T>
void adam(Out<T> w, Array<T> g, Out<T> m, Out<T> v, double rate, double beta1, double beta2, double scale,
          double epsilon) {
    if (w.ndim() != 1) refuse("native kernels: w must have one axis");
    const std::int64_t n = static_cast<std::int64_t>(w.shape(0));
    check("w", w, {n});
    check("g", g, {n});
    check("m", m, {n});
    check("v", v, {n});
    const Kernels<T>& kernels = of<T>(g_table);
    nb::gil_scoped_release released;
    kernels.adam({rate, beta1, beta2, scale, epsilon}, w.data(), g.data(), m.data(), v.data(), n);
}

template <class T>
double sum_of_squares(Array<T> x) {
    if (x.ndim() != 1) refuse("native kernels: x must have one axis");
    check("x", x, {static_cast<std::int64_t>(x.shape(0))});
    const Kernels<T>& kernels = of<T>(g_table);
    nb::gil_scoped_release released;
    return kernels.sum_of_squares(x.data(), static_cast<std::int64_t>(x.size()));
}

template <class T>
void scatter(Ids ids, Array<T> rows, Out<T> table) {
    if (rows.ndim() != 2 || table.ndim() != 2) refuse("native kernels: rows and table must have two axes");
    const std::int64_t N = static_cast<std::int64_t>(rows.shape(0)), O = static_cast<std::int64_t>(rows.shape(1));
    const std::int64_t V = static_cast<std::int64_t>(table.shape(0));
    check("rows", rows, {N, O});
    check("ids", ids, {N});
    if (static_cast<std::int64_t>(table.shape(1)) != O || !is_aligned(table))
        refuse("native kernels: table must be aligned and as wide as rows");
    const std::vector<std::int64_t> own_ids(ids.data(), ids.data() + N);  // as they are checked below
    for (const std::int64_t id : own_ids)
        if (id < 0 || id >= V) refuse("native kernels: an id is out of range");
    const Kernels<T>& kernels = of<T>(g_table);
    nb::gil_scoped_release released;
    kernels.scatter(own_ids.data(), rows.data(), table.data(), N, V, O, table.stride(0), table.stride(1));
}

template <class T>
double read(Array<T> x) {
    if (x.ndim() != 1) refuse("native kernels: x must have one axis");
    check("x", x, {static_cast<std::int64_t>(x.shape(0))});
    nb::gil_scoped_release released;
    return of<T>(g_table).read(x.data(), static_cast<std::int64_t>(x.size()));
}

template <class T>
void bind(nb::module_& m) {
    m.def("forward", forward<T>, "cell"_a, "x"_a.none(), "ids"_a.none(), "weight_ih"_a.noconvert(),
          "weight_hh"_a.noconvert(), "bias_ih"_a.noconvert().none(), "bias_hh"_a.noconvert().none(), "packed"_a.none(),
          "lengths"_a.none(), "reverse"_a, "h0"_a.noconvert(), "c0"_a.noconvert().none(), "h"_a.noconvert(),
          "gates"_a.noconvert().none(), "hidden_n"_a.noconvert().none(), "c"_a.noconvert().none(),
          "h_last"_a.noconvert(), "c_last"_a.noconvert().none());
    m.def("backward", backward<T>, "cell"_a, "x"_a.none(), "ids"_a.none(), "weight_ih"_a.noconvert(),
          "weight_hh"_a.noconvert(), "lengths"_a.none(), "reverse"_a, "hold"_a, "h_before"_a.noconvert(),
          "h_after"_a.noconvert(), "c_before"_a.noconvert().none(), "c_after"_a.noconvert().none(),
          "gates"_a.noconvert().none(), "hidden_n"_a.noconvert().none(), "d_y"_a.noconvert(), "d_h"_a.noconvert(),
          "d_c"_a.noconvert().none(), "d_h_steps"_a.noconvert(), "d_c_steps"_a.noconvert().none(),
          "d_x"_a.noconvert().none(), "d_weight_ih"_a.noconvert(), "d_weight_hh"_a.noconvert(),
          "d_bias_ih"_a.noconvert().none(), "d_bias_hh"_a.noconvert().none());
    m.def("pack_recurrent", pack_recurrent<T>, "cell"_a, "weight_ih"_a.noconvert(), "weight_hh"_a.noconvert(),
          "bias_ih"_a.noconvert().none(), "bias_hh"_a.noconvert().none(), "narrow"_a);
    m.def("pack_linear", pack_linear<T>, "weight"_a.noconvert(), "bias"_a.noconvert().none(), "narrow"_a);
    m.def("linear", linear<T>, "x"_a.noconvert(), "weight"_a.noconvert(), "bias"_a.noconvert().none(),
          "packed"_a.none(), "y"_a.noconvert());
    m.def("linear_backward", linear_backward<T>, "x"_a.noconvert(), "weight"_a.noconvert(), "d_y"_a.noconvert(),
          "d_x"_a.noconvert().none(), "d_weight"_a.noconvert(), "d_bias"_a.noconvert().none());
    m.def("activate", activate<T>, "activation"_a, "x"_a.noconvert(), "y"_a.noconvert());
    m.def("cross_entropy", cross_entropy<T>, "y"_a.noconvert(), "targets"_a, "smoothing"_a, "scale"_a,
          "losses"_a.noconvert(), "d_y"_a.noconvert());
    m.def("adam", adam<T>, "w"_a.noconvert(), "g"_a.noconvert(), "m"_a.noconvert(), "v"_a.noconvert(), "rate"_a,
          "beta1"_a, "beta2"_a, "scale"_a, "epsilon"_a);
    m.def("sum_of_squares", sum_of_squares<T>, "x"_a.noconvert());
    m.def("scatter", scatter<T>, "ids"_a, "rows"_a.noconvert(), "table"_a.noconvert());
    m.def("read", read<T>, "x"_a.noconvert());
}

}  // namespace
}  // namespace elman

NB_MODULE(_native, m) {
    using namespace elman;
    nb::set_leak_warnings(false);
    g_table = instruction_sets().front();
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const KernelTable* table : instruction_sets()) names.emplace_back(table->isa);
        return names;
    });
    m.def("instruction_set", [] { return std::string(g_table->isa); });
    m.def("use_instruction_set", [](const std::string& name) {
        for (const KernelTable* table : instruction_sets())
            if (name == table->isa) {
                g_table = table;
                return;
            }
        refuse("this machine or this build has no " + name);
    });
    bind_ctc(m);
    m.def("threads", threads);
    m.def("set_threads", set_threads);
    nb::class_<PackedWeights>(m, "PackedWeights").def_prop_ro("nbytes", [](const PackedWeights& w) {
        return w.packed->bytes;
    });
    bind<float>(m);
    bind<double>(m);
    bind_streams(m);
}
