#include "search/graph.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <tuple>

#include "search/kernels.h"
#include "search/parallel.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMostBatch = 256;
constexpr std::size_t kBatchShare = 32;  // a batch is at most this part of the graph
// A walk that has seen this part of the rows, and this many times its breadth, has a filter that keeps too few.
constexpr std::size_t kGiveUpShare = 8, kGiveUpBreadth = 64;

/// 2^-64 to 1, by what the id is (FNV-1a, then the finaliser of SplitMix64).
double chance_of(std::string_view id) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
  return (static_cast<double>(hash ^ hash >> 31) + 1) * 0x1p-64;
}

}  // namespace

/// What one walk at a time writes: which rows it has seen, the best so far, room for scores.
struct Graph::Walker {
  struct Best {
    float score;
    std::uint32_t row;
    bool done;     // its links have been followed
    bool allowed;  // it may be found
  };

  const Rows* rows = nullptr;
  std::vector<std::uint16_t> seen;  // row -> the walk that saw it last
  std::uint16_t walk = 0;
  std::size_t count = 0;   // rows that this walk has seen
  std::vector<Best> best;  // by descending score
  std::vector<std::uint32_t> fresh;
  std::vector<std::int32_t> sums;
  CodeQuery node;                 // a row as a query
  std::vector<CodeQuery> chosen;  // rows as queries

  void begin() {
    seen.resize(rows->count, 0);
    if (++walk == 0) {
      std::ranges::fill(seen, 0);
      walk = 1;
    }
    count = 0;
  }
  bool see(std::uint32_t row) {
    const bool is_new = seen[row] != walk;
    seen[row] = walk;
    count += is_new;
    return is_new;
  }
  /// Ahead of a score.
  [[gnu::always_inline]] void fetch(std::uint32_t row) const {
    fetch_ahead(rows->codes.data() + row * rows->stride(), rows->stride());
    fetch_ahead(rows->scales.data() + row, sizeof(float));
  }
  /// Scores of `picked` are in order the values that `use` is called with.
  template <typename Use>
  void score(const CodeQuery& query, std::span<const std::uint32_t> picked, const Use& use) {
    sums.resize(std::max(sums.size(), picked.size()));
    kernels().score_codes_at(query.codes.data(), rows->codes.data(), rows->stride(), picked.data(), picked.size(),
                             sums.data());
    const float* scales = rows->scales.data();
    for (std::size_t i = 0; i < picked.size(); ++i) {
      use(picked[i], static_cast<float>(sums[i] - query.offset) * scales[picked[i]]);
    }
  }
  /// The inner product of codes, of one row.
  std::int32_t product(const CodeQuery& query, std::uint32_t row) const {
    std::int32_t one = 0;
    kernels().score_codes_at(query.codes.data(), rows->codes.data(), rows->stride(), &row, 1, &one);
    return one - query.offset;
  }
  const CodeQuery& as_query(std::uint32_t row, CodeQuery& query) const {
    const std::uint8_t* from = rows->codes.data() + row * rows->stride();
    query.codes.resize(rows->stride());
    for (std::size_t i = 0; i < query.codes.size(); ++i) query.codes[i] = static_cast<std::int8_t>(from[i] ^ 0x80);
    query.set_offset();
    return query;
  }
};

/// Those that no thread uses at the moment: their memory is taken once.
class Graph::Walkers {
 public:
  class Loan {
   public:
    Loan(Walkers& from, const Rows& rows) : from_(from) {
      {
        const std::lock_guard lock(from_.mutex_);
        if (!from_.idle_.empty()) {
          walker_ = std::move(from_.idle_.back());
          from_.idle_.pop_back();
        }
      }
      if (!walker_) walker_ = std::make_unique<Walker>();
      walker_->rows = &rows;
    }
    ~Loan() {
      const std::lock_guard lock(from_.mutex_);
      if (from_.idle_.size() < kMostIdle) from_.idle_.push_back(std::move(walker_));
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Walker& operator*() { return *walker_; }

   private:
    Walkers& from_;
    std::unique_ptr<Walker> walker_;
  };

  Walkers() { idle_.reserve(kMostIdle); }

