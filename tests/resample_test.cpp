#include "input/detail/resample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>

namespace trine {
namespace {

using detail::Instructions;

constexpr std::array kFilters{ResizeFilter::box, ResizeFilter::bilinear, ResizeFilter::hamming, ResizeFilter::bicubic,
                              ResizeFilter::lanczos};

Image noise(int width, int height, std::mt19937& random) {
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width * height) * 3)};
  for (std::uint8_t& byte : image.pixels)
    byte = static_cast<std::uint8_t>(random() % 3 == 0 ? 255 * (random() % 2) : random());
  return image;
}

int below(int end, std::mt19937& random) { return static_cast<int>(random() % static_cast<unsigned>(end)); }

int side(std::mt19937& random) { return 1 + below(below(4, random) == 0 ? 300 : 40, random); }

/// A byte of a target pixel, as the definition has it.
std::uint8_t weighted(const detail::Coefficients& made_of, std::size_t target, auto&& pixel) {
  const auto [first, count] = made_of.windows[target];
  std::int32_t sum = 1 << (detail::kWeightBits - 1);
  for (int k = 0; k < count; ++k) sum += pixel(first + k) * made_of.of(target)[k];
  return static_cast<std::uint8_t>(std::clamp(sum >> detail::kWeightBits, 0, 255));
}

TEST(Resample, WidePicturesEqualTheDefinition) {
  std::mt19937 random(7);
  for (int round = 0; round < 12; ++round) {
    const Image image = noise(1 + below(1800, random), 1 + below(9, random), random);
    const ResizeFilter filter = kFilters[random() % kFilters.size()];
    const int width = 1 + below(1800, random), height = 1 + below(9, random);
    const detail::Coefficients columns = detail::coefficients(image.width, width, filter, {0, width}),
                               rows = detail::coefficients(image.height, height, filter, {0, height});
    const Image wide = detail::resample_columns(image, columns, {0, image.height});
    const Image high = detail::resample_rows(image, rows, {0, image.width});
    const auto at = [](const Image& of, int x, int y, int c) {
      return of.pixels[static_cast<std::size_t>((y * of.width + x) * 3 + c)];
    };
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < wide.height; ++y) {
        for (int x = 0; x < width; ++x) {
          ASSERT_EQ(at(wide, x, y, c),
                    weighted(columns, static_cast<std::size_t>(x), [&](int from) { return at(image, from, y, c); }));
        }
      }
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < high.width; ++x) {
          ASSERT_EQ(at(high, x, y, c),
                    weighted(rows, static_cast<std::size_t>(y), [&](int from) { return at(image, x, from, c); }));
        }
      }
    }
  }
}

TEST(Resample, NoWeightIsTooLargeForTheInstructions) {
  for (const ResizeFilter filter : kFilters) {
    for (int source = 1; source <= 60; ++source) {
      for (int target = 1; target <= 60; ++target) {
        for (const std::int32_t weight : detail::coefficients(source, target, filter, {0, target}).values) {
          ASSERT_LT(std::abs(weight), 3 << (detail::kWeightBits - 1)) << source << " to " << target;
        }
      }
    }
  }
}

TEST(Resample, AllInstructionsGiveTheSameBytes) {
  std::mt19937 random(5);
  std::vector<Instructions> faster;
  for (const Instructions with : {Instructions::avx2, Instructions::avx512, Instructions::avx512_vnni}) {
    if (detail::instructions() >= with) faster.push_back(with);
  }
  if (faster.empty()) GTEST_SKIP() << "this CPU has neither AVX2 nor AVX-512: nothing to compare";
  for (int round = 0; round < 60; ++round) {
    const Image image = noise(side(random), side(random), random);
    const ResizeFilter filter = kFilters[random() % kFilters.size()];
    const int width = side(random), height = side(random);
    const detail::Coefficients columns = detail::coefficients(image.width, width, filter, {0, width}),
                               rows = detail::coefficients(image.height, height, filter, {0, height});
    for (const Instructions with : faster) {
      EXPECT_EQ(detail::resample_columns(image, columns, {0, image.height}, with).pixels,
                detail::resample_columns(image, columns, {0, image.height}, Instructions::portable).pixels);
      EXPECT_EQ(detail::resample_rows(image, rows, {0, image.width}, with).pixels,
                detail::resample_rows(image, rows, {0, image.width}, Instructions::portable).pixels);
    }
  }
}

TEST(Resample, APartIsThatPartOfTheWhole) {
  std::mt19937 random(6);
  for (int round = 0; round < 120; ++round) {
    const Image image = noise(side(random), side(random), random);
    const int width = round % 5 == 0 ? image.width : side(random),
              height = round % 7 == 0 ? image.height : side(random);
    const auto filter = round % 9 == 0 ? ResizeFilter::nearest : kFilters[random() % kFilters.size()];
    const int left = below(width, random), top = below(height, random);
    const Rectangle part{left, top, 1 + below(width - left, random), 1 + below(height - top, random)};
    const Image wanted = crop(resize(image, width, height, filter), part.left, part.top, part.width, part.height);
    const Image got = resize(image, {width, height, filter, part});
    EXPECT_EQ(got.width, part.width);
    EXPECT_EQ(got.pixels, wanted.pixels) << image.width << " x " << image.height << " to " << width << " x " << height;
  }
}

TEST(Resample, APartBeyondTheEdgeIsRefused) {
  const Image image{2, 2, std::vector<std::uint8_t>(12)};
  for (const Rectangle part : {Rectangle{-1, 0, 2, 2}, {0, 0, 0, 2}, {3, 0, 2, 2}, {0, 3, 1, 2}, {0, 0, 5, 1}}) {
    EXPECT_THROW(resize(image, {4, 4, ResizeFilter::bicubic, part}), std::invalid_argument);
  }
}

}  // namespace
}  // namespace trine
