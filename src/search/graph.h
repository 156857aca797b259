#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "search/scan.h"

namespace trine::detail {

inline constexpr std::size_t kMostGraphLevels = 32;
inline constexpr std::size_t kMostGraphLinks = 512;  // m

/// Hierarchical navigable small worlds (Malkov and Yashunin, 2018) over the codes of an index: a node for each row,
/// linked to its neighbours on its level and all below, up to m of them, 2 m on level 0. Larger inner products are
/// nearer, so the vectors should be of about equal length.
///
/// Nodes come in batches whose sizes depend on nothing but the size of the graph. Those of a batch look for neighbours
/// in the graph as it was and among the nodes before them in the batch; then each list of links is brought up to date
/// by itself. So the graph is the same for any number of threads.
class Graph {
 public:
  using Links = std::vector<std::uint32_t, LargeAllocator<std::uint32_t>>;

  Graph(std::size_t m, std::size_t ef_construction);

  std::size_t m() const { return m_; }
  std::size_t ef_construction() const { return ef_construction_; }
  std::size_t size() const { return levels_.size(); }

  /// Takes in the rows from size() on, whose ids decide their levels.
  void insert(const Rows& rows, std::span<const std::string* const> ids, std::size_t threads);

  /// Rows near the query that the filter allows, nearest first, about `ef` of them; false if the walk has seen so many
  /// others that a scan is as good.
  bool walk(const Rows& rows, const CodeQuery& query, std::size_t ef, RowFilter& filter,
            std::vector<std::uint32_t>& found) const;

  /// The graph of the rows `kept` (new row -> old row) alone; who was linked to one that is gone is linked to its
  /// neighbours.
  Graph of_rows(const Rows& rows, std::span<const std::uint32_t> kept) const;

  // What a file holds: the level of each row, its links on level 0 (1 + 2 m numbers each, the first how many) and those
  // on the levels above, row by row (1 + m for each level).
  const std::vector<std::uint8_t>& levels() const { return levels_; }
  const Links& base() const { return base_; }
  const std::vector<std::uint32_t>& upper() const { return upper_; }
  /// Whether these make sense together; then no walk leaves them.
  bool restore(std::vector<std::uint8_t> levels, Links base, std::vector<std::uint32_t> upper);

 private:
  struct Near {
    float score;
    std::uint32_t row;
  };
  struct Walker;
  class Walkers;

  std::size_t most(std::size_t level) const { return level == 0 ? 2 * m_ : m_; }
  const std::uint32_t* links(std::size_t row, std::size_t level) const;
  std::uint32_t* links(std::size_t row, std::size_t level) {
    return const_cast<std::uint32_t*>(std::as_const(*this).links(row, level));
  }
  void make_room(std::span<const std::uint8_t> levels);
  void find_entry();

  void descend(Walker& walker, const CodeQuery& query, std::size_t level) const;
  template <bool kFiltered>
  bool search(Walker& walker, const CodeQuery& query, std::size_t ef, std::size_t level, RowFilter* filter) const;
  std::vector<std::uint32_t> pick(Walker& walker, std::vector<Near> candidates, std::size_t wanted) const;
  void link(Walker& walker, std::size_t row, std::size_t level, std::span<const std::uint32_t> others);

  std::size_t m_, ef_construction_;
  std::vector<std::uint8_t> levels_;
  Links base_;
  std::vector<std::uint64_t> upper_at_;  // row -> its first number in upper_
  std::vector<std::uint32_t> upper_;
  std::uint32_t entry_ = 0;
  std::shared_ptr<Walkers> walkers_;
};

}  // namespace trine::detail
