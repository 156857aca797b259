#include "search/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "search/half.h"
#include "search/rows.h"

using namespace trine::detail;

namespace {

/// Every set of loops that this processor can run.
std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> found;
  for (const char* name : {"portable", "avx2", "avx512"}) {
    if (const Kernels* one = kernels_named(name)) {
      found.push_back(one);
    } else {
      std::printf("left out: this processor has no %s\n", name);
    }
  }
  return found;
}

std::vector<float> random_floats(std::mt19937& random, std::size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double dot(const float* a, const float* b, std::size_t dim) {
  double sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

constexpr std::size_t kDims[] = {1, 3, 15, 16, 17, 63, 64, 65, 100, 384, 517};
constexpr std::size_t kCounts[] = {1, 5, 12, 13, 31};

}  // namespace

TEST(SearchKernels, FloatsAreWithinTheBoundOfTheirRounding) {
  std::mt19937 random(1);
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t dim : kDims) {
      for (const std::size_t count : kCounts) {
        const std::vector<float> query = random_floats(random, dim), rows = random_floats(random, dim * count);
        std::vector<Half> halves(rows.size());
        std::vector<float> rounded(rows.size()), scores(count), of_halves(count), wide(rows.size());
        std::ranges::transform(rows, halves.begin(), half_of);
        std::ranges::transform(halves, rounded.begin(), float_of);
        kernels->score_floats(query.data(), rows.data(), count, dim, scores.data());
        kernels->score_halves(query.data(), halves.data(), count, dim, of_halves.data());
        kernels->widen(halves.data(), halves.size(), wide.data());
        EXPECT_EQ(wide, rounded) << kernels->name;
        for (std::size_t row = 0; row < count; ++row) {
          const float *a = query.data(), *b = rows.data() + row * dim;
          const double bound = static_cast<double>(dim + 8) * 0x1p-24 * std::sqrt(dot(a, a, dim) * dot(b, b, dim));
          EXPECT_NEAR(scores[row], dot(a, b, dim), bound) << kernels->name << " " << dim;
          EXPECT_NEAR(of_halves[row], dot(a, rounded.data() + row * dim, dim), bound * 1.01)
              << kernels->name << " " << dim;
        }
      }
    }
  }
}

TEST(SearchKernels, PanelsScoreAndTellWhatIsHighEnough) {
  std::mt19937 random(2);
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t width : {std::size_t{16}, kernels->panel}) {
      for (const std::size_t dim : kDims) {
        for (const std::size_t count : kCounts) {
          const std::vector<float> panel = random_floats(random, dim * width),
                                   rows = random_floats(random, dim * count);
          std::vector<float> scores(count * width, -99), thresholds(width);
          std::vector<std::uint32_t> hits(count, 0xdeadbeef);
          for (float& threshold : thresholds)
            threshold = std::sqrt(static_cast<float>(dim)) * random_floats(random, 1)[0];
          thresholds[width / 2] = std::numeric_limits<float>::infinity();
          kernels->panel_floats(panel.data(), width, rows.data(), count, dim, thresholds.data(), scores.data(),
                                hits.data());
          for (std::size_t row = 0; row < count; ++row) {
            for (std::size_t q = 0; q < width; ++q) {
              double sum = 0;
              for (std::size_t i = 0; i < dim; ++i) {
                sum += static_cast<double>(panel[i * width + q]) * static_cast<double>(rows[row * dim + i]);
              }
              const float score = scores[row * width + q];
              EXPECT_NEAR(score, sum, 1e-5 * static_cast<double>(dim + 8)) << kernels->name << " " << dim;
              EXPECT_EQ(hits[row] >> q & 1u, score >= thresholds[q] ? 1u : 0u) << kernels->name;
            }
          }
        }
      }
    }
  }
}

TEST(SearchKernels, SumsOfCodesAreExactAtTheirLargest) {
  std::mt19937 random(3);
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t stride :
         {std::size_t{64}, std::size_t{128}, std::size_t{384}, std::size_t{448}, std::size_t{65536}}) {
      constexpr std::size_t kRows = 14;
      std::vector<std::int8_t> query(stride);
      std::vector<std::uint8_t> rows(kRows * stride);
      for (const bool extreme : {false, true}) {
        for (auto& code : query) code = static_cast<std::int8_t>(extreme ? 127 : random() % 255 - 127);
        for (auto& code : rows) code = static_cast<std::uint8_t>(extreme ? 255 : random() % 256);
        std::vector<std::int32_t> sums(kRows), at(3), expected(kRows);
        for (std::size_t row = 0; row < kRows; ++row) {
          std::int64_t sum = 0;
          for (std::size_t i = 0; i < stride; ++i) sum += query[i] * rows[row * stride + i];
          ASSERT_LE(sum, std::numeric_limits<std::int32_t>::max());
          expected[row] = static_cast<std::int32_t>(sum);
        }
        kernels->score_codes(query.data(), rows.data(), kRows, stride, sums.data());
        EXPECT_EQ(sums, expected) << kernels->name << " " << stride;
        const std::vector<std::uint32_t> picked{13, 0, 7};
        kernels->score_codes_at(query.data(), rows.data(), stride, picked.data(), 3, at.data());
        EXPECT_EQ(at, (std::vector<std::int32_t>{expected[13], expected[0], expected[7]})) << kernels->name;
        if (kernels->panel_codes == nullptr) continue;
        for (const std::size_t width : {std::size_t{16}, kernels->panel}) {
          std::vector<std::int8_t> panel(stride * width);
          for (std::size_t q = 0; q < width; ++q) {  // the query q / 2 of itself, so that the columns differ
            for (std::size_t i = 0; i < stride; ++i) {
              panel[(i / 4 * width + q) * 4 + i % 4] =
                  static_cast<std::int8_t>(q == 0 ? query[i] : query[i] / static_cast<int>(q));
            }
          }
          std::vector<std::int32_t> offsets(width, 1000);
          std::vector<float> scales(kRows, 0.5f), thresholds(width, 0), scores(kRows * width);
          std::vector<std::uint32_t> hits(kRows);
          kernels->panel_codes(panel.data(), width, rows.data(), kRows, stride, offsets.data(), scales.data(),
                               thresholds.data(), scores.data(), hits.data());
          for (std::size_t row = 0; row < kRows; ++row) {
            for (std::size_t q = 0; q < width; ++q) {
              std::int32_t sum = 0;
              for (std::size_t i = 0; i < stride; ++i)
                sum += panel[(i / 4 * width + q) * 4 + i % 4] * rows[row * stride + i];
              const float score = static_cast<float>(sum - 1000) * 0.5f;
              EXPECT_EQ(scores[row * width + q], score) << kernels->name << " " << stride;
              EXPECT_EQ(hits[row] >> q & 1u, score >= 0 ? 1u : 0u);
            }
          }
        }
      }
    }
  }
}

