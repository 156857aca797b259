#include "linear/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace {

using namespace trine::detail;

/// Numbers from a normal distribution.
std::vector<float> numbers(std::int64_t count, unsigned seed = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw;
  std::vector<float> drawn(static_cast<std::size_t>(count));
  std::generate(drawn.begin(), drawn.end(), [&] { return draw(engine); });
  return drawn;
}

float largest(const float* x, std::int64_t n, std::int64_t stride = 1) {
  float found = 0;
  for (std::int64_t i = 0; i < n; ++i) found = std::max(found, std::fabs(x[i * stride]));
  return found;
}

/// Vectors, parts of them, a single number.
constexpr std::int64_t kSizes[] = {1, 3, 15, 16, 31, 32, 33, 64, 70, 129};

TEST(Rows, SignedBytesAreTheNearest) {
  for (const std::int64_t n : kSizes) {
    const std::vector<float> x = numbers(n);
    std::vector<std::int8_t> bytes(x.size());
    const SignedRow row = quantise_signed(x.data(), n, bytes.data());
    EXPECT_FLOAT_EQ(row.scale, largest(x.data(), n) / 127) << n;
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = static_cast<double>(row.scale) * bytes[i];
      EXPECT_NEAR(value, static_cast<double>(x[i]), static_cast<double>(row.scale) * 0.501) << i << " of " << n;
      sum += value;
    }
    EXPECT_NEAR(static_cast<double>(row.sum), sum, 1e-4) << n;
  }
}

TEST(Rows, SignedBytesOfZerosAndOfWhatIsNotFinite) {
  std::vector<float> x(40, 0.0f);
  std::vector<std::int8_t> bytes(x.size(), 1);
  const SignedRow zeros = quantise_signed(x.data(), 40, bytes.data());
  EXPECT_EQ(zeros.sum, 0);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 0), 40);
  for (const float odd : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    x[7] = odd;
    const SignedRow row = quantise_signed(x.data(), 40, bytes.data());
    EXPECT_TRUE(std::isfinite(row.scale) && std::isfinite(row.sum)) << odd;
  }
}

TEST(Rows, ColumnsInBytesStandInFours) {
  for (const std::int64_t n : kSizes) {
    for (const std::int64_t rows : {1, 4, 7, 16}) {
      const std::int64_t stride = n + 5, fours = (rows + 3) / 4, room = (n + 15) / 16 * 16;
      const std::vector<float> x = numbers(rows * stride);
      std::vector<std::int8_t> bytes(static_cast<std::size_t>(4 * fours * room), 99);
      std::vector<float> scales(static_cast<std::size_t>(n));
      quantise_columns(x.data(), stride, rows, n, room, bytes.data(), scales.data());
      for (std::int64_t column = 0; column < room; ++column) {
        const float scale = column < n ? scales[static_cast<std::size_t>(column)] : 1;
        if (column < n) {
          EXPECT_FLOAT_EQ(scale, largest(x.data() + column, rows, stride) / 127);
        }
        for (std::int64_t row = 0; row < 4 * fours; ++row) {
          const float wanted = row < rows && column < n ? x[static_cast<std::size_t>(row * stride + column)] : 0;
          const std::int8_t byte = bytes[static_cast<std::size_t>(row / 4 * 4 * room + column * 4 + row % 4)];
          EXPECT_NEAR(scale * byte, wanted, scale * 0.501f) << row << ", " << column << " of " << rows << " x " << n;
        }
      }
    }
  }
}

/// Shares of scores made of bytes, against those of the same scores in double.
TEST(Rows, SharesInBytesAreThoseOfTheScores) {
  for (const std::int64_t n : {1, 15, 16, 17, 100, 256}) {
    const std::int64_t room = (n + 15) / 16 * 16;
    const std::vector<float> drawn = numbers(room);
    const RowScale query{0.01f, 0.7f};
    std::vector<std::int32_t> sums(drawn.size());
    std::vector<float> key_scales(drawn.size()), key_sums(drawn.size());
    std::vector<double> shares(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      sums[i] = static_cast<std::int32_t>(300 * drawn[i]);
      key_scales[i] = 1 + 0.1f * static_cast<float>(i % 7);
      key_sums[i] = 0.3f * static_cast<float>(i % 5);
    }
    double high = -1e9;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      shares[i] =
          static_cast<double>(query.scale * key_scales[i]) * sums[i] - static_cast<double>(query.low * key_sums[i]);
      high = std::max(high, shares[i]);
    }
    for (double& share : shares) share = std::exp2(share - high);
    std::vector<std::uint8_t> bytes(drawn.size(), 77);
    const RowSoftmax found = soften_row(sums.data(), query, key_scales.data(), key_sums.data(), n, room, bytes.data());
    EXPECT_NEAR(static_cast<double>(found.largest), high, 1e-4) << n;
    EXPECT_NEAR(static_cast<double>(found.sum) * 255, std::accumulate(bytes.begin(), bytes.end(), 0), 0.01) << n;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_NEAR(bytes[i], i < shares.size() ? 255 * shares[i] : 0, 0.55) << i << " of " << n;
    }
  }
}

