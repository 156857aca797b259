#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "detail/fetch_ahead.h"
#include "linear/rows.h"

/// Attention of one head: keys and values are laid out once, the scores of kQueries queries and kMostKeys keys live in
/// the cache, whatever the length. What a query gets depends on nothing but its own sequence.

namespace trine::detail {

/// Rows of a matrix: where the first begins, and how far the next one lies.
struct Rows {
  const float* first;
  std::int64_t stride;
  const float* operator[](std::int64_t row) const { return first + row * stride; }
  /// Asks the memory for a row that is read soon: rows lie too far apart for the machine to guess.
  void fetch(std::int64_t row, std::int64_t width) const {
    fetch_ahead(first + row * stride, static_cast<std::size_t>(width) * sizeof(float));
  }
};

constexpr std::int64_t kRowsAhead = 8;  ///< that are asked for

/// Keys whose scores are made at once. `room` of them are computed, a multiple of 16, so that kernels are few.
struct KeyTile {
  std::int64_t first, count, room;
};

/// A thread's room for a head, in one arithmetic.
class Head {
 public:
  static constexpr std::int64_t kQueries = 64;  ///< of a tile

  virtual ~Head() = default;
  /// Keys and values of a sequence, (keys, width) each; kept until the next.
  void lay_out(Rows keys, Rows values, std::int64_t count);
  /// Of `count` queries from `first` on, at most kQueries; causal: query i sees the keys up to i. -> out (count,
  /// width), rows `stride` apart
  void attend(Rows queries, std::int64_t first, std::int64_t count, bool causal, float* out, std::int64_t stride);

 protected:
  Head(std::int64_t width, std::int64_t most_keys);
  std::int64_t width() const { return width_; }
  /// Channels of the values that are computed: whole vectors, those filled up are 0.
  std::int64_t room() const { return room_; }
  /// Of the longest sequence, in whole tiles.
  std::int64_t most_keys() const { return most_keys_; }

  virtual void lay_out_tile(Rows keys, Rows values, const KeyTile& tile) = 0;
  /// A query, to be multiplied by `scale`.
  virtual void take_query(std::int64_t row, const float* query, float scale) = 0;
  /// Scores of the queries, a multiple of 4.
  virtual void score(std::int64_t queries, const KeyTile& tile) = 0;
  /// Scores of a query become shares; it sees the first `seen` keys.
  virtual RowSoftmax soften(std::int64_t row, std::int64_t seen, const KeyTile& tile) = 0;
  /// Values times shares.
  virtual void weigh(std::int64_t queries, const KeyTile& tile) = 0;
  /// sums (width) = shrink * sums + factor * what `weigh` made for the query; shrink 0: whatever the sums were.
  virtual void add(std::int64_t row, const KeyTile& tile, float shrink, float factor, float* sums) const = 0;

 private:
  KeyTile tile_from(std::int64_t first) const;

  std::int64_t width_, room_, most_keys_;
  std::int64_t keys_ = 0;
  std::vector<float> sums_;  ///< (kQueries, width)
};

/// For heads of `width` channels and sequences up to `most_keys`.
std::unique_ptr<Head> fp32_head(std::int64_t width, std::int64_t most_keys);
/// Queries, keys and values in bytes, a scale for each query, each key and each channel of a tile's values; shares in
/// steps of 1 / 255 of the tile's largest.
std::unique_ptr<Head> int8_head(std::int64_t width, std::int64_t most_keys);

}  // namespace trine::detail
