#include "linear/head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace trine::detail {

namespace {

constexpr std::int64_t kKeyStep = 16;
constexpr std::int64_t kChannelStep = 16;
constexpr std::int64_t kQueryStep = 4;  ///< queries filled up to it are computed and left
constexpr float kLog2OfE = 1.44269504f;

std::int64_t filled_up(std::int64_t size, std::int64_t step) { return (size + step - 1) / step * step; }

}  // namespace

Head::Head(std::int64_t width, std::int64_t most_keys)
    : width_(width),
      room_(filled_up(width, kChannelStep)),
      most_keys_(filled_up(most_keys, most_keys < kMostKeys ? kKeyStep : kMostKeys)),
      sums_(static_cast<std::size_t>(kQueries * width)) {}

KeyTile Head::tile_from(std::int64_t first) const {
  const std::int64_t count = std::min(kMostKeys, keys_ - first);
  return {first, count, filled_up(count, kKeyStep)};
}

void Head::lay_out(Rows keys, Rows values, std::int64_t count) {
  keys_ = count;
  for (std::int64_t first = 0; first < count; first += kMostKeys) lay_out_tile(keys, values, tile_from(first));
}

void Head::attend(Rows queries, std::int64_t first, std::int64_t count, bool causal, float* out, std::int64_t stride) {
  std::array<float, kQueries> largest, totals;
  largest.fill(-std::numeric_limits<float>::infinity());
  totals.fill(0);
  const float scale = kLog2OfE / std::sqrt(static_cast<float>(width_));
  for (std::int64_t row = 0; row < count; ++row) {
    queries.fetch(first + row + kRowsAhead, width_);
    take_query(row, queries[first + row], scale);
  }
  const std::int64_t rows = filled_up(count, kQueryStep);
  const std::int64_t end = causal ? std::min(keys_, first + count) : keys_;
  std::array<RowSoftmax, kQueries> found;
  for (std::int64_t key = 0; key < end; key += kMostKeys) {
    const KeyTile tile = tile_from(key);
    score(rows, tile);
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t seen = causal ? std::clamp<std::int64_t>(first + row + 1 - key, 0, tile.count) : tile.count;
      found[static_cast<std::size_t>(row)] = soften(row, seen, tile);
    }
    weigh(rows, tile);
    if (end <= kMostKeys) {
      for (std::int64_t row = 0; row < count; ++row) {
        add(row, tile, 0, 1.0f / found[static_cast<std::size_t>(row)].sum, out + row * stride);
      }
      return;
    }
    for (std::int64_t row = 0; row < count; ++row) {
      const auto i = static_cast<std::size_t>(row);
      if (found[i].sum == 0) continue;  // sees no key of this tile
      const float together = std::max(largest[i], found[i].largest);
      const float shrink = std::exp2(largest[i] - together), factor = std::exp2(found[i].largest - together);
      add(row, tile, shrink, factor, sums_.data() + row * width_);
      totals[i] = totals[i] * shrink + found[i].sum * factor;
      largest[i] = together;
    }
  }
  for (std::int64_t row = 0; row < count; ++row) {
    scale_row(sums_.data() + row * width_, width_, 1.0f / totals[static_cast<std::size_t>(row)], out + row * stride);
  }
}

}  // namespace trine::detail
