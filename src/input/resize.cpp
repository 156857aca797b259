#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "detail/error.h"
#include "input/detail/pixels.h"
#include "trine/input/image.h"

namespace trine {
namespace {

using detail::bad_argument;
using detail::rgb_bytes;

/// Bits after the point of a coefficient: 32, less 8 for a pixel, less 2 for coefficients beyond 1 and the sign.
constexpr int kPrecision = 32 - 8 - 2;

/// Pixels of the result, and of the picture between the two passes.
constexpr std::int64_t kMaxPixels = ImageOptions{}.max_pixels;

/// The source pixels of one target pixel.
struct Window {
  int first = 0;
  int count = 0;
};

/// For every target pixel its window and `stride` coefficients, of which `count` are used.
struct Coefficients {
  std::vector<Window> windows;
  std::vector<std::int32_t> values;
  std::size_t stride = 0;

  const std::int32_t* of(std::size_t target) const { return values.data() + target * stride; }
};

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double hamming(double x) {
  x = std::fabs(x);
  if (x >= 1.0) return 0.0;
  return sinc(x) * (0.54f + 0.46f * std::cos(x * std::numbers::pi));  // Pillow's constants are single precision
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
  double (*weight)(double);
  double support;  // where it becomes zero
};

Kernel kernel_of(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::nearest:
      break;  // has no kernel
    case ResizeFilter::box:
      return {box, 0.5};
    case ResizeFilter::bilinear:
      return {bilinear, 1.0};
    case ResizeFilter::hamming:
      return {hamming, 1.0};
    case ResizeFilter::bicubic:
      return {bicubic, 2.0};
    case ResizeFilter::lanczos:
      return {lanczos, 3.0};
  }
  bad_argument("resize", "unknown filter ", static_cast<int>(filter));
}

/// The arithmetic, with its order and rounding, is that of Pillow's Resample.c (precompute_coeffs,
/// normalize_coeffs_8bpc).
Coefficients coefficients(int source, int target, const Kernel& kernel) {
  const double scale = static_cast<double>(source) / target;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kernel.support * filter_scale;
  const double inverse = 1.0 / filter_scale;

  Coefficients result;
  result.stride = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  result.windows.resize(static_cast<std::size_t>(target));
  result.values.resize(result.windows.size() * result.stride);
  std::vector<double> weights(result.stride);
  for (std::size_t i = 0; i < result.windows.size(); ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int count = std::min(static_cast<int>(centre + support + 0.5), source) - first;
    result.windows[i] = {first, count};
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      const double weight = kernel.weight((k + first - centre + 0.5) * inverse);
      weights[static_cast<std::size_t>(k)] = weight;
      sum += weight;
    }
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      const double weight = (sum == 0.0 ? weights[k] : weights[k] / sum) * (1 << kPrecision);
      result.values[i * result.stride + k] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return result;
}

constexpr std::int32_t kHalf = 1 << (kPrecision - 1);

std::uint8_t clip(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

/// All rows of `image`, made `columns.windows.size()` wide.
Image resize_columns(const Image& image, const Coefficients& columns) {
  Image result{static_cast<int>(columns.windows.size()), image.height, {}};
  result.pixels.resize(rgb_bytes(result.width, result.height));
  std::uint8_t* out = result.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* row = image.pixels.data() + rgb_bytes(image.width, y);
    for (std::size_t x = 0; x < columns.windows.size(); ++x) {
      const auto [first, count] = columns.windows[x];
      const std::int32_t* weights = columns.of(x);
      const std::uint8_t* in = row + rgb_bytes(first, 1);
      std::int32_t red = kHalf, green = kHalf, blue = kHalf;
      for (int k = 0; k < count; ++k, in += 3) {
        red += in[0] * weights[k];
        green += in[1] * weights[k];
        blue += in[2] * weights[k];
      }
      *out++ = clip(red);
      *out++ = clip(green);
      *out++ = clip(blue);
    }
  }
  return result;
}

/// All columns of `image`, made `rows.windows.size()` high.
Image resize_rows(const Image& image, const Coefficients& rows) {
  Image result{image.width, static_cast<int>(rows.windows.size()), {}};
  const std::size_t row_bytes = rgb_bytes(image.width, 1);
  result.pixels.resize(row_bytes * rows.windows.size());
  std::vector<std::int32_t> sums(row_bytes);
  for (std::size_t y = 0; y < rows.windows.size(); ++y) {
    const auto [first, count] = rows.windows[y];
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int k = 0; k < count; ++k) {
      const std::int32_t weight = rows.of(y)[k];
      const std::uint8_t* in = image.pixels.data() + rgb_bytes(image.width, first + k);
      for (std::size_t i = 0; i < row_bytes; ++i) sums[i] += in[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), result.pixels.begin() + static_cast<std::ptrdiff_t>(y * row_bytes), clip);
  }
  return result;
}