 private:
  static constexpr std::size_t kMostIdle = 64;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Walker>> idle_;
};

Graph::Graph(std::size_t m, std::size_t ef_construction)
    : m_(m), ef_construction_(ef_construction), walkers_(std::make_shared<Walkers>()) {}

// --- walking ---------------------------------------------------------------------------------------------------------

const std::uint32_t* Graph::links(std::size_t row, std::size_t level) const {
  return level == 0 ? base_.data() + row * (1 + 2 * m_) : upper_.data() + upper_at_[row] + (level - 1) * (1 + m_);
}

/// From the entry down to the best node of `level`, which is left in walker.best.
void Graph::descend(Walker& walker, const CodeQuery& query, std::size_t level) const {
  std::uint32_t at = entry_;
  float best = 0;
  walker.score(query, {&at, 1}, [&](std::uint32_t, float score) { best = score; });
  for (std::size_t above = levels_[entry_]; above > level; --above) {
    for (bool better = true; better;) {
      better = false;
      const std::uint32_t* there = links(at, above);
      for (std::size_t i = 1; i <= there[0]; ++i) walker.fetch(there[i]);
      walker.score(query, {there + 1, there[0]}, [&](std::uint32_t row, float score) {
        if (score <= best) return;
        best = score;
        at = row;
        better = true;
      });
    }
  }
  walker.best.assign(1, {best, at, false, true});
}

/// Follows links from walker.best until none of the `ef` best leads to a better one. With a filter the list holds as
/// many others as stand among them; false when there are too many.
template <bool kFiltered>
bool Graph::search(Walker& walker, const CodeQuery& query, std::size_t ef, std::size_t level, RowFilter* filter) const {
  std::vector<Walker::Best>& best = walker.best;
  walker.begin();
  std::size_t allowed = 0;
  for (Walker::Best& one : best) {
    walker.see(one.row);
    one.done = false;
    if constexpr (kFiltered) one.allowed = filter->allows(one.row);
    allowed += one.allowed;
  }
  const std::size_t enough = std::max(size() / kGiveUpShare, ef * kGiveUpBreadth);
  for (std::size_t at = 0; at < best.size();) {
    if (best[at].done) {
      ++at;
      continue;
    }
    best[at].done = true;
    const std::uint32_t* there = links(best[at].row, level);
    walker.fresh.clear();
    for (std::size_t i = 1; i <= there[0]; ++i) {
      if (!walker.see(there[i])) continue;
      walker.fresh.push_back(there[i]);
      walker.fetch(there[i]);
    }
    if (kFiltered && walker.count > enough) return false;
    std::size_t first = best.size();
    walker.score(query, walker.fresh, [&](std::uint32_t row, float score) {
      if (allowed >= ef && score <= best.back().score) return;
      const bool may = !kFiltered || filter->allows(row);
      const auto place = std::ranges::upper_bound(best, score, std::greater(), &Walker::Best::score);
      first = std::min(first, static_cast<std::size_t>(place - best.begin()));
      best.insert(place, {score, row, false, may});
      fetch_ahead(links(row, level), (1 + most(level)) * sizeof(std::uint32_t));
      allowed += may;
      while (allowed > ef || (kFiltered && allowed == ef && !best.back().allowed)) {
        allowed -= best.back().allowed;
        best.pop_back();
      }
    });
    at = first <= at ? first : at + 1;
    while (at < best.size() && best[at].done) ++at;
  }
  return true;
}

bool Graph::walk(const Rows& rows, const CodeQuery& query, std::size_t ef, RowFilter& filter,
                 std::vector<std::uint32_t>& found) const {
  found.clear();
  if (size() == 0) return true;
  Walkers::Loan loan(*walkers_, rows);
  Walker& walker = *loan;
  descend(walker, query, 0);
  if (!(filter.allows_all() ? search<false>(walker, query, ef, 0, nullptr)
                            : search<true>(walker, query, ef, 0, &filter))) {
    return false;
  }
  for (const Walker::Best& one : walker.best) {
    if (one.allowed) found.push_back(one.row);
  }
  return true;
}

// --- building --------------------------------------------------------------------------------------------------------

/// Of candidates, scored against a node, up to `wanted` that are nearer to it than to any picked before: the links then
/// lead into all directions.
std::vector<std::uint32_t> Graph::pick(Walker& walker, std::vector<Near> candidates, std::size_t wanted) const {
  std::vector<std::uint32_t> picked;
  std::ranges::sort(
      candidates, [](const Near& a, const Near& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; });
  walker.chosen.resize(std::max(walker.chosen.size(), wanted));
  const float* scales = walker.rows->scales.data();
  for (const auto& [score, row] : candidates) {
    if (picked.size() == wanted) break;
    bool is_new = true;  // those picked are the queries, because they are few and the first that is nearer decides
    for (std::size_t i = 0; is_new && i < picked.size(); ++i) {
      is_new = static_cast<float>(walker.product(walker.chosen[i], row)) * scales[picked[i]] * scales[row] <= score;
    }
    if (!is_new) continue;
    walker.as_query(row, walker.chosen[picked.size()]);
    picked.push_back(row);
  }
  return picked;
}

/// Links `row` to `others` as well; of too many the best stay.
void Graph::link(Walker& walker, std::size_t row, std::size_t level, std::span<const std::uint32_t> others) {
  std::uint32_t* there = links(row, level);
  std::vector<std::uint32_t> all(there + 1, there + 1 + there[0]);
  for (const std::uint32_t other : others) {
    if (other != row && std::ranges::find(all, other) == all.end()) all.push_back(other);
  }
  if (all.size() > most(level)) {
    for (const std::uint32_t other : all) walker.fetch(other);
    std::vector<Near> candidates;
    const float scale = walker.rows->scales.data()[row];
    walker.score(walker.as_query(static_cast<std::uint32_t>(row), walker.node), all,
                 [&](std::uint32_t other, float score) { candidates.push_back({score * scale, other}); });
    all = pick(walker, std::move(candidates), most(level));
  }
  std::ranges::copy(all, there + 1);
  there[0] = static_cast<std::uint32_t>(all.size());
}

void Graph::make_room(std::span<const std::uint8_t> levels) {
  std::size_t numbers = upper_.size();
  for (const std::uint8_t level : levels) {
    upper_at_.push_back(numbers);
    numbers += level * (1 + m_);
  }
  levels_.insert(levels_.end(), levels.begin(), levels.end());
  base_.resize(levels_.size() * (1 + 2 * m_));
  upper_.resize(numbers);
}

void Graph::find_entry() { entry_ = static_cast<std::uint32_t>(std::ranges::max_element(levels_) - levels_.begin()); }

void Graph::insert(const Rows& rows, std::span<const std::string* const> ids, std::size_t threads) {
  struct Found {
    std::vector<std::vector<std::uint32_t>> links;  // by level
  };
  while (size() < rows.count) {
    const std::size_t before = size();
    const std::size_t batch =
        std::min(std::clamp<std::size_t>(before / kBatchShare, 1, kMostBatch), rows.count - before);
    const std::size_t top = before == 0 ? 0 : levels_[entry_];
    std::vector<std::uint8_t> levels;
    for (std::size_t i = 0; i < batch; ++i) {
      const double level =
          -std::log(chance_of(*ids[before + i])) / std::log(static_cast<double>(std::max<std::size_t>(m_, 2)));
      levels.push_back(static_cast<std::uint8_t>(std::min(level, static_cast<double>(kMostGraphLevels - 1))));
    }

    std::vector<Found> found(batch);
    const std::size_t workers = threads_for(threads, batch);
    std::atomic<std::size_t> next = 0;
    in_parallel(workers, [&](std::size_t) {
      Walkers::Loan loan(*walkers_, rows);
      Walker& walker = *loan;
      for (std::size_t i; (i = next.fetch_add(1)) < batch;) {
        const auto row = static_cast<std::uint32_t>(before + i);
        const float scale = rows.scales.data()[row];
        const CodeQuery& query = walker.as_query(row, walker.node);
        std::vector<std::uint32_t> earlier(i);
        std::iota(earlier.begin(), earlier.end(), static_cast<std::uint32_t>(before));
        std::vector<Near> mates;  // of the same batch
        walker.score(query, earlier,
                     [&](std::uint32_t other, float score) { mates.push_back({score * scale, other}); });
        found[i].links.resize(levels[i] + std::size_t{1});
        if (before != 0) descend(walker, query, std::min<std::size_t>(levels[i], top));
        for (std::size_t level = levels[i] + std::size_t{1}; level-- > 0;) {
          std::vector<Near> candidates;
          if (before != 0 && level <= top) {
            search<false>(walker, query, ef_construction_, level, nullptr);
            for (const Walker::Best& one : walker.best) candidates.push_back({one.score * scale, one.row});
          }
          for (const Near& mate : mates) {
            if (levels[mate.row - before] >= level) candidates.push_back(mate);
          }
          found[i].links[level] = pick(walker, std::move(candidates), m_);
        }
      }
    });

    make_room(levels);
    std::vector<std::tuple<std::size_t, std::uint32_t, std::uint32_t>> back;  // level, who is linked to, by whom
    for (std::size_t i = 0; i < batch; ++i) {
      const auto row = static_cast<std::uint32_t>(before + i);
      for (std::size_t level = 0; level < found[i].links.size(); ++level) {
        const auto& picked = found[i].links[level];
        std::uint32_t* there = links(row, level);
        there[0] = static_cast<std::uint32_t>(picked.size());
        std::ranges::copy(picked, there + 1);
        for (const std::uint32_t other : picked) back.emplace_back(level, other, row);
      }
    }
    std::ranges::sort(back);
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < back.size(); ++i) {
      const auto& [level, row, by] = back[i];
      if (i == 0 || level != std::get<0>(back[i - 1]) || row != std::get<1>(back[i - 1])) starts.push_back(i);
    }
    starts.push_back(back.size());
    next = 0;
    in_parallel(workers, [&](std::size_t) {
      Walkers::Loan loan(*walkers_, rows);
      std::vector<std::uint32_t> others;
      for (std::size_t i; (i = next.fetch_add(1)) + 1 < starts.size();) {
        others.clear();
        for (std::size_t one = starts[i]; one < starts[i + 1]; ++one) others.push_back(std::get<2>(back[one]));
        link(*loan, std::get<1>(back[starts[i]]), std::get<0>(back[starts[i]]), others);
      }
    });
    for (std::size_t row = before; row < size(); ++row) {
      if (levels_[row] > levels_[entry_]) entry_ = static_cast<std::uint32_t>(row);
    }
  }
}

