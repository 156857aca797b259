#include <algorithm>

#include "linear/head.h"
#include "linear/product.h"

namespace trine::detail {

namespace {

constexpr std::int64_t kGroup = 4;  ///< numbers that the machine multiplies and adds in one step

class Int8Head : public Head {
 public:
  Int8Head(std::int64_t width, std::int64_t most_keys)
      : Head(width, most_keys),
        padded_((width + kGroup - 1) / kGroup * kGroup),
        keys_(static_cast<std::size_t>(this->most_keys() * padded_)),
        key_scales_(static_cast<std::size_t>(this->most_keys())),
        key_sums_(key_scales_.size()),
        values_(static_cast<std::size_t>(this->most_keys() * room())),
        value_scales_(static_cast<std::size_t>((this->most_keys() + kMostKeys - 1) / kMostKeys * width)),
        rows_(static_cast<std::size_t>(std::min(kMostKeys, this->most_keys()) * padded_)),
        queries_(static_cast<std::size_t>(kQueries * padded_)),
        query_scales_(static_cast<std::size_t>(kQueries)),
        scores_(static_cast<std::size_t>(kQueries * std::min(kMostKeys, this->most_keys()))),
        shares_(scores_.size()),
        parts_(static_cast<std::size_t>(kQueries * room())) {}

 private:
  void lay_out_tile(Rows keys, Rows values, const KeyTile& tile) override {
    for (std::int64_t key = 0; key < tile.count; ++key) {
      const auto place = static_cast<std::size_t>(tile.first + key);
      keys.fetch(tile.first + key + kRowsAhead, width());
      values.fetch(tile.first + key, width());
      const SignedRow row = quantise_signed(keys[tile.first + key], width(), rows_.data() + key * padded_);
      key_scales_[place] = row.scale;
      key_sums_[place] = row.sum;
    }
    transpose_fours(rows_.data(), padded_ / kGroup, tile.count, padded_ / kGroup, keys_.data() + tile.first * padded_,
                    tile.room);
    quantise_columns(values[tile.first], values.stride, tile.count, width(), room(),
                     values_.data() + tile.first * room(), value_scales(tile));
  }

  void take_query(std::int64_t row, const float* query, float scale) override {
    const RowScale found = quantise_row(query, width(), queries_.data() + row * padded_);
    query_scales_[static_cast<std::size_t>(row)] = {found.scale * scale, found.low * scale};
  }

  void score(std::int64_t queries, const KeyTile& tile) override {
    multiply_tile(dense_tile(queries, tile.room, padded_), queries_.data(), keys_.data() + tile.first * padded_,
                  scores_.data());
  }

  RowSoftmax soften(std::int64_t row, std::int64_t seen, const KeyTile& tile) override {
    return soften_row(scores_.data() + row * tile.room, query_scales_[static_cast<std::size_t>(row)],
                      key_scales_.data() + tile.first, key_sums_.data() + tile.first, seen, tile.room,
                      shares_.data() + row * tile.room);
  }

  void weigh(std::int64_t queries, const KeyTile& tile) override {
    multiply_tile(dense_tile(queries, room(), tile.room), shares_.data(), values_.data() + tile.first * room(),
                  parts_.data());
  }

  void add(std::int64_t row, const KeyTile& tile, float shrink, float factor, float* sums) const override {
    add_row(parts_.data() + row * room(), value_scales(tile), width(), shrink, factor / 255.0f, sums);
  }

  const float* value_scales(const KeyTile& tile) const {
    return value_scales_.data() + tile.first / kMostKeys * width();
  }
  float* value_scales(const KeyTile& tile) { return value_scales_.data() + tile.first / kMostKeys * width(); }

  std::int64_t padded_;            ///< channels in whole groups; those filled up are 0 in the keys
  std::vector<std::int8_t> keys_;  ///< by tile, (padded / kGroup, room, kGroup)
  std::vector<float> key_scales_, key_sums_;
  std::vector<std::int8_t> values_;    ///< by tile, (keys / kGroup, room, kGroup)
  std::vector<float> value_scales_;    ///< (tiles, width)
  std::vector<std::int8_t> rows_;      ///< keys of a tile before they are laid out, (count, padded)
  std::vector<std::uint8_t> queries_;  ///< (kQueries, padded)
  std::vector<RowScale> query_scales_;
  std::vector<std::int32_t> scores_;  ///< (kQueries, room)
  std::vector<std::uint8_t> shares_;  ///< (kQueries, room)
  std::vector<std::int32_t> parts_;   ///< (kQueries, room)
};

}  // namespace

std::unique_ptr<Head> int8_head(std::int64_t width, std::int64_t most_keys) {
  return std::make_unique<Int8Head>(width, most_keys);
}

}  // namespace trine::detail