/// The source pixel of every target pixel, the positions summed up as Pillow's ImagingScaleAffine does.
std::vector<int> nearest_pixels(int source, int target) {
  std::vector<int> pixels(static_cast<std::size_t>(target));
  const double step = static_cast<double>(source) / target;
  double position = step * 0.5;
  for (int& pixel : pixels) {
    pixel = std::min(static_cast<int>(position), source - 1);
    position += step;
  }
  return pixels;
}

Image resize_nearest(const Image& image, int width, int height) {
  Image result{width, height, {}};
  result.pixels.reserve(rgb_bytes(width, height));
  const std::vector<int> columns = nearest_pixels(image.width, width);
  for (const int y : nearest_pixels(image.height, height)) {
    for (const int x : columns) {
      const std::uint8_t* pixel = image.pixels.data() + rgb_bytes(image.width, y) + rgb_bytes(x, 1);
      result.pixels.insert(result.pixels.end(), pixel, pixel + 3);
    }
  }
  return result;
}

/// Pillow 13 changes the height first if it shrinks by more than twice as many pixels as the width.
bool rows_first(const Image& image, int width, int height) {
  const std::int64_t fewer_rows = std::int64_t{image.height} - height;
  const std::int64_t fewer_columns = std::int64_t{image.width} - width;
  return fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
}

void check_image(const char* who, const Image& image) {
  if (image.width < 1 || image.height < 1 || image.pixels.size() != rgb_bytes(image.width, image.height)) {
    bad_argument(who, "a picture of ", image.width, " x ", image.height, " pixels must have three bytes for each, got ",
                 image.pixels.size());
  }
}

}  // namespace

Image resize(const Image& image, int width, int height, ResizeFilter filter) {
  check_image("resize", image);
  if (width < 1 || height < 1 || std::int64_t{width} * height > kMaxPixels) {
    bad_argument("resize", "wanted a size of 1 to ", kMaxPixels, " pixels, got ", width, " x ", height);
  }
  const bool same_width = width == image.width;
  const bool same_height = height == image.height;
  if (same_width && same_height) return image;
  if (filter == ResizeFilter::nearest) return resize_nearest(image, width, height);
  const Kernel kernel = kernel_of(filter);
  if (same_height) return resize_columns(image, coefficients(image.width, width, kernel));
  if (same_width) return resize_rows(image, coefficients(image.height, height, kernel));

  const bool vertical = rows_first(image, width, height);
  const std::int64_t between = vertical ? std::int64_t{image.width} * height : std::int64_t{width} * image.height;
  if (between > kMaxPixels) {
    bad_argument("resize", "from ", image.width, " x ", image.height, " to ", width, " x ", height, " takes ", between,
                 " pixels in between, at most ", kMaxPixels, " are accepted");
  }
  const Coefficients columns = coefficients(image.width, width, kernel);
  const Coefficients rows = coefficients(image.height, height, kernel);
  if (vertical) return resize_columns(resize_rows(image, rows), columns);
  return resize_rows(resize_columns(image, columns), rows);
}

Image crop(const Image& image, int left, int top, int width, int height) {
  check_image("crop", image);
  if (left < 0 || top < 0 || width < 1 || height < 1 || width > image.width - left || height > image.height - top) {
    bad_argument("crop", "the rectangle of ", width, " x ", height, " pixels at (", left, ", ", top,
                 ") must lie within the picture of ", image.width, " x ", image.height);
  }
  Image result{width, height, {}};
  result.pixels.reserve(rgb_bytes(width, height));
  for (int y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + static_cast<std::ptrdiff_t>(rgb_bytes(image.width, y) + rgb_bytes(left, 1));
    result.pixels.insert(result.pixels.end(), row, row + static_cast<std::ptrdiff_t>(rgb_bytes(width, 1)));
  }
  return result;
}

}  // namespace trine