Graph Graph::of_rows(const Rows& rows, std::span<const std::uint32_t> kept) const {
  constexpr std::uint32_t kGone = UINT32_MAX;
  std::vector<std::uint32_t> new_row(size(), kGone);
  std::vector<std::uint8_t> levels;
  for (std::size_t row = 0; row < kept.size(); ++row) {
    new_row[kept[row]] = static_cast<std::uint32_t>(row);
    levels.push_back(levels_[kept[row]]);
  }
  Graph result(m_, ef_construction_);
  result.make_room(levels);
  if (kept.empty()) return result;
  result.find_entry();
  Walkers::Loan loan(*walkers_, rows);
  std::vector<std::uint32_t> all;
  for (const std::uint32_t row : kept) {
    for (std::size_t level = 0; level <= levels_[row]; ++level) {
      all.clear();
      const auto take = [&](std::uint32_t other) {
        if (other != row && new_row[other] != kGone && std::ranges::find(all, other) == all.end()) all.push_back(other);
      };
      const std::uint32_t* there = links(row, level);
      for (std::size_t i = 1; i <= there[0]; ++i) take(there[i]);
      for (std::size_t i = 1; i <= there[0]; ++i) {
        if (new_row[there[i]] != kGone) continue;
        const std::uint32_t* behind = links(there[i], level);
        for (std::size_t j = 1; j <= behind[0]; ++j) take(behind[j]);
      }
      if (all.size() > most(level)) {
        Walker& walker = *loan;
        std::vector<Near> candidates;
        const float scale = rows.scales.data()[row];
        walker.score(walker.as_query(row, walker.node), all,
                     [&](std::uint32_t other, float score) { candidates.push_back({score * scale, other}); });
        all = pick(walker, std::move(candidates), most(level));
      }
      std::uint32_t* to = result.links(new_row[row], level);
      to[0] = static_cast<std::uint32_t>(all.size());
      std::ranges::transform(all, to + 1, [&](std::uint32_t other) { return new_row[other]; });
    }
  }
  return result;
}

bool Graph::restore(std::vector<std::uint8_t> levels, Links base, std::vector<std::uint32_t> upper) {
  std::size_t numbers = 0;
  for (const std::uint8_t level : levels) {
    if (level >= kMostGraphLevels) return false;
    numbers += level * (1 + m_);
  }
  if (base.size() != levels.size() * (1 + 2 * m_) || upper.size() != numbers) return false;
  make_room(levels);
  base_ = std::move(base);
  upper_ = std::move(upper);
  if (levels_.empty()) return true;
  find_entry();
  for (std::size_t row = 0; row < size(); ++row) {
    for (std::size_t level = 0; level <= levels_[row]; ++level) {
      const std::uint32_t* there = links(row, level);
      if (there[0] > most(level)) return false;
      for (std::size_t i = 1; i <= there[0]; ++i) {
        if (there[i] >= size() || levels_[there[i]] < level) return false;
      }
    }
  }
  return true;
}

}  // namespace trine::detail
