// What the recurrences share: how weights are packed, which rows a thread takes, and how a walk over time goes.
#pragma once

#include <algorithm>
#include <memory>

#include "math.h"
#include "packed.h"
#include "pool.h"
#include "product.h"

namespace elman::ELMAN_ISA {

// ------------------------------------------------------------------------------------------------------------ threads

// Below this much work (in multiply-adds) a call stays on one thread, and below that much a step does.
constexpr double kLeastWork = 1.5e6, kLeastStepWork = 4e4;

inline int team_for(double work) {
    const int most = threads();
    return most == 1 || work < kLeastWork ? 1 : most;
}

// Threads for a walk over T steps of B rows: enough rows are shared out and need no barrier; few rows share the units
// of every step, with a barrier.
struct Sharing {
    int count;
    bool by_rows;
};

inline Sharing sharing(const Walk& walk, double work) {
    const int count = team_for(work);
    const bool by_rows = walk.B >= 4 * count;
    if (count > 1 && !by_rows && work / static_cast<double>(walk.T) < kLeastStepWork) return {1, false};
    return {count, by_rows};
}

// ------------------------------------------------------------------------------------------------------ rows of a walk

// The rows of a thread, longest first, so that those with a step t are the first ones.
class ActiveRows {
   public:
    ActiveRows(const Walk& walk, const index* order, int me, int count)
        : walk_(walk), order_(order), me_(me), stride_(count) {
        total_ = walk.B > me ? divide_up(walk.B - me, count) : 0;
    }
    index total() const { return total_; }
    index operator[](index i) const { return order_ ? order_[me_ + i * stride_] : me_ + i * stride_; }
    index at(index t) const {  // how many have a step t
        if (!order_) return total_;
        index n = total_;
        while (n > 0 && walk_.lengths[(*this)[n - 1]] <= t) --n;
        return n;
    }

   private:
    const Walk& walk_;
    const index* order_;
    index me_, stride_, total_;
};

// The order of rows by length, longest first; nothing where all are full.
inline std::unique_ptr<index[]> order_of(const Walk& walk) {
    if (!walk.lengths) return nullptr;
    std::unique_ptr<index[]> order(new index[static_cast<std::size_t>(walk.B) + 1]);
    for (index b = 0; b < walk.B; ++b) order[b] = b;
    std::stable_sort(order.get(), order.get() + walk.B,
                     [&](index a, index b) { return walk.lengths[a] > walk.lengths[b]; });
    return order;
}

// ------------------------------------------------------------------------------------------------------------- weights

// How the pre-activations of a cell lie in panels: gates side by side for LSTM and GRU, plain columns for an RNN.
struct Plan {
    Cell cell;
    index I, H;
    int G;
    Columns units;
    template <class T>
    static Plan of(Cell cell, index I, index H) {
        return {cell, I, H, gates_of(cell), Columns::of<T>(H)};
    }
    index padded(index lanes) const { return units.blocks * lanes; }     // of a row of units
    index width(index lanes) const { return units.blocks * G * lanes; }  // of a row of pre-activations, padded
};

template <class T, class S>
inline S* room_for(Packed& packed, index count) {
    return static_cast<S*>(packed.room(count, sizeof(S)));
}

template <class T, class S>
inline void pack_weights(Packed& to, const Weights<T>& w) {
    constexpr int L = kLanes<T>;
    const Plan plan = Plan::of<T>(to.cell, to.I, to.H);
    const index H = to.H, I = to.I, padded = plan.units.blocks * L;
    S* ih = room_for<T, S>(to, padded * plan.G * I);
    to.ih = ih;
    S* hh = room_for<T, S>(to, padded * (to.cell == Cell::gru_before ? 2 : plan.G) * H);
    to.hh = hh;
    T* bias = room_for<T, T>(to, padded * plan.G);
    to.bias = bias;
    if (plan.G == 1) {
        pack_columns<T, S>(ih, w.ih, plan.units, I, I, 1);
        pack_columns<T, S>(hh, w.hh, plan.units, H, H, 1);
    } else {
        pack_gates<T, S>(ih, w.ih, H, I, 0, plan.G);
        pack_gates<T, S>(hh, w.hh, H, H, 0, to.cell == Cell::gru_before ? 2 : plan.G);
    }
    if (to.cell == Cell::gru_before) {
        S* hh_n = room_for<T, S>(to, padded * H);
        to.hh_n = hh_n;
        pack_columns<T, S>(hh_n, w.hh + 2 * H * H, plan.units, H, H, 1);
    }
    const bool apart = to.cell == Cell::gru_after;  // its candidate meets b_hh behind the reset gate
    if (apart) to.bias_n = room_for<T, T>(to, padded);
    for (index u = 0; u < padded; ++u)
        for (int g = 0; g < plan.G; ++g) {
            const T b_ih = w.bias_ih && u < H ? w.bias_ih[g * H + u] : T(0);
            const T b_hh = w.bias_hh && u < H ? w.bias_hh[g * H + u] : T(0);
            bias[(u / L * plan.G + g) * L + u % L] = apart && g == 2 ? b_ih : b_ih + b_hh;
            if (apart && g == 2) static_cast<T*>(to.bias_n)[u] = b_hh;
        }
}

template <class T>
inline Packed* pack(Cell cell, index I, index H, const Weights<T>& weights, bool narrow) {
    std::unique_ptr<Packed> packed(new Packed);
    packed->cell = cell;
    packed->I = I;
    packed->H = H;
    packed->narrow = narrow;
    if constexpr (sizeof(T) == 4) {
        if (narrow) {
            pack_weights<T, bf16>(*packed, weights);
            return packed.release();
        }
    }
    pack_weights<T, T>(*packed, weights);
    return packed.release();
}

// ------------------------------------------------------------------------------------------------------ forward passes

// Pre-activations from the inputs of some steps: what the thread's active rows start from, in panels, [slot][width].
template <class T, class S>
class Projection {
   public:
    static constexpr int L = kLanes<T>;
    Projection(const Forward<T>& call, const Plan& plan, const ActiveRows& rows, T* gates_x, const T** x_of,
               index* slot_of)
        : call_(call),
          plan_(plan),
          rows_(rows),
          gates_x_(gates_x),
          x_of_(x_of),
          slot_of_(slot_of),
          width_(plan.width(L)) {}

