// Prefix beam search: the likeliest label sequences, each summed over its paths, frame by frame. The C++ twin of
// elman/ctc/reference_beam.py, in doubles, with the same order of operations and the same ties.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace elman {

// What a scorer adds, for those of its states whose row is known: row r of following and scores belongs to the states
// with row_of[state] = r; -1, or a state beyond n_states, is not known yet.
struct Transitions {
    const std::int64_t* row_of = nullptr;  // (n_states,)
    std::int64_t n_states = 0;
    const std::int64_t* following = nullptr;  // (rows, V) state after each label
    const double* scores = nullptr;           // (rows, V) what is added, in nats
};

class Beam {
   public:
    Beam(std::int64_t V, std::int64_t width, std::int64_t blank, std::int64_t start);

    // Read frames, (T, V) log-probabilities, and return how many were read: fewer than T where a state of a prefix
    // alive has no row in the transitions. Without a scorer, pass nullptr.
    std::int64_t advance(const double* log_p, std::int64_t T, const Transitions* transitions);

    std::vector<std::int64_t> labels(std::int64_t place) const;

    std::vector<std::int64_t> nodes, states;  // of the prefixes alive, the best first
    std::vector<double> extra, in_blank, in_label;

   private:
    struct Candidate {
        double score;
        std::int64_t at;
    };

    void read(const double* log_p, const Transitions* transitions);
    std::int64_t child(std::int64_t node, std::int64_t label);

    std::int64_t V_, width_, blank_;
    std::vector<std::int64_t> parents_, last_, place_;  // of every node of the tree
    std::unordered_map<std::int64_t, std::int64_t> children_;
    std::vector<double> stay_blank_, stay_label_, grown_;
    std::vector<Candidate> candidates_;
};

}  // namespace elman
