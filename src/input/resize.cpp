#include <algorithm>

#include "detail/error.h"
#include "input/detail/pixels.h"
#include "input/detail/resample.h"
#include "trine/input/image.h"

namespace trine {
namespace {

using detail::bad_argument;
using detail::Coefficients;
using detail::coefficients;
using detail::rgb_bytes;
using detail::Span;

/// Pixels of the result, and of the picture between the two passes.
constexpr std::int64_t kMaxPixels = ImageOptions{}.max_pixels;

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

void check_part(const char* who, const Image& image, const Rectangle& part) {
  const auto [left, top, width, height] = part;
  if (left < 0 || top < 0 || width < 1 || height < 1 || width > image.width - left || height > image.height - top) {
    bad_argument(who, "the rectangle of ", width, " x ", height, " pixels at (", left, ", ", top,
                 ") must lie within the picture of ", image.width, " x ", image.height);
  }
}

}  // namespace

Image resize(const Image& image, int width, int height, ResizeFilter filter) {
  return resize(image, width, height, filter, {0, 0, width, height});
}

Image resize(const Image& image, int width, int height, ResizeFilter filter, const Rectangle& part) {
  check_image("resize", image);
  if (width < 1 || height < 1 || std::int64_t{width} * height > kMaxPixels) {
    bad_argument("resize", "wanted a size of 1 to ", kMaxPixels, " pixels, got ", width, " x ", height);
  }
  check_part("resize", {width, height, {}}, part);
  const bool same_width = width == image.width, same_height = height == image.height;
  if (same_width && same_height) return crop(image, part.left, part.top, part.width, part.height);
  if (filter == ResizeFilter::nearest) {
    return crop(resize_nearest(image, width, height), part.left, part.top, part.width, part.height);
  }
  const Span across{part.left, part.width}, down{part.top, part.height};
  if (same_height) return resample_columns(image, coefficients(image.width, width, filter, across), down);
  if (same_width) return resample_rows(image, coefficients(image.height, height, filter, down), across);

  const bool vertical = rows_first(image, width, height);
  const std::int64_t between = vertical ? std::int64_t{image.width} * height : std::int64_t{width} * image.height;
  if (between > kMaxPixels) {
    bad_argument("resize", "from ", image.width, " x ", image.height, " to ", width, " x ", height, " takes ", between,
                 " pixels in between, at most ", kMaxPixels, " are accepted");
  }
  Coefficients columns = coefficients(image.width, width, filter, across);
  Coefficients rows = coefficients(image.height, height, filter, down);
  if (vertical) {
    const Span needed = columns.needed();
    const Image low = resample_rows(image, rows, needed);
    columns.begin_later(needed.first);
    return resample_columns(low, columns, {0, low.height});
  }
  const Span needed = rows.needed();
  const Image narrow = resample_columns(image, columns, needed);
  rows.begin_later(needed.first);
  return resample_rows(narrow, rows, {0, narrow.width});
}

Image crop(const Image& image, int left, int top, int width, int height) {
  check_image("crop", image);
  check_part("crop", image, {left, top, width, height});
  Image result{width, height, {}};
  result.pixels.reserve(rgb_bytes(width, height));
  for (int y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + static_cast<std::ptrdiff_t>(rgb_bytes(image.width, y) + rgb_bytes(left, 1));
    result.pixels.insert(result.pixels.end(), row, row + static_cast<std::ptrdiff_t>(rgb_bytes(width, 1)));
  }
  return result;
}

}  // namespace trine