    const T* slot(index t, index i) const { return gates_x_ + ((t - first_) * rows_.total() + i) * width_; }

    // Projects the steps first to end-1, for the panels of a range of vectors of units.
    void run(index first, index end, Range blocks) {
        first_ = first;
        if (call_.input.is_ids()) return gather(first, end, blocks);
        index n = 0;
        for (index t = first; t < end; ++t)
            for (index i = 0, active = rows_.at(t); i < active; ++i, ++n) {
                x_of_[n] = call_.input.x(t, rows_[i]);
                slot_of_[n] = (t - first) * rows_.total() + i;
            }
        const S* ih = static_cast<const S*>(call_.packed->ih);
        const T* bias = static_cast<const T*>(call_.packed->bias);
        const auto row = [this](index i) { return x_of_[i]; };
        if (plan_.G == 1) {
            const index whole = blocks.to == plan_.units.blocks ? plan_.units.panels() : blocks.to / 4;
            product_of_columns<T, S>(
                plan_.units, n, {blocks.from / 4, whole}, plan_.I, ih, row,
                [&](index, index block) { return load(bias + block * L); },
                [&](index i, index block, Vec<T> sum) { store<T>(gates_x_ + slot_of_[i] * width_ + block * L, sum); });
        } else {
            const int G = plan_.G;
            product<T, S>(
                n, blocks, G, plan_.I, ih, row,
                [&](index, index panel, Vec<T>* sums) {
                    for (int g = 0; g < G; ++g) sums[g] = load(bias + (panel * G + g) * L);
                },
                [&](index i, index panel, const Vec<T>* sums) {
                    T* to = gates_x_ + slot_of_[i] * width_ + panel * G * L;
                    for (int g = 0; g < G; ++g) store<T>(to + g * L, sums[g]);
                });
        }
    }

   private:
    // A one-hot input picks a column of weights.
    void gather(index first, index end, Range blocks) {
        const S* ih = static_cast<const S*>(call_.packed->ih);
        const T* bias = static_cast<const T*>(call_.packed->bias);
        for (index t = first; t < end; ++t)
            for (index i = 0, active = rows_.at(t); i < active; ++i) {
                const index id = *call_.input.ids(t, rows_[i]);
                T* to = gates_x_ + ((t - first) * rows_.total() + i) * width_;
                for (index block = blocks.from; block < blocks.to; ++block)
                    for (int g = 0; g < plan_.G; ++g) {
                        const S* from;
                        if (plan_.G == 1) {
                            const index W = std::min<index>(4, plan_.units.blocks - block / 4 * 4);
                            from = ih + (block / 4 * 4 * plan_.I + id * W + block % 4) * L;
                        } else {
                            from = ih + ((block * plan_.I + id) * plan_.G + g) * L;
                        }
                        const index at = (block * plan_.G + g) * L;
                        store<T>(to + at, load(bias + at) + load_weight(from));
                    }
            }
    }

