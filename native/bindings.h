// What the parts of the door to Python share: types of arrays, the checks of their shapes, and refusals in words.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "calls.h"
#include "packed.h"

namespace elman {

namespace nb = nanobind;
using nb::literals::operator""_a;

extern const KernelTable* g_table;  // of the instruction set in use

void bind_streams(nb::module_& m);
void bind_ctc(nb::module_& m);

template <class T>
using Array = nb::ndarray<const T, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::device::cpu>;
template <class A>
using Maybe = std::optional<A>;
using Ids = Array<std::int64_t>;

template <class T>
inline const Kernels<T>& of(const KernelTable* table) {
    if constexpr (sizeof(T) == 4)
        return table->f32;
    else
        return table->f64;
}

[[noreturn]] inline void refuse(const std::string& what) { throw nb::value_error(what.c_str()); }

template <class A>
inline std::string shape_of(const A& a) {
    std::string text = "(";
    for (std::size_t k = 0; k < a.ndim(); ++k) text += (k ? ", " : "") + std::to_string(a.shape(k));
    return text + (a.ndim() == 1 ? ",)" : ")");
}

template <class A>
inline bool is_aligned(const A& a) {
    using E = std::remove_pointer_t<decltype(a.data())>;
    return reinterpret_cast<std::uintptr_t>(a.data()) % alignof(E) == 0;
}

// Refuses an array of another shape, one whose last axis (or, with `dense`, any) is not contiguous, or one at an
// address that its type must not have.
template <class A>
inline void check(const char* name, const A& a, std::initializer_list<std::int64_t> shape, bool dense = true) {
    bool good = a.ndim() == shape.size() && is_aligned(a);
    std::int64_t expected = 1, size = 1;
    for (const std::int64_t n : shape) size *= n;
    for (std::size_t k = shape.size(); good && k-- > 0;) {
        const std::int64_t n = shape.begin()[k];
        good = static_cast<std::int64_t>(a.shape(k)) == n;
        if (size > 0 && n > 1 && (dense || k + 1 == shape.size())) good = good && a.stride(k) == expected;
        expected *= n;
    }
    if (good) return;
    std::string text;
    for (const std::int64_t n : shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
    refuse(std::string("native kernels: ") + name + " must be an aligned, contiguous (" + text + "), got " +
           shape_of(a));
}

struct PackedWeights {
    std::shared_ptr<const Packed> packed;
    const KernelTable* table;
    bool is_double;
};

inline bool is_recurrent(const PackedWeights& weights) { return weights.packed->hh != nullptr; }

}  // namespace elman
