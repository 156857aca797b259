#include "input/detail/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#ifdef __x86_64__
#include <immintrin.h>
#endif

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
constexpr int kRows = 4;  ///< go through the columns' loop together

constexpr int kLanes = 16;  ///< sums side by side

using Sums = std::int32_t __attribute__((vector_size(4 * kLanes)));

namespace portable {
inline void add_weighted(Sums& sums, const std::uint8_t* in, std::int32_t weight) {
  for (int i = 0; i < kLanes; ++i) sums[i] += in[i] * weight;
}
inline void narrow(const Sums& values, std::uint8_t* out) {
  for (int i = 0; i < kLanes; ++i) out[i] = static_cast<std::uint8_t>(values[i]);
}
#include "input/detail/resample_loops.h"
}  // namespace portable

// GCC turns loops like those above into single bytes also where the machine has an instruction.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TRINE_RESAMPLE_X86 1
#pragma GCC push_options
#pragma GCC target("avx2")
namespace avx2 {
inline void add_weighted(Sums& sums, const std::uint8_t* in, std::int32_t weight) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  const __m256i halves[2] = {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
  Sums wide;
  std::memcpy(&wide, halves, sizeof wide);
  sums += wide * weight;
}
inline void narrow(const Sums& values, std::uint8_t* out) {
  __m256i halves[2];
  std::memcpy(halves, &values, sizeof halves);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves[0], halves[1]), 0xD8);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
}
#include "input/detail/resample_loops.h"
}  // namespace avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx2")
namespace avx512 {
inline void add_weighted(Sums& sums, const std::uint8_t* in, std::int32_t weight) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  sums += reinterpret_cast<Sums>(_mm512_maskz_cvtepu8_epi32(0xFFFF, bytes)) * weight;
}
inline void narrow(const Sums& values, std::uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm512_maskz_cvtepi32_epi8(0xFFFF, reinterpret_cast<__m512i>(values)));
}
#include "input/detail/resample_loops.h"
}  // namespace avx512
#pragma GCC pop_options
#endif

struct Loops {
  decltype(&portable::columns_of) columns = portable::columns_of;
  decltype(&portable::row_of) row = portable::row_of;
};

Loops loops_of([[maybe_unused]] Instructions with) {
#ifdef TRINE_RESAMPLE_X86
  if (with >= Instructions::avx512) return {avx512::columns_of, avx512::row_of};
  if (with == Instructions::avx2) return {avx2::columns_of, avx2::row_of};
#endif
  return {};
}

}  // namespace

Image resample_columns(const Image& image, const Coefficients& columns, Span rows) {
  return resample_columns(image, columns, rows, instructions());
}

Image resample_rows(const Image& image, const Coefficients& rows, Span columns) {
  return resample_rows(image, rows, columns, instructions());
}

Image resample_columns(const Image& image, const Coefficients& columns, Span rows, Instructions with) {
  const auto loop = loops_of(with).columns;
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
    loop(packed.data(), columns.windows.data(), columns.windows.size(), columns.values.data(), columns.stride,
         made.data());
    for (int r = 0; r < together; ++r) {
      std::uint8_t* out = result.pixels.data() + rgb_bytes(result.width, y + r);
      const std::uint8_t* from = made.data() + 4 * r;
      for (int x = 0; x < result.width; ++x) std::memcpy(out + 3 * x, from + x * kLanes, 3);
    }
  }
  return result;
}

Image resample_rows(const Image& image, const Coefficients& rows, Span columns, Instructions with) {
  const auto loop = loops_of(with).row;
  Image result{columns.count, static_cast<int>(rows.windows.size()), {}};
  const std::size_t bytes = rgb_bytes(columns.count, 1), stride = rgb_bytes(image.width, 1);
  result.pixels.resize(bytes * rows.windows.size());
  const std::size_t whole = bytes / kLanes * kLanes, rest = bytes - whole;
  std::vector<std::uint8_t> last, made(kLanes);  // the bytes of each row that fill no vector
  for (std::size_t y = 0; y < rows.windows.size(); ++y) {
    const auto [first, count] = rows.windows[y];
    const std::uint8_t* in = image.pixels.data() + rgb_bytes(image.width, first) + rgb_bytes(columns.first, 1);
    std::uint8_t* out = result.pixels.data() + y * bytes;
    loop(in, stride, rows.of(y), count, whole, out);
    if (rest == 0) continue;
    last.assign(static_cast<std::size_t>(count) * kLanes, 0);
    for (int k = 0; k < count; ++k) {
      std::memcpy(last.data() + k * kLanes, in + static_cast<std::size_t>(k) * stride + whole, rest);
    }
    loop(last.data(), kLanes, rows.of(y), count, kLanes, made.data());
    std::memcpy(out + whole, made.data(), rest);
  }
  return result;
}

}  // namespace trine::detail