    const Forward<T>& call_;
    const Plan& plan_;
    const ActiveRows& rows_;
    T* gates_x_;
    const T** x_of_;
    index* slot_of_;
    index width_, first_ = 0;
};

// Where everything of an active row lies at one step. What a cell does not have is missing.
template <class T>
struct ForwardRow {
    const T *gates_x, *h_before;   // pre-activations from the input, in panels; the state before the step
    T *h, *c;                      // where the state after the step goes; the cell, which is updated in place
    T *gates, *c_kept, *hidden_n;  // of the tape
    T *reset_h, *update;           // of a GRU that resets before: r h, and z
};

// One thread's view of a forward pass at one step, for the cells in rnn.h, lstm.h and gru.h.
template <class T, class S>
struct ForwardStep {
    const Forward<T>& call;
    const Plan& plan;
    const ForwardRow<T>* rows;
    index n;       // how many rows have this step
    Range blocks;  // the thread's vectors of units
    Team& team;
    int me;
    bool alone;  // no other thread works on these rows

    static constexpr int L = kLanes<T>;
    int lanes(index block) const { return static_cast<int>(std::min<index>(L, plan.H - block * L)); }
    auto h_before() const {
        return [this](index i) { return rows[i].h_before; };
    }
    void keep_gate(const ForwardRow<T>& row, int g, index block, Vec<T> value) const {
        if (row.gates) store_first<T>(row.gates + g * plan.H + block * L, value, lanes(block));
    }
    // Asks for the memory of the tape, which comes while a tile is computed.
    void fetch_tape(const ForwardRow<T>& row, index block) const {
        if (!row.gates) return;
        const index u = block * L;
        for (int g = 0; g < plan.G; ++g) __builtin_prefetch(row.gates + g * plan.H + u, 1);
        __builtin_prefetch(row.h + u, 1);
        if (row.c_kept) __builtin_prefetch(row.c_kept + u, 1);
        if (row.hidden_n) __builtin_prefetch(row.hidden_n + u, 1);
    }
    void meet() const {
        if (!alone) team.wait();
    }
};

// The memory of a forward pass, carved from one piece: its own, or what the caller keeps for it.
template <class T>
struct ForwardMemory {
    index slots, width, shares, padded, most_rows, bytes;

    ForwardMemory(const Walk& walk, const Plan& plan, const Sharing& shared) {
        constexpr int L = kLanes<T>;
        most_rows = shared.by_rows ? divide_up(walk.B, shared.count) : walk.B;
        slots = std::max<index>(1, std::min(walk.T, std::max<index>(1, kSlots / std::max<index>(most_rows, 1)))) *
                most_rows;
        width = plan.width(L);
        shares = shared.by_rows ? shared.count : 1;
        padded = plan.cell == Cell::gru_before ? walk.B * plan.padded(L) : 0;
        count_ = shared.count;
        bytes = (shares * slots * width + 2 * padded) * static_cast<index>(sizeof(T)) + count_ * slots * 16 +
                count_ * most_rows * static_cast<index>(sizeof(ForwardRow<T>)) + 64;
    }
    void lie_at(char* memory) {
        gates_x = reinterpret_cast<T*>(memory);
        reset_h = gates_x + shares * slots * width;
        update = reset_h + padded;
        x_of = reinterpret_cast<const T**>(update + padded);
        slot_of = reinterpret_cast<index*>(x_of + count_ * slots);
        rows = reinterpret_cast<ForwardRow<T>*>(slot_of + count_ * slots);
    }
    static constexpr index kSlots = 96;  // rows that share a pass over the weights of the input
    T *gates_x = nullptr, *reset_h = nullptr, *update = nullptr;
    const T** x_of = nullptr;
    index* slot_of = nullptr;
    ForwardRow<T>* rows = nullptr;

