#include "linear/tile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace trine::detail;

/// A product whose strides leave room, which has to stay as it was.
Tile tile_of(std::int64_t rows, std::int64_t columns, std::int64_t in) {
  return {rows, columns, in, in + 4, columns + 16, columns + 3, true};
}

/// Each number of rows and vectors in registers, none or some steps over, more steps than are made at once.
std::vector<Tile> tiles() {
  std::vector<Tile> all{tile_of(15, 64, 384), tile_of(7, 256, 64),  tile_of(33, 80, 4),
                        tile_of(5, 64, 772),  tile_of(9, 64, 3080), tile_of(3, 16, 6152)};
  for (std::int64_t rows = 1; rows <= 14; ++rows) {
    for (const std::int64_t columns : {16, 32, 48, 64}) all.push_back(tile_of(rows, columns, 24 + 4 * (rows % 3)));
  }
  return all;
}

/// Every kind that this machine has.
std::vector<const TileLoops*> kinds() {
  std::vector<const TileLoops*> found;
  for (const char* name : {"avx2", "avxvnni", "avx512", "avx512vnni"}) {
    if (tile_loops_named(name) != nullptr) found.push_back(tile_loops_named(name));
  }
  return found;
}

template <typename Number, typename Draw>
std::vector<Number> drawn(std::int64_t count, Draw draw) {
  std::mt19937 engine(7);
  std::vector<Number> numbers(static_cast<std::size_t>(count));
  for (Number& number : numbers) number = static_cast<Number>(draw(engine));
  return numbers;
}

/// One sum after the other; -7 beside them.
template <typename Sum, typename Add>
std::vector<Sum> sums_of(const Tile& tile, Add add) {
  std::vector<Sum> sums(static_cast<std::size_t>(tile.rows * tile.sums_stride), Sum(-7));
  for (std::int64_t row = 0; row < tile.rows; ++row) {
    for (std::int64_t column = 0; column < tile.columns; ++column) {
      Sum& sum = sums[static_cast<std::size_t>(row * tile.sums_stride + column)] = 0;
      for (std::int64_t i = 0; i < tile.in; ++i) sum = add(sum, row, i, column);
    }
  }
  return sums;
}

TEST(Tile, FloatsAreTheSumsInOneOrder) {
  for (Tile tile : tiles()) {
    const auto inputs = drawn<float>(tile.rows * tile.inputs_stride, std::normal_distribution<float>());
    const auto weights = drawn<float>(tile.in * tile.weights_stride, std::normal_distribution<float>());
    const auto wanted = sums_of<float>(tile, [&](float sum, std::int64_t row, std::int64_t i, std::int64_t column) {
      return std::fma(inputs[static_cast<std::size_t>(row * tile.inputs_stride + i)],
                      weights[static_cast<std::size_t>(i * tile.weights_stride + column)], sum);
    });
    for (const TileLoops* loops : kinds()) {
      for (const bool ahead : {false, true}) {
        tile.ahead = ahead;
        std::vector<float> sums(wanted.size(), -7.0f);
        loops->floats(tile, inputs.data(), weights.data(), sums.data());
        EXPECT_EQ(sums, wanted) << loops->name << ": " << tile.rows << " x " << tile.columns << " x " << tile.in;
      }
    }
  }
}

TEST(Tile, BytesAreExact) {
  for (const Tile& tile : tiles()) {
    // the largest of both signs, where some machines add in 16 bits
    const auto inputs = drawn<std::uint8_t>(tile.rows * tile.inputs_stride, std::uniform_int_distribution(250, 255));
    const auto weights =
        drawn<std::int8_t>(tile.in * tile.weights_stride, [](auto& engine) { return engine() % 3 == 0 ? -127 : 127; });
    const auto wanted =
        sums_of<std::int32_t>(tile, [&](std::int32_t sum, std::int64_t row, std::int64_t i, std::int64_t column) {
          return sum + inputs[static_cast<std::size_t>(row * tile.inputs_stride + i)] *
                           weights[static_cast<std::size_t>((i / 4 * tile.weights_stride + column) * 4 + i % 4)];
        });
    for (const TileLoops* loops : kinds()) {
      if (loops->bytes == nullptr) continue;
      std::vector<std::int32_t> sums(wanted.size(), -7);
      loops->bytes(tile, inputs.data(), weights.data(), sums.data());
      EXPECT_EQ(sums, wanted) << loops->name << ": " << tile.rows << " x " << tile.columns << " x " << tile.in;
    }
  }
}

TEST(Tile, WhatIsNotFiniteStaysInItsRow) {
  for (const TileLoops* loops : kinds()) {
    std::vector<float> inputs(7 * 32, 1.0f), weights(32 * 64, 1.0f), sums(7 * 64);
    inputs[3 * 32 + 5] = std::numeric_limits<float>::quiet_NaN();
    loops->floats(dense_tile(7, 64, 32), inputs.data(), weights.data(), sums.data());
    for (std::size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(std::isnan(sums[i]), i / 64 == 3) << loops->name << i;
  }
}

TEST(Tile, AMachineThatIsUnknownHasNone) { EXPECT_EQ(tile_loops_named("avx1024"), nullptr); }

}  // namespace
