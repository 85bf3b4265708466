// Vectors of the instruction set that this source is compiled for: GCC and Clang vector extensions for arithmetic, and
// intrinsics for the few operations that need an exact instruction (fused multiply-add, broadcast, masked access).
//
// The same sources are compiled once for each instruction set, each time into a namespace of its own (ELMAN_ISA).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef ELMAN_ISA
#define ELMAN_ISA baseline
#endif

// For lambdas in inner loops, behind their parameters.
#define ELMAN_INLINE __attribute__((always_inline))

namespace elman::ELMAN_ISA {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
constexpr int kRows = 6;  // rows of a tile: 6 x 4 accumulators, 6 broadcasts and a weight fill 31 of 32 registers
#elif defined(__AVX2__)
constexpr int kBytes = 32;
constexpr int kRows = 3;  // 3 x 4 accumulators, 3 broadcasts and a weight fill 16 registers
#elif defined(__aarch64__)
constexpr int kBytes = 16;
constexpr int kRows = 6;
#else
constexpr int kBytes = 16;
constexpr int kRows = 2;  // without fused multiply-add a product needs a register of its own
#endif

typedef float f32s __attribute__((vector_size(kBytes)));
typedef double f64s __attribute__((vector_size(kBytes)));
typedef std::int32_t i32s __attribute__((vector_size(kBytes)));
typedef std::int64_t i64s __attribute__((vector_size(kBytes)));

// bfloat16: the upper half of a float32. Only weights of an engine have this type.
struct bf16 {
    std::uint16_t bits;
};

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
    using type = f32s;
    using ints = i32s;
};
template <>
struct VecOf<double> {
    using type = f64s;
    using ints = i64s;
};
template <class T>
using Vec = typename VecOf<T>::type;
template <class T>
constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
inline void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, sizeof v);
}

// The weight at p as the type of the arithmetic.
inline f32s load_weight(const float* p) { return load(p); }
inline f64s load_weight(const double* p) { return load(p); }
inline f32s load_weight(const bf16* p) {
#if defined(__AVX512F__)
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return (f32s)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
#elif defined(__AVX2__)
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return (f32s)_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
#else
    i32s wide;
    for (int k = 0; k < kLanes<float>; ++k) wide[k] = static_cast<std::int32_t>(std::uint32_t{p[k].bits} << 16);
    return (f32s)wide;
#endif
}

#if defined(__AVX512F__)
inline f32s splat(float x) { return _mm512_set1_ps(x); }
inline f64s splat(double x) { return _mm512_set1_pd(x); }
inline f32s fma(f32s a, f32s b, f32s c) { return _mm512_fmadd_ps(a, b, c); }
inline f64s fma(f64s a, f64s b, f64s c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__AVX2__)
inline f32s splat(float x) { return _mm256_set1_ps(x); }
inline f64s splat(double x) { return _mm256_set1_pd(x); }
inline f32s fma(f32s a, f32s b, f32s c) { return _mm256_fmadd_ps(a, b, c); }
inline f64s fma(f64s a, f64s b, f64s c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__aarch64__)
inline f32s splat(float x) { return vdupq_n_f32(x); }
inline f64s splat(double x) { return vdupq_n_f64(x); }
inline f32s fma(f32s a, f32s b, f32s c) { return vfmaq_f32(c, a, b); }
inline f64s fma(f64s a, f64s b, f64s c) { return vfmaq_f64(c, a, b); }
#else
inline f32s splat(float x) { return x - f32s{}; }  // a loop over lanes would compile to masked inserts
inline f64s splat(double x) { return x - f64s{}; }
inline f32s fma(f32s a, f32s b, f32s c) { return a * b + c; }
inline f64s fma(f64s a, f64s b, f64s c) { return a * b + c; }
#endif

// The root of each lane.
template <class V>
inline V sqrt_lanes(V x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(x[0]) == 4) return _mm512_sqrt_ps(x);
    if constexpr (sizeof(x[0]) == 8) return _mm512_sqrt_pd(x);
#elif defined(__AVX2__)
    if constexpr (sizeof(x[0]) == 4) return _mm256_sqrt_ps(x);
    if constexpr (sizeof(x[0]) == 8) return _mm256_sqrt_pd(x);
#else
    for (std::size_t k = 0; k < sizeof x / sizeof x[0]; ++k) x[k] = std::sqrt(x[k]);
    return x;
#endif
}

// The first n lanes of a vector in memory; the others load as 0 and are not written.
template <class T>
inline Vec<T> load_first(const T* p, int n) {
    if (n >= kLanes<T>) return load(p);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
    if constexpr (sizeof(T) == 8) return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#endif
    Vec<T> v = {};
    std::memcpy(&v, p, sizeof(T) * static_cast<std::size_t>(n));
    return v;
}

template <class T>
inline void store_first(T* p, Vec<T> v, int n) {
    if (n >= kLanes<T>) return store(p, v);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
    if constexpr (sizeof(T) == 8) return _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
#endif
    std::memcpy(p, &v, sizeof(T) * static_cast<std::size_t>(n));
}

}  // namespace elman::ELMAN_ISA
