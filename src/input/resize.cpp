#include <algorithm>

#include "detail/error.h"
#include "input/detail/pixels.h"
#include "input/detail/resample.h"
#include "input/detail/resize_rows.h"
#include "trine/input/image.h"

namespace trine {
namespace {

using detail::bad_argument;
using detail::Coefficients;
using detail::coefficients;
using detail::ColumnResampler;
using detail::rgb_bytes;
using detail::Span;

/// Pixels of the result, and of the picture between the two passes.
constexpr std::int64_t kMaxPixels = ImageOptions{}.max_pixels;

constexpr int kBand = 16;  ///< rows that are decoded before they are made narrower: few enough for the cache

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

/// Which side is changed first.
enum class Order { at_once, columns_first, rows_first };

/// Pillow 13 changes the height first if it shrinks by more than twice as many pixels as the width.
Order order_of(int width, int height, const Resizing& to) {
  if (to.width == width || to.height == height || to.filter == ResizeFilter::nearest) return Order::at_once;
  const std::int64_t fewer_rows = std::int64_t{height} - to.height;
  const std::int64_t fewer_columns = std::int64_t{width} - to.width;
  return fewer_rows > 0 && fewer_rows > 2 * fewer_columns ? Order::rows_first : Order::columns_first;
}

void check_image(const char* who, const Image& image) {
  if (!detail::has_its_pixels(image)) {
    bad_argument(who, "a picture of ", image.width, " x ", image.height, " pixels must have three bytes for each, got ",
                 image.pixels.size());
  }
}

/// `width` x `height`: of the picture that `part` is of.
void check_part(const char* who, int width, int height, const Rectangle& part) {
  if (part.left < 0 || part.top < 0 || part.width < 1 || part.height < 1 || part.width > width - part.left ||
      part.height > height - part.top) {
    bad_argument(who, "the rectangle of ", part.width, " x ", part.height, " pixels at (", part.left, ", ", part.top,
                 ") must lie within the picture of ", width, " x ", height);
  }
}

/// The order, of sizes that are allowed. `width` x `height`: before resizing.
Order checked_order(int width, int height, const Resizing& to) {
  if (to.width < 1 || to.height < 1 || std::int64_t{to.width} * to.height > kMaxPixels) {
    bad_argument("resize", "wanted a size of 1 to ", kMaxPixels, " pixels, got ", to.width, " x ", to.height);
  }
  check_part("resize", to.width, to.height, to.part);
  const Order order = order_of(width, height, to);
  if (order == Order::at_once) return order;
  const std::int64_t between =
      order == Order::rows_first ? std::int64_t{width} * to.height : std::int64_t{to.width} * height;
  if (between > kMaxPixels) {
    bad_argument("resize", "from ", width, " x ", height, " to ", to.width, " x ", to.height, " takes ", between,
                 " pixels in between, at most ", kMaxPixels, " are accepted");
  }
  return order;
}

Image resize_at_once(const Image& image, const Resizing& to) {
  const auto& [width, height, filter, part] = to;
  const Span across{part.left, part.width}, down{part.top, part.height};
  const bool same_width = width == image.width, same_height = height == image.height;
  if (same_width && same_height) return crop(image, part.left, part.top, part.width, part.height);
  if (filter == ResizeFilter::nearest) {
    return crop(resize_nearest(image, width, height), part.left, part.top, part.width, part.height);
  }
  if (same_height) return resample_columns(image, coefficients(image.width, width, filter, across), down);
  return resample_rows(image, coefficients(image.height, height, filter, down), across);
}

Image resize_rows_first(const Image& image, const Resizing& to) {
  const auto& [width, height, filter, part] = to;
  Coefficients columns = coefficients(image.width, width, filter, {part.left, part.width});
  const Span needed = columns.needed();
  const Image low = resample_rows(image, coefficients(image.height, height, filter, {part.top, part.height}), needed);
  columns.begin_later(needed.first);
  return resample_columns(low, columns, {0, low.height});
}

/// `narrow` makes of the rows that are needed, of a picture of width x height, those of the result's width.
template <typename Narrow>
Image resize_columns_first(int width, int height, const Resizing& to, const Narrow& narrow) {
  const Rectangle& part = to.part;
  Coefficients rows = coefficients(height, to.height, to.filter, {part.top, part.height});
  const Span needed = rows.needed();
  rows.begin_later(needed.first);
  ColumnResampler columns(coefficients(width, to.width, to.filter, {part.left, part.width}));
  Image between{part.width, needed.count, {}};
  between.pixels.resize(rgb_bytes(between.width, between.height));
  narrow(columns, needed, between.pixels.data());
  return resample_rows(between, rows, {0, between.width});
}

}  // namespace

Image resize(const Image& image, int width, int height, ResizeFilter filter) {
  return resize(image, {width, height, filter, {0, 0, width, height}});
}

Image resize(const Image& image, const Resizing& to) {
  check_image("resize", image);
  switch (checked_order(image.width, image.height, to)) {
    case Order::at_once:
      return resize_at_once(image, to);
    case Order::rows_first:
      return resize_rows_first(image, to);
    case Order::columns_first:
      break;
  }
  return resize_columns_first(
      image.width, image.height, to,
      [&](ColumnResampler& columns, Span needed, std::uint8_t* out) { columns.resample(image, needed, out); });
}

Image detail::resize_rows(int width, int height, const Resizing& to, const std::function<void(std::uint8_t*)>& next) {
  const bool by_bands = checked_order(width, height, to) == Order::columns_first;
  Image band{width, by_bands ? std::min(kBand, height) : height, {}};
  band.pixels.resize(rgb_bytes(band.width, band.height));
  const auto read = [&](int count) {
    for (int y = 0; y < count; ++y) next(band.pixels.data() + rgb_bytes(width, y));
  };
  if (!by_bands) {
    read(height);
    return resize(band, to);
  }
  const auto narrow = [&](ColumnResampler& columns, Span needed, std::uint8_t* out) {
    for (int y = 0; y < height; y += band.height) {
      const int count = std::min(band.height, height - y);
      read(count);
      const int first = std::max(y, needed.first), end = std::min(y + count, needed.first + needed.count);
      if (first >= end) continue;
      columns.resample(band, {first - y, end - first}, out + rgb_bytes(to.part.width, first - needed.first));
    }
  };
  return resize_columns_first(width, height, to, narrow);
}

Image crop(const Image& image, int left, int top, int width, int height) {
  check_image("crop", image);
  check_part("crop", image.width, image.height, {left, top, width, height});
  Image result{width, height, {}};
  result.pixels.reserve(rgb_bytes(width, height));
  for (int y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + static_cast<std::ptrdiff_t>(rgb_bytes(image.width, y) + rgb_bytes(left, 1));
    result.pixels.insert(result.pixels.end(), row, row + static_cast<std::ptrdiff_t>(rgb_bytes(width, 1)));
  }
  return result;
}

}  // namespace trine