   private:
    index count_;
};

inline double work_of(const Walk& walk, int G) {
    return double(walk.T) * double(walk.B) * double(walk.H * G) * double((walk.ids ? 1 : walk.I) + walk.H);
}

// Bytes of the memory that a call may bring along.
template <class T>
inline index forward_bytes(Cell cell, const Walk& walk) {
    return ForwardMemory<T>(walk, Plan::of<T>(cell, walk.I, walk.H), sharing(walk, work_of(walk, gates_of(cell))))
        .bytes;
}

// Walks over time: projects a few steps, then runs step(ForwardStep) for each of them.
template <class T, class S, class Step>
inline void walk_forward(const Forward<T>& call, Step step) {
    const Walk& walk = call.walk;
    const Plan plan = Plan::of<T>(call.cell, walk.I, walk.H);
    const auto order = order_of(walk);
    const Sharing shared = sharing(walk, work_of(walk, plan.G));
    ForwardMemory<T> memory(walk, plan, shared);
    const bool brought = call.memory && memory.bytes <= call.memory_bytes;
    Buffer<char> own(brought ? 0 : memory.bytes);
    memory.lie_at(brought ? call.memory : own);
    std::fill_n(memory.reset_h, memory.padded, T(0));
    std::copy_n(call.h0, call.h0 == call.h_last ? 0 : walk.B * walk.H, call.h_last);
    if (call.c0) std::copy_n(call.c0, call.c0 == call.c_last ? 0 : walk.B * walk.H, call.c_last);
    parallel(shared.count, [&](Team& team, int me) {
        const bool by_rows = shared.by_rows && team.size > 1;
        const ActiveRows rows(walk, order.get(), by_rows ? me : 0, by_rows ? team.size : 1);
        Range blocks = {0, plan.units.blocks};
        if (!by_rows) {  // an RNN's panels hold four vectors of units
            const index unit = plan.G == 1 ? 4 : 1;
            const Range mine = share(divide_up(plan.units.blocks, unit), me, team.size);
            blocks = {mine.from * unit, std::min(mine.to * unit, plan.units.blocks)};
        }
        const index share_of = by_rows ? me * memory.slots : 0;
        Projection<T, S> projection(call, plan, rows, memory.gates_x + share_of * memory.width,
                                    memory.x_of + me * memory.slots, memory.slot_of + me * memory.slots);
        ForwardRow<T>* const of_rows = memory.rows + me * memory.most_rows;
        // Where the pool was taken, this thread is alone with all rows, and with the room of all shares.
        const index room = by_rows ? memory.slots : memory.shares * memory.slots;
        const index steps = std::max<index>(1, std::min(walk.T, room / std::max<index>(rows.total(), 1)));
        for (index done = 0; done < walk.T; done += steps) {
            const index end = std::min(walk.T, done + steps);
            projection.run(walk.reverse ? walk.T - end : done, walk.reverse ? walk.T - done : end, blocks);
            for (index k = done; k < end; ++k) {
                const index t = walk.reverse ? walk.T - 1 - k : k, before = walk.reverse ? t + 1 : t - 1;
                const index n = rows.at(t);
                for (index i = 0; i < n; ++i) {
                    const index b = rows[i], at = t * walk.B + b;
                    const bool first = walk.reverse ? t == walk.length(b) - 1 : t == 0;
                    const auto kept = [at](T* of_all, index each) { return of_all ? of_all + at * each : nullptr; };
                    of_rows[i] = {projection.slot(t, i),
                                  first ? call.h0 + b * walk.H : call.h(before, b),
                                  call.h(t, b),
                                  call.c_last ? call.c_last + b * walk.H : nullptr,
                                  kept(call.gates, plan.G * walk.H),
                                  kept(call.c, walk.H),
                                  kept(call.hidden_n, walk.H),
                                  memory.reset_h + b * plan.padded(kLanes<T>),
                                  memory.update + b * plan.padded(kLanes<T>)};
                }
                const ForwardStep<T, S> at{call, plan, of_rows, n, blocks, team, me, by_rows || team.size == 1};
                step(at);
                at.meet();
            }
        }
    });
    for (index b = 0; b < walk.B; ++b)
        if (const index length = walk.length(b); length > 0)
            std::copy_n(call.h(walk.reverse ? 0 : length - 1, b), walk.H, call.h_last + b * walk.H);
}

}  // namespace elman::ELMAN_ISA
