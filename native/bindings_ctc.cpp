// The part of the door to Python for CTC: the loss, and prefix beam search.

#include <algorithm>
#include <string>
#include <vector>

#include <nanobind/stl/vector.h>

#include "beam.h"
#include "bindings.h"

namespace elman {
namespace {

template <class T, int N>
using Dense = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using DenseOut = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T>
using Strided = nb::ndarray<T, nb::ndim<3>, nb::device::cpu>;

void require(bool good, const char* what) {
    if (!good) throw nb::value_error((std::string("native kernels: ctc: ") + what).c_str());
}

template <class T>
void ctc(Strided<const T> y, Dense<std::int64_t, 1> lengths, Dense<std::int64_t, 1> targets,
         Dense<std::int64_t, 1> starts, std::int64_t blank, bool from_logits, DenseOut<double, 1> losses,
         Strided<T> d_y) {
    const auto T_ = static_cast<std::int64_t>(y.shape(0)), B = static_cast<std::int64_t>(y.shape(1)),
               V = static_cast<std::int64_t>(y.shape(2));
    require(y.stride(2) == 1 || V < 2, "the last axis of y must be contiguous");
    require(d_y.stride(2) == 1 || V < 2, "the last axis of d_y must be contiguous");
    require(static_cast<std::int64_t>(d_y.shape(0)) == T_ && static_cast<std::int64_t>(d_y.shape(1)) == B &&
                static_cast<std::int64_t>(d_y.shape(2)) == V,
            "d_y must have the shape of y");
    require(static_cast<std::int64_t>(lengths.shape(0)) == B, "one length a row");
    require(static_cast<std::int64_t>(losses.shape(0)) == B, "one loss a row");
    require(static_cast<std::int64_t>(starts.shape(0)) == B + 1, "one start a row, and the end");
    require(0 <= blank && blank < V, "the blank must be a label");
    const auto n_labels = static_cast<std::int64_t>(targets.shape(0));
    for (std::int64_t b = 0; b < B; ++b) {
        require(0 <= lengths.data()[b] && lengths.data()[b] <= T_, "a length is out of range");
        require(0 <= starts.data()[b] && starts.data()[b] <= starts.data()[b + 1] && starts.data()[b + 1] <= n_labels,
                "the starts are out of order");
    }
    for (std::int64_t s = 0; s < n_labels; ++s)
        require(0 <= targets.data()[s] && targets.data()[s] < V, "a label is out of range");
    const Ctc<T> call = {T_,
                         B,
                         V,
                         {y.data(), y.stride(0), y.stride(1)},
                         lengths.data(),
                         targets.data(),
                         starts.data(),
                         blank,
                         from_logits,
                         losses.data(),
                         {d_y.data(), d_y.stride(0), d_y.stride(1)}};
    nb::gil_scoped_release released;
    of<T>(g_table).ctc(call);
}

template <class T>
nb::object copy_of(const std::vector<T>& values) {
    T* data = new T[values.size()];
    std::copy(values.begin(), values.end(), data);
    const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {values.size()}, owner));
}

// A beam, and how many labels there are.
struct BoundBeam {
    Beam beam;
    std::int64_t V;

    BoundBeam(std::int64_t labels, std::int64_t width, std::int64_t blank, std::int64_t start)
        : beam(labels, width, blank, start), V(labels) {
        require(0 <= blank && blank < labels && width >= 1, "a beam needs a width, and a blank that is a label");
    }

    void check(const Dense<double, 2>& log_p) const {
        require(static_cast<std::int64_t>(log_p.shape(1)) == V, "frames must have as many labels as the beam");
    }

    void advance(Dense<double, 2> log_p) {
        check(log_p);
        nb::gil_scoped_release released;
        beam.advance(log_p.data(), static_cast<std::int64_t>(log_p.shape(0)), nullptr);
    }

    std::int64_t advance_scored(Dense<double, 2> log_p, Dense<std::int64_t, 1> row_of, Dense<std::int64_t, 2> following,
                                Dense<double, 2> scores) {
        check(log_p);
        require(static_cast<std::int64_t>(following.shape(1)) == V && static_cast<std::int64_t>(scores.shape(1)) == V &&
                    following.shape(0) == scores.shape(0),
                "transitions must have as many labels as the beam");
        const auto rows = static_cast<std::int64_t>(scores.shape(0)), n = static_cast<std::int64_t>(row_of.shape(0));
        for (std::int64_t state = 0; state < n; ++state)
            require(row_of.data()[state] < rows, "a row of the transitions is missing");
        for (const std::int64_t state : beam.states) require(state >= 0, "a state is negative");
        const Transitions transitions = {row_of.data(), n, following.data(), scores.data()};
        nb::gil_scoped_release released;
        return beam.advance(log_p.data(), static_cast<std::int64_t>(log_p.shape(0)), &transitions);
    }

    std::vector<std::int64_t> labels(std::int64_t place) const {
        require(0 <= place && place < static_cast<std::int64_t>(beam.nodes.size()), "there is no such prefix");
        return beam.labels(place);
    }
};

}  // namespace

void bind_ctc(nb::module_& m) {
    m.def("ctc", ctc<float>, "y"_a.noconvert(), "lengths"_a, "targets"_a, "starts"_a, "blank"_a, "from_logits"_a,
          "losses"_a.noconvert(), "d_y"_a.noconvert());
    m.def("ctc", ctc<double>, "y"_a.noconvert(), "lengths"_a, "targets"_a, "starts"_a, "blank"_a, "from_logits"_a,
          "losses"_a.noconvert(), "d_y"_a.noconvert());
    nb::class_<BoundBeam>(m, "Beam")
        .def(nb::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t>())
        .def("advance", &BoundBeam::advance)
        .def("advance_scored", &BoundBeam::advance_scored)
        .def("labels", &BoundBeam::labels)
        .def_prop_ro("states", [](const BoundBeam& b) { return copy_of(b.beam.states); })
        .def_prop_ro("extra", [](const BoundBeam& b) { return copy_of(b.beam.extra); })
        .def_prop_ro("in_blank", [](const BoundBeam& b) { return copy_of(b.beam.in_blank); })
        .def_prop_ro("in_label", [](const BoundBeam& b) { return copy_of(b.beam.in_label); });
}

}  // namespace elman