TEST(Rows, NoScoreHasNoShare) {
  std::vector<std::int32_t> sums(16, 5);
  std::vector<float> scales(16, 1.0f), scores(16, 3.0f);
  std::vector<std::uint8_t> shares(16, 77);
  for (const RowSoftmax& found : {soften_row(sums.data(), {1, 0}, scales.data(), scales.data(), 0, 16, shares.data()),
                                  soften_row(scores.data(), 0, 16)}) {
    EXPECT_EQ(found.largest, -std::numeric_limits<float>::infinity());
    EXPECT_EQ(found.sum, 0);
  }
  EXPECT_EQ(std::count(shares.begin(), shares.end(), 0), 16);
  EXPECT_EQ(std::count(scores.begin(), scores.end(), 0.0f), 16);
}

TEST(Rows, SharesAreThoseOfTheScores) {
  for (const std::int64_t n : {1, 16, 17, 250}) {
    const std::int64_t room = (n + 15) / 16 * 16;
    std::vector<float> scores = numbers(room);
    for (float& score : scores) score *= 10;
    const std::vector<float> before = scores;
    const RowSoftmax found = soften_row(scores.data(), n, room);
    EXPECT_EQ(found.largest, *std::max_element(before.begin(), before.begin() + n)) << n;
    for (std::int64_t i = 0; i < room; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double wanted = i < n ? std::exp2(static_cast<double>(before[at] - found.largest)) : 0;
      EXPECT_NEAR(static_cast<double>(scores[at]), wanted, 1e-6) << i << " of " << n;
    }
  }
}

/// What follows a layer in bytes is rounded to bytes again: its GELU may be off by 3e-5.
TEST(Rows, GeluOfBytesIsNearlyExact) {
  std::vector<std::int32_t> sums(64);
  std::vector<float> zeros(64), ones(64, 1.0f), out(64), exact(64), plain(64);
  for (int from = -900; from < 900; from += 64) {
    for (int i = 0; i < 64; ++i) {
      sums[static_cast<std::size_t>(i)] = from + i;
      plain[static_cast<std::size_t>(i)] = 0.01f * static_cast<float>(from + i);
    }
    const RowScale scale{0.01f, 0};
    Finish how{.rows = 1,
               .columns = 64,
               .sums_stride = 64,
               .stride = 64,
               .bias = zeros.data(),
               .residual = nullptr,
               .function = Function::gelu};
    finish(how, sums.data(), &scale, ones.data(), zeros.data(), out.data());
    finish(how, plain.data(), exact.data());
    for (std::size_t i = 0; i < 64; ++i) {
      const double x = static_cast<double>(plain[i]), wanted = 0.5 * x * std::erfc(-x / std::sqrt(2.0));
      EXPECT_NEAR(static_cast<double>(out[i]), wanted, 3e-5) << x;
      EXPECT_NEAR(static_cast<double>(exact[i]), wanted, 1e-7 + 2e-7 * std::fabs(x)) << x;
    }
  }
}

TEST(Rows, SumsThatShrinkToNothingAreForgotten) {
  for (const std::int64_t n : kSizes) {
    const std::vector<float> part = numbers(n), before = numbers(n, 2);
    std::vector<std::int32_t> bytes(part.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::int32_t>(100 * part[i]);
    for (const float shrink : {0.0f, 0.5f}) {
      std::vector<float> sums = before, sums_of_bytes = before;
      if (shrink == 0) sums[0] = sums_of_bytes[0] = std::nanf("");
      add_row(part.data(), n, shrink, 3.0f, sums.data());
      add_row(bytes.data(), part.data(), n, shrink, 3.0f, sums_of_bytes.data());
      for (std::size_t i = 0; i < part.size(); ++i) {
        EXPECT_NEAR(sums[i], shrink * before[i] + 3 * part[i], 1e-5f) << i << " of " << n;
        EXPECT_NEAR(sums_of_bytes[i], shrink * before[i] + 3 * part[i] * static_cast<float>(bytes[i]), 2e-4f) << i;
      }
    }
  }
}

TEST(Rows, FoursStayTogetherWhenTurned) {
  constexpr std::int64_t kRows = 19, kColumns = 5, kStride = 7, kOut = 32;
  std::vector<std::int8_t> x(4 * kRows * kStride), out(4 * kColumns * kOut, 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::int8_t>(i % 251 - 125);
  transpose_fours(x.data(), kStride, kRows, kColumns, out.data(), kOut);
  for (std::int64_t row = 0; row < kRows; ++row) {
    for (std::int64_t column = 0; column < kColumns; ++column) {
      for (std::int64_t k = 0; k < 4; ++k) {
        EXPECT_EQ(out[static_cast<std::size_t>(4 * (column * kOut + row) + k)],
                  x[static_cast<std::size_t>(4 * (row * kStride + column) + k)]);
      }
    }
  }
}

}  // namespace
