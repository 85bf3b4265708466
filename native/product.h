// The one matrix product: rows times packed weights, with something done to each tile before and after.
//
// Weights are packed into panels. A panel holds, for every k, W vectors side by side:
//
//     panel:  [k][W][lanes]
//
// A tile of R rows and W vectors stays in R x W accumulators, and each of them runs over k from 0 to K-1 with fused
// multiply-add. So every output is the same sum in the same order, whatever tile, thread or batch it is computed in,
// and whatever the width of the vectors. That is what makes results equal bit for bit.
#pragma once

#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "calls.h"
#include "vec.h"

namespace elman::ELMAN_ISA {

using index = std::int64_t;

// Memory aligned to a cache line, of which vectors of any width are parts. Large pieces ask for large pages, which come
// with fewer page faults.
template <class T>
class Buffer {
   public:
    explicit Buffer(index count) {
        if (count == 0) return;
        constexpr std::size_t kLarge = std::size_t{1} << 21;
        const std::size_t wanted = static_cast<std::size_t>(count) * sizeof(T),
                          unit = wanted >= 2 * kLarge ? kLarge : 64;
        const std::size_t bytes = (wanted + 2 * unit - 1) / unit * unit;
        p_ = static_cast<T*>(std::aligned_alloc(unit, bytes));
        if (!p_) throw std::bad_alloc();
#if defined(__linux__)
        if (unit == kLarge) madvise(p_, bytes, MADV_HUGEPAGE);  // only a wish
#endif
    }
    ~Buffer() { std::free(p_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    operator T*() const { return p_; }

   private:
    T* p_ = nullptr;
};

struct Range {
    index from, to;
};

// The share of thread `me` of `count` threads, in whole units.
inline Range share(index n, int me, int count) { return {n * me / count, n * (me + 1) / count}; }

inline index divide_up(index n, index d) { return (n + d - 1) / d; }

// ---------------------------------------------------------------------------------------------------------- the kernel

// sums[r][p][w] += sum over k of a[r][k] panel_p[k][w], for R rows and P panels of W vectors.
template <int R, int W, int P, class T, class S>
__attribute__((noinline)) void tile(Vec<T>* sums, const T* const* rows, index K, const S* panel,
                                    std::ptrdiff_t next_panel) {
    constexpr int L = kLanes<T>;
    const T* a[R];
    Vec<T> acc[R][P * W];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        a[r] = rows[r];
#pragma GCC unroll 16
        for (int w = 0; w < P * W; ++w) acc[r][w] = sums[r * P * W + w];
    }
    for (index k = 0; k < K; ++k) {
        Vec<T> x[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) x[r] = splat(a[r][k]);
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
            for (int w = 0; w < W; ++w) {
                const Vec<T> weight = load_weight(panel + p * next_panel + w * L);
#pragma GCC unroll 8
                for (int r = 0; r < R; ++r) acc[r][p * W + w] = fma(weight, x[r], acc[r][p * W + w]);
            }
        }
        panel += W * L;
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (int w = 0; w < P * W; ++w) sums[r * P * W + w] = acc[r][w];
}

// How many panels a tile of few rows works on at once: one row has too few accumulators to hide the latency of an
// addition, and k must not be split.
constexpr bool kManyRegisters = kRows == 6;
constexpr int panels_at_once(index rows) {
    return rows == 1 ? (kManyRegisters ? 4 : 2) : rows == 2 && kManyRegisters ? 2 : 1;
}

template <class T, class S>
using Tile = void (*)(Vec<T>*, const T* const*, index, const S*, std::ptrdiff_t);

// A height that the instruction set has a tile for; keeps the compiler from making others, which no case asks for.
constexpr int within(int rows) { return rows < kRows ? rows : kRows; }

template <int W, class T, class S>
inline Tile<T, S> tile_of_width(index rows, bool one_panel) {
    switch (rows) {
        case 1: return one_panel ? tile<1, W, 1, T, S> : tile<1, W, panels_at_once(1), T, S>;
        case 2: return one_panel ? tile<2, W, 1, T, S> : tile<2, W, panels_at_once(2), T, S>;
        case 3: return tile<within(3), W, 1, T, S>;
        case 4: return tile<within(4), W, 1, T, S>;
        case 5: return tile<within(5), W, 1, T, S>;
        default: return tile<within(6), W, 1, T, S>;
    }
}

template <class T, class S>
inline Tile<T, S> tile_for(index rows, int W, bool one_panel) {
    switch (W) {
        case 1: return tile_of_width<1, T, S>(rows, one_panel);
        case 2: return tile_of_width<2, T, S>(rows, one_panel);
        case 3: return tile_of_width<3, T, S>(rows, one_panel);
        default: return tile_of_width<4, T, S>(rows, one_panel);
    }
}

// For rows 0 to n-1 and each panel of W vectors: start(i, panel, sums) sets W vectors, row(i) is the row of K numbers
// to multiply, finish(i, panel, sums) takes the result.
//
// Rows go through in chunks and long sums in slices of k, so that a slice of a panel stays in the cache while all rows
// of a chunk use it. Between slices the sums rest in memory, and their order stays the same.
template <class T, class S, class Row, class Start, class Finish>
inline void product(index n, Range panels, int W, index K, const S* weights, Row row, Start start, Finish finish) {
    constexpr int L = kLanes<T>;
    constexpr index kChunk = 96, kSlice = 2048 / static_cast<index>(sizeof(T));
    const std::ptrdiff_t next_panel = K * W * L;
    const index tallest = kRows;
    Vec<T> resting[kChunk * 4];
    Vec<T> sums[kRows < 4 ? 16 : kRows * 4];
    for (index from = 0; from < n; from += kChunk) {
        const index rows = n - from < kChunk ? n - from : kChunk;
        // Tiles of nearly equal heights.
        const index tiles = divide_up(rows, tallest), low = rows / tiles, taller = rows % tiles;
        for (index panel = panels.from; panel < panels.to;) {
            const index wanted = tiles == 1 ? panels_at_once(rows) : 1;
            const index P = panel + wanted <= panels.to ? wanted : 1;
            for (index k = 0, end = -1; end < K; k = end) {  // once even where there is nothing to sum
                end = k + kSlice + kSlice / 2 < K && rows > kRows ? k + kSlice : K;
                for (index t = 0, i = 0, height; t < tiles; ++t, i += height) {
                    height = low + (t < taller);
                    const T* a[kRows];
                    for (index r = 0; r < height; ++r) {
                        a[r] = row(from + i + r) + k;
                        for (index p = 0; p < P; ++p) {
                            Vec<T>* to = sums + (r * P + p) * W;
                            if (k == 0)
                                start(from + i + r, panel + p, to);
                            else
                                std::memcpy(to, resting + (i + r) * W, sizeof(Vec<T>) * static_cast<std::size_t>(W));
                        }
                    }
                    tile_for<T, S>(height, W, P == 1)(sums, a, end - k, weights + panel * next_panel + k * W * L,
                                                      next_panel);
                    for (index r = 0; r < height; ++r)
                        for (index p = 0; p < P; ++p) {
                            const Vec<T>* done = sums + (r * P + p) * W;
                            if (end == K)
                                finish(from + i + r, panel + p, done);
                            else
                                std::memcpy(resting + (i + r) * W, done, sizeof(Vec<T>) * static_cast<std::size_t>(W));
                        }
                }
            }
            panel += P;
        }
    }
}

// ------------------------------------------------------------------------------------- weights of whole vectors of
// units

// Columns 0 to N-1 of a product, in panels of four vectors; the last panel is as wide as what is left.
struct Columns {
    index N, blocks;  // blocks: vectors
    template <class T>
    static Columns of(index N) {
        return {N, divide_up(N, kLanes<T>)};
    }
    index panels() const { return divide_up(blocks, 4); }
    int width(index panel) const { return static_cast<int>(blocks - panel * 4 < 4 ? blocks - panel * 4 : 4); }
    index size(index lanes, index K) const { return blocks * lanes * K; }  // of their weights
};

// Calls product for the panels of a range, the last narrow one with its own width. start and finish are called for
// single vectors: start(i, block) returns the vector, finish(i, block, vector) takes it.
template <class T, class S, class Row, class Start, class Finish>
inline void product_of_columns(const Columns& columns, index n, Range panels, index K, const S* weights, Row row,
                               Start start, Finish finish) {
    const auto run = [&](Range part, int W, index first_block) __attribute__((noinline)) {
        product<T, S>(
            n, part, W, K, weights + first_block * kLanes<T> * K, row,
            [&](index i, index panel, Vec<T>* sums) {
                for (int w = 0; w < W; ++w) sums[w] = start(i, first_block + panel * W + w);
            },
            [&](index i, index panel, const Vec<T>* sums) {
                for (int w = 0; w < W; ++w) finish(i, first_block + panel * W + w, sums[w]);
            });
    };
    const index whole = columns.blocks / 4;
    run({panels.from, panels.to < whole ? panels.to : whole}, 4, 0);
    if (panels.from <= whole && panels.to > whole) run({0, 1}, columns.width(whole), whole * 4);
}

// ------------------------------------------------------------------------------------------------------------ packing

inline void put(float* to, float x) { *to = x; }
inline void put(double* to, double x) { *to = x; }
inline void put(bf16* to, float x) {  // to nearest, ties to even; NaN stays NaN
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        to->bits = static_cast<std::uint16_t>((bits >> 16) | 0x40u);
    else
        to->bits = static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// One vector of a panel for all k: to[k * stride + lane] = from[lane * lane_stride + k * k_stride], 0 beyond `lanes`.
template <class T, class S>
inline void pack_vector(S* to, index stride, const T* from, std::ptrdiff_t lane_stride, std::ptrdiff_t k_stride,
                        index K, int lanes) {
    constexpr int L = kLanes<T>;
    if (lane_stride == 1) {
        for (index k = 0; k < K; ++k) {
            const Vec<T> row = load_first<T>(from + k * k_stride, lanes);
            if constexpr (std::is_same_v<S, T>)
                store<T>(to + k * stride, row);
            else
                for (int lane = 0; lane < L; ++lane) put(to + k * stride + lane, row[lane]);
        }
        return;
    }
    for (index k0 = 0; k0 < K; k0 += 16) {
        const index k1 = k0 + 16 < K ? k0 + 16 : K;
        for (int lane = 0; lane < L; ++lane)
            for (index k = k0; k < k1; ++k)
                put(to + k * stride + lane, lane < lanes ? from[lane * lane_stride + k * k_stride] : T(0));
    }
}

// Panels of W gates: vector g of panel p holds units p * L ... of the gate with index `first + g`, whose H rows of
// weight (G*H, K) stand together.
template <class T, class S>
inline void pack_gates(S* to, const T* weight, index H, index K, int first, int W) {
    constexpr int L = kLanes<T>;
    for (index p = 0; p * L < H; ++p)
        for (int g = 0; g < W; ++g) {
            const index left = H - p * L;
            pack_vector<T, S>(to + (p * K * W + g) * L, W * L, weight + ((first + g) * H + p * L) * K, K, 1, K,
                              static_cast<int>(left < L ? left : L));
        }
}

// Panels of columns: column n of the product has the weights from[n * n_stride + k * k_stride].
template <class T, class S>
inline void pack_columns(S* to, const T* from, const Columns& columns, index K, std::ptrdiff_t n_stride,
                         std::ptrdiff_t k_stride) {
    constexpr int L = kLanes<T>;
    for (index block = 0; block < columns.blocks; ++block) {
        const index panel = block / 4, left = columns.blocks - panel * 4, W = left < 4 ? left : 4;
        const index lanes = columns.N - block * L;
        pack_vector<T, S>(to + (panel * 4 * K + block % 4) * L, W * L, from + block * L * n_stride, n_stride, k_stride,
                          K, static_cast<int>(lanes < L ? lanes : L));
    }
}

// ------------------------------------------------------------------------------------------- sums over rows of
// products

constexpr int kOuterWidth = kRows == 2 ? 2 : 4;  // vectors of a tile

// Rows whose right side is packed at once: few enough for a panel of it to stay in the first cache, and more where the
// sums are so many that each pass over them is a way to the third cache.
constexpr index kBlock = 128, kLargeBlock = 256;
template <class T>
inline index block_of(index sums) {
    return sums * static_cast<index>(sizeof(T)) < (index{1} << 20) ? kBlock : kLargeBlock;
}

// sums[r][w] += sum over k of a[k][r] b[k][w], for R numbers of the row a[k] (the last of them again where there are
// fewer) and W packed vectors.
template <int W, class T>
__attribute__((noinline)) void outer_tile(Vec<T>* sums, const T* const* a, index first, int height, const T* b,
                                          index K) {
    constexpr int L = kLanes<T>, R = kRows;
    Vec<T> acc[R][W];
    std::ptrdiff_t at[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        at[r] = first + (r < height ? r : height - 1);
#pragma GCC unroll 4
        for (int w = 0; w < W; ++w) acc[r][w] = sums[r * W + w];
    }
    for (index k = 0; k < K; ++k, b += W * L) {
        const T* row = a[k];
        Vec<T> x[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) x[r] = splat(row[at[r]]);
#pragma GCC unroll 4
        for (int w = 0; w < W; ++w) {
            const Vec<T> y = load(b + w * L);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][w] = fma(y, x[r], acc[r][w]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int w = 0; w < W; ++w) sums[r * W + w] = acc[r][w];
}

template <class T>
inline auto outer_tile_of(int W) {
    switch (W) {
        case 1: return outer_tile<1, T>;
        case 2: return outer_tile<2, T>;
        case 3: return outer_tile < kOuterWidth < 3 ? 1 : 3, T > ;
        default: return outer_tile < kOuterWidth < 4 ? 1 : 4, T > ;
    }
}

// sum[m * sum_row + n] += a[r][m] b[r][n] over the rows r = rows-1 down to 0, for m in a range: the gradient of a
// weight. The order of the sum is that of backpropagation, so chunks of a sequence, the last one first, give the same
// bits.
template <class T, class RowA, class RowB>
inline void add_outer(T* sum, std::ptrdiff_t sum_row, Range m_range, index N, index rows, RowA a, RowB b, T* scratch) {
    if (m_range.from >= m_range.to) return;
    constexpr int L = kLanes<T>;
    const index blocks = divide_up(N, L), panels = divide_up(blocks, kOuterWidth);
    const auto lanes = [N](index column) { return static_cast<int>(N - column < L ? N - column : L); };
    const auto width = [&](index panel) {
        const index left = blocks - panel * kOuterWidth;
        return static_cast<int>(left < kOuterWidth ? left : kOuterWidth);
    };
    const T* a_rows[kLargeBlock];
    Vec<T> sums[kRows * kOuterWidth] = {};
    const index most = block_of<T>((m_range.to - m_range.from) * N);
    for (index r1 = rows; r1 > 0; r1 -= most) {
        const index K = r1 < most ? r1 : most;
        for (index k = 0; k < K; ++k) {  // b as [panel][k][W][L]
            a_rows[k] = a(r1 - 1 - k);
            const T* from = b(r1 - 1 - k);
            for (index block = 0; block < blocks; ++block) {
                const index panel = block / kOuterWidth, w = block % kOuterWidth;
                store<T>(scratch + (panel * kOuterWidth * K + k * width(panel) + w) * L,
                         load_first<T>(from + block * L, lanes(block * L)));
            }
        }
        for (index m = m_range.from; m < m_range.to; m += kRows) {
            const int height = static_cast<int>(m_range.to - m < kRows ? m_range.to - m : kRows);
            for (index panel = 0; panel < panels; ++panel) {
                const index n = panel * kOuterWidth * L;
                const int W = width(panel);
                T* to = sum + m * sum_row + n;
                for (int r = 0; r < height; ++r)
                    for (int w = 0; w < W; ++w)
                        sums[r * W + w] = load_first<T>(to + r * sum_row + w * L, lanes(n + w * L));
                outer_tile_of<T>(W)(sums, a_rows, m, height, scratch + n * K, K);
                for (int r = 0; r < height; ++r)
                    for (int w = 0; w < W; ++w)
                        store_first<T>(to + r * sum_row + w * L, sums[r * W + w], lanes(n + w * L));
            }
        }
    }
}

template <class T>
inline index add_outer_scratch(index N) {
    return divide_up(N, kLanes<T>) * kLanes<T> * kLargeBlock;
}

}  // namespace elman::ELMAN_ISA
