// Backpropagation through time: the elementwise part of a step, then d_h_{t-1} = d_a_t weight_hh; after the walk, the
// gradients of the weights and of x, which are products over all steps and rows.
//
// A "row" here is the place of a batch row among the thread's active rows, as in a forward pass.
#pragma once

#include "recurrence.h"

namespace elman::ELMAN_ISA {

// Memory of one call that all threads share.
template <class T>
struct BackwardWork {
    T* d_a;         // (T, B, G*H) gradient of the pre-activations
    T* d_hidden_n;  // (T, B, H) of U_n h_{t-1} + b_hh_n, of a GRU that resets after
    T* reset_h;     // (T, B, H) r h_{t-1}, of a GRU that resets before
    const T* hh;    // weight_hh for products with d_a, of a GRU the rows of r and z
    const T* hh_n;  // the others
};

// Where everything of an active row lies at one step. What a cell does not have is missing.
template <class T>
struct BackwardRow {
    const T *gates, *hidden_n, *h_before, *h_after, *c_before, *c_after, *d_y;
    T *d_h, *d_c;              // the gradient that is carried on
    T *d_h_steps, *d_c_steps;  // where it is noted
    T *d_a, *d_hidden_n, *reset_h;
};

template <class T>
struct BackwardStep {
    const Plan& plan;
    const BackwardRow<T>* rows;
    const BackwardWork<T>& work;
    index n;       // how many rows have this step
    Range panels;  // of four vectors of units: the thread's share
    Team& team;
    bool alone;

    static constexpr int L = kLanes<T>;
    int lanes(index block) const { return static_cast<int>(std::min<index>(L, plan.H - block * L)); }
    void meet() const {
        if (!alone) team.wait();
    }

    // f(row, first unit, lanes) for every active row and the thread's vectors of units.
    template <class F>
    void each_active(F f) const {
        const index from = panels.from * 4, to = std::min(panels.to * 4, plan.units.blocks);
        for (index i = 0; i < n; ++i) {
            const BackwardRow<T> row = rows[i];
            index block = from;
            for (; (block + 1) * L <= plan.H && block < to; ++block)
                f(row, block * L, std::integral_constant<int, L>{});
            if (block < to) f(row, block * L, lanes(block));
        }
    }

    // d_h_t = d_y_t + what comes from later steps; it is noted for whoever wants to see the gradient's way.
    template <class Lanes>
    Vec<T> d_h(const BackwardRow<T>& row, index u, Lanes lanes) const {
        const Vec<T> d = load_first<T>(row.d_y + u, lanes) + load_first<T>(row.d_h + u, lanes);
        store_first<T>(row.d_h_steps + u, d, lanes);
        return d;
    }