TEST(SearchKernels, HalvesAreRoundedToTheNearest) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {  // each half is itself, and its neighbours lie around it
    const auto half = static_cast<Half>(bits);
    if ((half & 0x7c00) == 0x7c00) continue;
    const float value = float_of(half);
    EXPECT_EQ(half_of(value), half) << bits;
    EXPECT_EQ(std::fabs(value), std::ldexp((half & 0x7c00) == 0 ? half & 0x3ff : 0x400 | (half & 0x3ff),
                                           std::max((half & 0x7c00) >> 10, 1) - 25))
        << bits;
    if ((half & 0x7fff) >= 0x7bff) continue;
    const float next = float_of(static_cast<Half>(half + 1)), middle = (value + next) / 2;
    EXPECT_EQ(half_of(middle), (half & 1) == 0 ? half : half + 1) << bits;
    EXPECT_EQ(half_of(std::nextafter(middle, value)), half) << bits;
    EXPECT_EQ(half_of(std::nextafter(middle, next)), half + 1) << bits;
  }
}

TEST(SearchKernels, CodesAreWithinHalfAStep) {
  std::mt19937 random(4);
  for (const float size : {1e-44f, 1e-38f, 1.0f, 1e38f}) {
    std::vector<float> values = random_floats(random, 70);
    for (float& value : values) value *= size / 4;
    std::vector<std::int8_t> codes(128, 55);
    const float scale = quantise(values, codes.data(), codes.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const double value = i < values.size() ? static_cast<double>(values[i]) : 0;
      const double step =
          static_cast<double>(*std::ranges::max_element(values, {}, [](float v) { return std::fabs(v); })) / 127;
      if (size > 1e-38f) {  // below, the scale itself loses bits
        EXPECT_NEAR(codes[i] * static_cast<double>(scale), value, std::fabs(step) * 0.501);
      }
      EXPECT_GE(codes[i], -127);
      if (i >= values.size()) {
        EXPECT_EQ(codes[i], 0);
      }
    }
  }
  std::vector<std::int8_t> codes(64, 55);
  EXPECT_EQ(quantise(std::vector<float>(3, 0.0f), codes.data(), 64), 0);
  EXPECT_EQ(codes, std::vector<std::int8_t>(64, 0));
}

TEST(SearchKernels, CodesAreTheSameOnEveryProcessor) {  // to the nearest in double, half a step to the even
  std::mt19937 random(5);
  std::vector<std::vector<float>> cases{{127, 0.5f, 1.5f, -0.5f, -1.5f, 2.5f, -126.5f, 126.5f, -0.0f}};
  for (const std::size_t dim : kDims) {
    for (const float size : {1e-44f, 1e-38f, 1.0f, 3e37f}) {
      cases.push_back(random_floats(random, dim));
      for (float& value : cases.back()) value *= size;
    }
  }
  for (const std::vector<float>& values : cases) {
    std::vector<std::int8_t> codes(code_stride(values.size()), 55), wanted(codes.size(), 0);
    float largest = 0;
    for (const float value : values) largest = std::max(largest, std::fabs(value));
    for (std::size_t i = 0; largest > 0 && i < values.size(); ++i) {
      wanted[i] = static_cast<std::int8_t>(std::lrint(values[i] * (127.0 / largest)));
    }
    EXPECT_EQ(quantise(values, codes.data(), codes.size()), static_cast<float>(largest / 127.0));
    EXPECT_EQ(codes, wanted) << values.size() << " values up to " << largest;
  }
}

TEST(SearchKernels, AreChosenByName) {
  EXPECT_EQ(kernels_named("portable"), &kPortableKernels);
  EXPECT_EQ(kernels_named("sse9"), nullptr);
  const char* wanted = std::getenv("TRINE_SEARCH_KERNELS");
  if (wanted != nullptr) {
    EXPECT_STREQ(kernels().name, wanted);
  }
}
