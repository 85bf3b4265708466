// exp, tanh and sigmoid of vectors, each within 4 units in the last place; NaN passes.
//
// One reduction serves all three: x = n log 2 + r with |r| <= log(2)/2, and p = exp(r) - 1 = r + r^2 q(r) by a
// polynomial, which keeps the relative accuracy of exp(x) - 1 near 0. The polynomials interpolate at Chebyshev nodes.
#pragma once

#include "vec.h"

namespace elman::ELMAN_ISA {

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
    static constexpr float log2_e = 1.44269504088896341f;
    static constexpr float log_2_high = 0.693359375f;  // few bits, so that n log_2_high is exact
    static constexpr float log_2_low = -2.12194440e-4f;
    // 1.5 2^23: adding it rounds to an integer, in the lowest bits; and 127, the exponent of 1, comes with it.
    static constexpr float round = 12582912.0f + 127;
    static constexpr int mantissa = 23;
    static constexpr float least = -87.3365402f;  // exp of less would be denormal
    static constexpr float most = 88.7228394f;    // exp of more is infinite
    static constexpr float tanh_is_one = 10.0f;   // from here on tanh rounds to 1
    static constexpr float q[] = {0.5f, 0.16666577025597989481f, 0.04166655466205053393f, 0.0083631730745137109612f,
                                  0.0013926176119935579009f};
};

template <>
struct ExpConstants<double> {
    static constexpr double log2_e = 1.44269504088896340736;
    static constexpr double log_2_high = 6.93145751953125e-1;
    static constexpr double log_2_low = 1.42860682030941723212e-6;
    static constexpr double round = 6755399441055744.0 + 1023;  // 1.5 2^52
    static constexpr int mantissa = 52;
    static constexpr double least = -708.396418532264;
    static constexpr double most = 709.782712893384;
    static constexpr double tanh_is_one = 20.0;
    static constexpr double q[] = {0.5,
                                   0.1666666666666667103,
                                   0.041666666666666669783,
                                   0.0083333333333260831202,
                                   0.0013888888888883711167,
                                   0.00019841269875002278793,
                                   0.0000248015873256774619,
                                   2.7557255170000887438e-6,
                                   2.7557273478718580474e-7,
                                   2.5105312729622101787e-8,
                                   2.09147553258932022e-9};
};

// x within bounds, one instruction each. NaN compares false, so it passes.
template <class T>
inline Vec<T> at_least(Vec<T> x, T low) {
    const Vec<T> bound = splat(low);
    return bound > x ? bound : x;
}
template <class T>
inline Vec<T> at_most(Vec<T> x, T high) {
    const Vec<T> bound = splat(high);
    return bound < x ? bound : x;
}

// The bits of x that are set in mask, or those that are not.
template <class T>
inline Vec<T> bits_of(Vec<T> x, Vec<T> mask) {
    using Ints = typename VecOf<T>::ints;
    return (Vec<T>)((Ints)x & (Ints)mask);
}
template <class T>
inline Vec<T> bits_but(Vec<T> x, Vec<T> mask) {
    using Ints = typename VecOf<T>::ints;
    return (Vec<T>)((Ints)x & ~(Ints)mask);
}

// exp(x) = scale (1 + p), for x whose scale = 2^n is a normal number.
template <class T>
struct Split {
    Vec<T> p, scale;
};

template <class T>
inline Split<T> split_exp(Vec<T> x) {
    using C = ExpConstants<T>;
    using Ints = typename VecOf<T>::ints;
    const Vec<T> shifted = fma(x, splat(C::log2_e), splat(C::round));
    const Vec<T> n = shifted - splat(C::round);
    Vec<T> r = fma(n, splat(-C::log_2_high), x);
    r = fma(n, splat(-C::log_2_low), r);
    constexpr int degree = static_cast<int>(sizeof C::q / sizeof C::q[0]) - 1;
    Vec<T> q = splat(C::q[degree]);
#pragma GCC unroll 16
    for (int k = degree - 1; k >= 0; --k) q = fma(q, r, splat(C::q[k]));
    return {fma(r * r, q, r), (Vec<T>)((Ints)shifted << C::mantissa)};
}

// exp(x): below the range of normal numbers 0, above it infinite.
template <class T>
inline Vec<T> exp(Vec<T> x) {
    using C = ExpConstants<T>;
    using Ints = typename VecOf<T>::ints;
    const Vec<T> near = at_most<T>(at_least<T>(x, C::least), C::most);
    const auto [p, scale] = split_exp<T>(near);
    const Ints upper = near > splat(T(C::most - 2));  // one factor 2 apart, where 2^n would not be finite
    const Vec<T> below = (Vec<T>)((Ints)scale + (upper << C::mantissa));  // a true lane is -1: one off the exponent
    Vec<T> y = (splat(T(1)) + p) * below;
    y = upper ? y + y : y;
    y = x < splat(C::least) ? Vec<T>{} : y;
    return x > splat(C::most) ? splat(T(__builtin_huge_val())) : y;
}

// 1 / (1 + exp(-x)); below the range of normal numbers it is the least of them.
template <class T>
inline Vec<T> sigmoid(Vec<T> x) {
    using C = ExpConstants<T>;
    const auto [p, scale] = split_exp<T>(-at_most<T>(at_least<T>(x, C::least), -C::least));
    const Vec<T> one = splat(T(1));
    return one / (one + fma(scale, p, scale));
}

// tanh(x) = e / (e + 2) with e = exp(2 |x|) - 1, and the sign of x, also that of -0.
template <class T>
inline Vec<T> tanh(Vec<T> x) {
    using C = ExpConstants<T>;
    using Ints = typename VecOf<T>::ints;
    const Vec<T> sign_bit = splat(T(-0.0)), one = splat(T(1));
    const Vec<T> near = at_most<T>(bits_but<T>(x, sign_bit), C::tanh_is_one);
    const auto [p, scale] = split_exp<T>(near + near);
    const Vec<T> e = fma(scale, p, scale - one);
    return (Vec<T>)((Ints)(e / (e + (one + one))) | (Ints)bits_of<T>(x, sign_bit));
}

template <class T>
inline Vec<T> relu(Vec<T> x) {
    return x < Vec<T>{} ? Vec<T>{} : x;
}

}  // namespace elman::ELMAN_ISA