    // The gradient that goes on to the step before: start + rows of K gradients times packed weights.
    template <class Row, class Start>
    void carry_h(index K, const T* weights, Row row, Start start) const {
        product_of_columns<T, T>(
            plan.units, n, panels, K, weights, [&](index i) { return static_cast<const T*>(row(rows[i])); },
            [&](index i, index block) { return start(rows[i].d_h + block * L, lanes(block)); },
            [&](index i, index block, Vec<T> sum) { store_first<T>(rows[i].d_h + block * L, sum, lanes(block)); });
    }
    // What it starts from: nothing, or what was carried so far.
    static auto nothing() {
        return [](const T*, int) { return Vec<T>{}; };
    }
    static auto so_far() {
        return [](const T* carried, int lanes) { return load_first<T>(carried, lanes); };
    }
};

// At padded steps the state stood still, so its gradient passes; d_y counts where that state was put out.
template <class T>
inline void pass_padding(const Backward<T>& call, const ActiveRows& rows, index from, index t, Range units) {
    const index H = call.walk.H;
    for (index row = from; row < rows.total(); ++row) {
        const index b = rows[row], n = units.to - units.from, own = b * H + units.from;
        const index place = t * call.walk.B * H + own;
        if (call.walk.hold)
            for (index u = 0; u < n; ++u) call.d_h[own + u] += call.d_y(t, b)[units.from + u];
        std::copy_n(call.d_h + own, n, call.d_h_steps + place);
        if (call.d_c) std::copy_n(call.d_c + own, n, call.d_c_steps + place);
    }
}

// sum[k] += the rows of d, from the last to the first.
template <class T, class Row>
inline void add_rows(T* sum, Range columns, index rows, Row row) {
    constexpr int L = kLanes<T>, W = 8;  // vectors at once, so that a cache line that was fetched is used up
    for (index first = columns.from; first < columns.to; first += W * L) {
        const auto lanes = [&](int w) {
            const index left = columns.to - first - w * L;
            return static_cast<int>(left < 0 ? 0 : std::min<index>(L, left));
        };
        Vec<T> acc[W];
        if (columns.to - first >= W * L) {
#pragma GCC unroll 8
            for (int w = 0; w < W; ++w) acc[w] = load(sum + first + w * L);
            for (index r = rows; r-- > 0;) {
                const T* from = row(r) + first;
#pragma GCC unroll 8
                for (int w = 0; w < W; ++w) acc[w] += load(from + w * L);
            }
#pragma GCC unroll 8
            for (int w = 0; w < W; ++w) store<T>(sum + first + w * L, acc[w]);
            continue;
        }
        for (int w = 0; w < W && lanes(w) > 0; ++w) {
            T* to = sum + first + w * L;
            Vec<T> total = load_first<T>(to, lanes(w));
            for (index r = rows; r-- > 0;) total += load_first<T>(row(r) + first + w * L, lanes(w));
            store_first<T>(to, total, lanes(w));
        }
    }
}

// The gradients that are products over all valid steps and rows; each thread adds its own rows of the weights.
template <class T>
inline void finish_backward(const Backward<T>& call, const Plan& plan, const BackwardWork<T>& work, const index* places,
                            index rows, const T* ih_columns, T* scratch, Team& team, int me) {
    const index H = plan.H, GH = plan.G * H, B = call.walk.B;
    const auto place = [&](index r) { return places ? places[r] : r; };
    const auto d_a = [&](index r) { return static_cast<const T*>(work.d_a + place(r) * GH); };
    // Threads share the rows of the weights in whole tiles. The candidate of a GRU (the last H rows of weight_hh) has
    // two sides of its own there.
    const bool apart = plan.G == 3;
    const Range tiles = share(divide_up(GH, kRows), me, team.size);
    const Range mine = {std::min<index>(tiles.from * kRows, GH), std::min<index>(tiles.to * kRows, GH)};
    const index limit = apart ? 2 * H : GH;
    const Range common = {std::min(mine.from, limit), std::min(mine.to, limit)};
    const Range candidate = {std::max(mine.from, limit) - limit, std::max(mine.to, limit) - limit};
    // A block of rows at a time, from the last to the first, so that its d_a is read from far only once.
    const index block = block_of<T>(GH * std::max(H, plan.I) / team.size);
    for (index end = rows; end > 0; end -= std::min(end, block)) {
        const index n = std::min(end, block), first = end - n;
        const auto d_row = [&](index r) { return d_a(first + r); };
        const auto x = [&](index r) { return call.input.x(place(first + r) / B, place(first + r) % B); };
        const auto h_before = [&](index r) { return call.h_before + place(first + r) * H; };
        const auto d_hidden_n = [&](index r) {
            return work.d_hidden_n ? static_cast<const T*>(work.d_hidden_n + place(first + r) * H) : d_row(r) + 2 * H;
        };
        const auto seen_by_n = [&](index r) {
            return work.reset_h ? static_cast<const T*>(work.reset_h + place(first + r) * H) : h_before(r);
        };
        if (!call.input.is_ids()) add_outer<T>(call.d_ih, plan.I, mine, plan.I, n, d_row, x, scratch);
        add_outer<T>(call.d_hh, H, common, H, n, d_row, h_before, scratch);
        if (apart) add_outer<T>(call.d_hh + limit * H, H, candidate, H, n, d_hidden_n, seen_by_n, scratch);
        if (call.d_bias_ih) add_rows<T>(call.d_bias_ih, mine, n, d_row);
        if (!call.d_bias_hh) continue;
        add_rows<T>(call.d_bias_hh, common, n, d_row);
        if (apart) add_rows<T>(call.d_bias_hh + limit, candidate, n, d_hidden_n);
    }
    if (call.input.is_ids()) {
        for (index r = rows; r-- > 0;) {
            const index id = *call.input.ids(place(r) / B, place(r) % B);
            const T* d = d_a(r);
            for (index m = mine.from; m < mine.to; ++m) call.d_ih[m * plan.I + id] += d[m];
        }
        return;
    }
    const Range my_rows = share(rows, me, team.size);
    const Columns columns = Columns::of<T>(plan.I);
    product_of_columns<T, T>(
        columns, my_rows.to - my_rows.from, {0, columns.panels()}, GH, ih_columns,
        [&](index i) { return d_a(my_rows.from + i); }, [](index, index) { return Vec<T>{}; },
        [&](index i, index block, Vec<T> sum) {
            const index u = block * kLanes<T>;
            store_first<T>(call.d_x + place(my_rows.from + i) * plan.I + u, sum,
                           static_cast<int>(std::min<index>(kLanes<T>, plan.I - u)));
        });
}

// Walks back over time with step(BackwardStep), then does the products over all steps.
template <class T, class Step>
inline void walk_backward(const Backward<T>& call, Step step) {
    constexpr int L = kLanes<T>;
    const Walk& walk = call.walk;
    const Plan plan = Plan::of<T>(call.cell, walk.I, walk.H);
    const index I = walk.I, H = walk.H, GH = plan.G * H, TB = walk.T * walk.B;
    const auto order = order_of(walk);
    // Small steps of few rows are walked by one thread; the products after the walk are shared in any case.
    const double size = work_of(walk, plan.G);
    const int count = team_for(size);
    const bool may_split = plan.units.panels() > 1 && sharing(walk, size).count > 1;

    Buffer<T> d_a(TB * GH), hh(plan.units.size(kLanes<T>, GH)),
        ih(call.d_x ? Columns::of<T>(I).size(kLanes<T>, GH) : 0);
    Buffer<T> d_hidden_n(call.cell == Cell::gru_after ? TB * H : 0),
        reset_h(call.cell == Cell::gru_before ? TB * H : 0);
    const index scratch_size = add_outer_scratch<T>(std::max(I, H));
    Buffer<T> scratch(scratch_size * count);
    const index first_K = plan.G == 3 ? 2 * H : GH;
    pack_columns<T, T>(hh, call.weights.hh, plan.units, first_K, 1, H);
    T* const hh_n = hh + plan.units.size(kLanes<T>, first_K);
    if (plan.G == 3) pack_columns<T, T>(hh_n, call.weights.hh + first_K * H, plan.units, H, 1, H);
    if (call.d_x) pack_columns<T, T>(ih, call.weights.ih, Columns::of<T>(I), GH, 1, I);
    const BackwardWork<T> work = {d_a, d_hidden_n, reset_h, hh, hh_n};

    std::unique_ptr<index[]> places;  // of the valid steps and rows among T*B, in the order of time
    index valid = TB;
    if (walk.lengths) {
        places.reset(new index[static_cast<std::size_t>(TB) + 1]);
        valid = 0;
        for (index t = 0; t < walk.T; ++t)
            for (index b = 0; b < walk.B; ++b)
                if (t < walk.lengths[b]) places[valid++] = t * walk.B + b;
    }
    const auto row_of = [&](index t, index b) {
        const index at = t * walk.B + b;
        const auto step = [at](auto* of_all, index each) { return of_all ? of_all + at * each : nullptr; };
        return BackwardRow<T>{step(call.gates, GH),     step(call.hidden_n, H),  step(call.h_before, H),
                              step(call.h_after, H),    step(call.c_before, H),  step(call.c_after, H),
                              call.d_y(t, b),           call.d_h + b * H,        call.d_c ? call.d_c + b * H : nullptr,
                              step(call.d_h_steps, H),  step(call.d_c_steps, H), step(work.d_a, GH),
                              step(work.d_hidden_n, H), step(work.reset_h, H)};
    };
    Buffer<BackwardRow<T>> memory_of_rows(walk.B * count);
    parallel(count, [&](Team& team, int me) {
        BackwardRow<T>* const of_rows = memory_of_rows + me * walk.B;
        const bool by_rows = team.size > 1 && walk.B >= 4 * team.size;
        const ActiveRows rows(walk, order.get(), by_rows ? me : 0, by_rows ? team.size : 1);
        const index all = plan.units.panels();
        const bool splits = !by_rows && team.size > 1 && may_split;
        const Range panels = splits ? share(all, me, team.size) : Range{0, all};
        if (by_rows || splits || me == 0)
            for (index k = 0; k < walk.T; ++k) {
                const index t = walk.reverse ? k : walk.T - 1 - k;
                const index n = rows.at(t);
                pass_padding(call, rows, n, t, {panels.from * 4 * L, std::min(panels.to * 4 * L, H)});
                for (index i = 0; i < n; ++i) of_rows[i] = row_of(t, rows[i]);
                const BackwardStep<T> at{plan, of_rows, work, n, panels, team, !splits};
                step(at);
            }
        team.wait();
        finish_backward<T>(call, plan, work, places.get(), valid, ih, scratch + me * scratch_size, team, me);
    });
}

}  // namespace elman::ELMAN_ISA
