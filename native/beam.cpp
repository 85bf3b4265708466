#include "beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace elman {

namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

// log(exp a + exp b), by the operations that NumPy uses.
double log_sum(double a, double b) {
    if (a == b) return a + 0.693147180559945309417232121458176568;
    const double difference = a - b;
    if (difference > 0) return a + std::log1p(std::exp(-difference));
    if (difference <= 0) return b + std::log1p(std::exp(difference));
    return difference;  // NaN
}

}  // namespace

Beam::Beam(std::int64_t V, std::int64_t width, std::int64_t blank, std::int64_t start)
    : nodes{0},
      states{start},
      extra{0},
      in_blank{0},
      in_label{kNothing},
      V_(V),
      width_(width),
      blank_(blank),
      parents_{-1},
      last_{-1},
      place_{-1} {}

std::int64_t Beam::advance(const double* log_p, std::int64_t T, const Transitions* transitions) {
    for (std::int64_t t = 0; t < T; ++t) {
        if (transitions)
            for (const std::int64_t state : states)
                if (state < 0 || state >= transitions->n_states || transitions->row_of[state] < 0) return t;
        read(log_p + t * V_, transitions);
    }
    return T;
}

void Beam::read(const double* log_p, const Transitions* transitions) {
    const std::int64_t N = static_cast<std::int64_t>(nodes.size());
    stay_blank_.resize(N), stay_label_.resize(N), grown_.resize(N * V_);
    for (std::int64_t i = 0; i < N; ++i) {
        const std::int64_t last = last_[nodes[i]];
        const double both = log_sum(in_blank[i], in_label[i]);
        stay_blank_[i] = both + log_p[blank_];
        stay_label_[i] = last >= 0 ? in_label[i] + log_p[last] : kNothing;
        double* grown = grown_.data() + i * V_;
        for (std::int64_t k = 0; k < V_; ++k) grown[k] = both + log_p[k];
        if (last >= 0) grown[last] = in_blank[i] + log_p[last];
        grown[blank_] = kNothing;
        place_[nodes[i]] = i;
    }
    for (std::int64_t i = 0; i < N; ++i) {  // a prefix alive takes what its parent, if alive, brings to it
        const std::int64_t parent = parents_[nodes[i]], at = parent >= 0 ? place_[parent] : -1;
        if (at < 0) continue;
        double& brought = grown_[at * V_ + last_[nodes[i]]];
        stay_label_[i] = log_sum(stay_label_[i], brought);
        brought = kNothing;
    }
    for (const std::int64_t node : nodes) place_[node] = -1;

    candidates_.clear();
    for (std::int64_t i = 0; i < N; ++i) {
        const double score = log_sum(stay_blank_[i], stay_label_[i]) + extra[i];
        if (score > kNothing) candidates_.push_back({score, i});
    }
    for (std::int64_t i = 0; i < N; ++i) {
        const double* scores = transitions ? transitions->scores + transitions->row_of[states[i]] * V_ : nullptr;
        for (std::int64_t k = 0; k < V_; ++k) {
            double score = grown_[i * V_ + k] + extra[i];
            if (scores) score += scores[k];
            if (score > kNothing) candidates_.push_back({score, N + i * V_ + k});
        }
    }
    if (candidates_.empty()) return;  // nothing has a probability: go on from where it stood
    const auto better = [](const Candidate& a, const Candidate& b) {
        return a.score > b.score || (a.score == b.score && a.at < b.at);
    };
    const std::int64_t kept = std::min<std::int64_t>(width_, static_cast<std::int64_t>(candidates_.size()));
    if (kept < static_cast<std::int64_t>(candidates_.size()))
        std::nth_element(candidates_.begin(), candidates_.begin() + kept, candidates_.end(), better);
    std::sort(candidates_.begin(), candidates_.begin() + kept, better);

    std::vector<std::int64_t> new_nodes(kept), new_states(kept);
    std::vector<double> new_extra(kept), new_blank(kept), new_label(kept);
    for (std::int64_t j = 0; j < kept; ++j) {
        const std::int64_t at = candidates_[j].at;
        if (at < N) {
            new_nodes[j] = nodes[at], new_states[j] = states[at], new_extra[j] = extra[at];
            new_blank[j] = stay_blank_[at], new_label[j] = stay_label_[at];
            continue;
        }
        const std::int64_t i = (at - N) / V_, k = (at - N) % V_;
        new_nodes[j] = child(nodes[i], k);
        new_states[j] = states[i], new_extra[j] = extra[i];
        if (transitions) {
            const std::int64_t place = transitions->row_of[states[i]] * V_ + k;
            new_states[j] = transitions->following[place];
            new_extra[j] += transitions->scores[place];
        }
        new_blank[j] = kNothing, new_label[j] = grown_[i * V_ + k];
    }
    nodes.swap(new_nodes), states.swap(new_states), extra.swap(new_extra);
    in_blank.swap(new_blank), in_label.swap(new_label);
}

std::int64_t Beam::child(std::int64_t node, std::int64_t label) {
    const auto [found, is_new] = children_.try_emplace(node * V_ + label, static_cast<std::int64_t>(parents_.size()));
    if (is_new) parents_.push_back(node), last_.push_back(label), place_.push_back(-1);
    return found->second;
}

std::vector<std::int64_t> Beam::labels(std::int64_t place) const {
    std::vector<std::int64_t> found;
    for (std::int64_t node = nodes[static_cast<std::size_t>(place)]; node > 0; node = parents_[node])
        found.push_back(last_[node]);
    std::reverse(found.begin(), found.end());
    return found;
}

}  // namespace elman
