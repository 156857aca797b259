#include "input/detail/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "detail/error.h"
#include "input/detail/pixels.h"

namespace trine::detail {

// --- coefficients ----------------------------------------------------------------------------------------------------

namespace {

/// Bits after the point of a coefficient: 32, less 8 for a pixel, less 2 for coefficients beyond 1 and the sign.
constexpr int kPrecision = 32 - 8 - 2;

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

}  // namespace

Span Coefficients::needed() const {
  int end = 0;
  for (const Span& window : windows) end = std::max(end, window.first + window.count);
  return {windows.front().first, end - windows.front().first};
}

void Coefficients::begin_later(int pixels) {
  for (Span& window : windows) window.first -= pixels;
}

Coefficients coefficients(int source, int target, ResizeFilter filter, Span part) {
  const Kernel kernel = kernel_of(filter);
  const double scale = static_cast<double>(source) / target;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kernel.support * filter_scale;
  const double inverse = 1.0 / filter_scale;

  Coefficients result;
  result.stride = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  result.windows.resize(static_cast<std::size_t>(part.count));
  result.values.resize(result.windows.size() * result.stride);
  std::vector<double> weights(result.stride);
  for (std::size_t i = 0; i < result.windows.size(); ++i) {
    const double centre = (part.first + static_cast<double>(i) + 0.5) * scale;
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

// --- the two passes --------------------------------------------------------------------------------------------------

namespace {

constexpr std::int32_t kHalf = 1 << (kPrecision - 1);
constexpr int kLanes = 16;  ///< sums side by side
constexpr int kRows = 4;    ///< of four bytes each in the lanes: red, green, blue and one that is not used

using Bytes16 = std::uint8_t __attribute__((vector_size(kLanes)));
using Sums = std::int32_t __attribute__((vector_size(4 * kLanes)));

/// Both passes are written once, in vectors of the compiler's, and compiled for several instruction sets.
#define TRINE_INLINE [[gnu::always_inline]] inline

TRINE_INLINE void store_clipped(const Sums& sums, std::uint8_t* out) {
  Sums value = sums >> kPrecision;
  value = value < 0 ? Sums{} : value;
  value = value > 255 ? Sums{} + 255 : value;
  const Bytes16 bytes = __builtin_convertvector(value, Bytes16);
  std::memcpy(out, &bytes, sizeof bytes);
}

TRINE_INLINE void add_weighted(Sums& sums, const std::uint8_t* in, std::int32_t weight) {
  Bytes16 bytes;
  std::memcpy(&bytes, in, sizeof bytes);
  sums += __builtin_convertvector(bytes, Sums) * weight;
}

/// `packed`: for each source pixel its colours in kRows rows, four bytes each. `out`: the same for each target pixel.
TRINE_INLINE void columns_of(const std::uint8_t* packed, const Coefficients& columns, std::uint8_t* out) {
  for (std::size_t x = 0; x < columns.windows.size(); ++x) {
    const auto [first, count] = columns.windows[x];
    const std::int32_t* weights = columns.of(x);
    const std::uint8_t* in = packed + static_cast<std::ptrdiff_t>(first) * kLanes;
    Sums sums = Sums{} + kHalf;
    for (int k = 0; k < count; ++k) add_weighted(sums, in + k * kLanes, weights[k]);
    store_clipped(sums, out + x * kLanes);
  }
}

/// `count` rows of `bytes` bytes, `stride` apart, to one row. `out` has room for whole vectors.
TRINE_INLINE void row_of(const std::uint8_t* in, std::size_t stride, const std::int32_t* weights, int count,
                         std::size_t bytes, std::uint8_t* out) {
  for (std::size_t i = 0; i < bytes; i += kLanes) {
    Sums sums = Sums{} + kHalf;
    for (int k = 0; k < count; ++k) add_weighted(sums, in + static_cast<std::size_t>(k) * stride + i, weights[k]);
    store_clipped(sums, out + i);
  }
}

struct Passes {
  void (*columns)(const std::uint8_t*, const Coefficients&, std::uint8_t*);
  void (*row)(const std::uint8_t*, std::size_t, const std::int32_t*, int, std::size_t, std::uint8_t*);
};

constexpr Passes kPortable{
    [](const std::uint8_t* packed, const Coefficients& columns, std::uint8_t* out) {
      columns_of(packed, columns, out);
    },
    [](const std::uint8_t* in, std::size_t stride, const std::int32_t* weights, int count, std::size_t bytes,
       std::uint8_t* out) { row_of(in, stride, weights, count, bytes, out); }};

#ifdef __x86_64__

[[gnu::target("avx2")]] void columns_avx2(const std::uint8_t* packed, const Coefficients& columns, std::uint8_t* out) {
  columns_of(packed, columns, out);
}

[[gnu::target("avx2")]] void row_avx2(const std::uint8_t* in, std::size_t stride, const std::int32_t* weights,
                                      int count, std::size_t bytes, std::uint8_t* out) {
  row_of(in, stride, weights, count, bytes, out);
}

[[gnu::target("avx512f,avx512bw,avx512vl")]] void columns_avx512(const std::uint8_t* packed,
                                                                 const Coefficients& columns, std::uint8_t* out) {
  columns_of(packed, columns, out);
}

[[gnu::target("avx512f,avx512bw,avx512vl")]] void row_avx512(const std::uint8_t* in, std::size_t stride,
                                                             const std::int32_t* weights, int count, std::size_t bytes,
                                                             std::uint8_t* out) {
  row_of(in, stride, weights, count, bytes, out);
}

Passes passes_of(Instructions with) {
  if (with == Instructions::avx512) return {columns_avx512, row_avx512};
  return with == Instructions::avx2 ? Passes{columns_avx2, row_avx2} : kPortable;
}

#else

Passes passes_of(Instructions) { return kPortable; }

#endif

}  // namespace

Instructions instructions() {
#ifdef __x86_64__
  static const Instructions best =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
          ? Instructions::avx512
      : __builtin_cpu_supports("avx2") ? Instructions::avx2
                                       : Instructions::portable;
  return best;
#else
  return Instructions::portable;
#endif
}

Image resample_columns(const Image& image, const Coefficients& columns, Span rows) {
  return resample_columns(image, columns, rows, instructions());
}

Image resample_rows(const Image& image, const Coefficients& rows, Span columns) {
  return resample_rows(image, rows, columns, instructions());
}

Image resample_columns(const Image& image, const Coefficients& columns, Span rows, Instructions with) {
  const auto pass = passes_of(with).columns;
  Image result{static_cast<int>(columns.windows.size()), rows.count, {}};
  result.pixels.resize(rgb_bytes(result.width, result.height));
  const Span needed = columns.needed();
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(needed.first + needed.count) * kLanes);
  std::vector<std::uint8_t> made(columns.windows.size() * kLanes);
  for (int y = 0; y < rows.count; y += kRows) {
    const int together = std::min(kRows, rows.count - y);
    for (int r = 0; r < together; ++r) {
      const std::uint8_t* in = image.pixels.data() + rgb_bytes(image.width, rows.first + y + r);
      std::uint8_t* to = packed.data() + 4 * r;
      for (int x = needed.first; x < needed.first + needed.count; ++x) std::memcpy(to + x * kLanes, in + 3 * x, 3);
    }
    pass(packed.data(), columns, made.data());
    for (int r = 0; r < together; ++r) {
      std::uint8_t* out = result.pixels.data() + rgb_bytes(result.width, y + r);
      const std::uint8_t* from = made.data() + 4 * r;
      for (int x = 0; x < result.width; ++x) std::memcpy(out + 3 * x, from + x * kLanes, 3);
    }
  }
  return result;
}

Image resample_rows(const Image& image, const Coefficients& rows, Span columns, Instructions with) {
  const auto pass = passes_of(with).row;
  Image result{columns.count, static_cast<int>(rows.windows.size()), {}};
  const std::size_t bytes = rgb_bytes(columns.count, 1), stride = rgb_bytes(image.width, 1);
  result.pixels.resize(bytes * rows.windows.size());
  const std::size_t whole = bytes / kLanes * kLanes, rest = bytes - whole;
  std::vector<std::uint8_t> last, made(kLanes);  // the bytes of each row that fill no vector
  for (std::size_t y = 0; y < rows.windows.size(); ++y) {
    const auto [first, count] = rows.windows[y];
    const std::uint8_t* in = image.pixels.data() + rgb_bytes(image.width, first) + rgb_bytes(columns.first, 1);
    std::uint8_t* out = result.pixels.data() + y * bytes;
    pass(in, stride, rows.of(y), count, whole, out);
    if (rest == 0) continue;
    last.assign(static_cast<std::size_t>(count) * kLanes, 0);
    for (int k = 0; k < count; ++k) {
      std::memcpy(last.data() + k * kLanes, in + static_cast<std::size_t>(k) * stride + whole, rest);
    }
    pass(last.data(), kLanes, rows.of(y), count, kLanes, made.data());
    std::memcpy(out + whole, made.data(), rest);
  }
  return result;
}

}  // namespace trine::detail
