#include <algorithm>

#include "linear/head.h"
#include "linear/product.h"

namespace trine::detail {

namespace {

class Fp32Head : public Head {
 public:
  Fp32Head(std::int64_t width, std::int64_t most_keys)
      : Head(width, most_keys),
        keys_(static_cast<std::size_t>(this->most_keys() * width)),
        values_(static_cast<std::size_t>(this->most_keys() * room())),
        queries_(static_cast<std::size_t>(kQueries * width)),
        scores_(static_cast<std::size_t>(kQueries * std::min(kMostKeys, this->most_keys()))),
        parts_(static_cast<std::size_t>(kQueries * room())) {}

 private:
  void lay_out_tile(Rows keys, Rows values, const KeyTile& tile) override {
    float* to = values_.data() + tile.first * room();
    for (std::int64_t key = 0; key < tile.count; ++key) {
      values.fetch(tile.first + key + kRowsAhead, width());
      keys.fetch(tile.first + key, width());
      std::copy_n(values[tile.first + key], width(), to + key * room());
    }
    std::fill_n(to + tile.count * room(), (tile.room - tile.count) * room(), 0.0f);  // no share of a NaN
    transpose(keys[tile.first], keys.stride, tile.count, width(), keys_.data() + tile.first * width(), tile.room);
  }

  void take_query(std::int64_t row, const float* query, float scale) override {
    scale_row(query, width(), scale, queries_.data() + row * width());
  }

  void score(std::int64_t queries, const KeyTile& tile) override {
    multiply_tile(dense_tile(queries, tile.room, width()), queries_.data(), keys_.data() + tile.first * width(),
                  scores_.data());
  }

  RowSoftmax soften(std::int64_t row, std::int64_t seen, const KeyTile& tile) override {
    return soften_row(scores_.data() + row * tile.room, seen, tile.room);
  }

  void weigh(std::int64_t queries, const KeyTile& tile) override {
    multiply_tile(dense_tile(queries, room(), tile.room), scores_.data(), values_.data() + tile.first * room(),
                  parts_.data());
  }

  void add(std::int64_t row, const KeyTile&, float shrink, float factor, float* sums) const override {
    add_row(parts_.data() + row * room(), width(), shrink, factor, sums);
  }

  std::vector<float> keys_;     ///< by tile, (width, room)
  std::vector<float> values_;   ///< (keys, room)
  std::vector<float> queries_;  ///< (kQueries, width)
  std::vector<float> scores_;   ///< (kQueries, room)
  std::vector<float> parts_;    ///< (kQueries, room)
};

}  // namespace

std::unique_ptr<Head> fp32_head(std::int64_t width, std::int64_t most_keys) {
  return std::make_unique<Fp32Head>(width, most_keys);
}

}  // namespace trine::detail
