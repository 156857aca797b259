#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "search/rows.h"

namespace trine::detail {

/// Which rows may be found: those with an id, and of these what the caller's function keeps. It is asked at most once
/// for each row of a search, by one thread at a time, and only about rows that would be found.
class RowFilter {
 public:
  RowFilter(std::span<const std::string* const> ids, std::size_t gone,
            const std::function<bool(std::string_view)>& keep)
      : ids_(ids), gone_(gone), keep_(keep), known_(keep ? ids.size() : 0) {}

  bool allows_all() const { return gone_ == 0 && !keep_; }
  bool allows(std::size_t row);

 private:
  std::span<const std::string* const> ids_;  // row -> id, null where the row has been removed
  std::size_t gone_;
  const std::function<bool(std::string_view)>& keep_;
  std::vector<std::atomic<std::uint8_t>> known_;
  std::mutex mutex_;
};

/// The best rows for each query, in any order: enough of them that the `k` best by exact_score against the most exact
/// form are there. That is certain where floats or halves are scanned: rounding cannot move a score further than the
/// margin which is kept below the k-th. Where codes are scanned `kOversample` times as many candidates stand for it.
/// What comes back depends on nothing but rows, query and filter. queries: (count, dim), finite
std::vector<std::vector<std::uint32_t>> scan(const Rows& rows, VectorType scanned, std::span<const float> queries,
                                             std::size_t k, RowFilter& filter, std::size_t threads);

/// A query as codes: codes (stride), and 128 times their sum, which codes that are 128 too large add.
struct CodeQuery {
  std::vector<std::int8_t> codes;
  std::int32_t offset = 0;

  CodeQuery(std::span<const float> query, std::size_t stride);
  CodeQuery() = default;
  void set_offset();
};

}  // namespace trine::detail
