#include "search/rows.h"

#include <bit>
#include <cmath>
#include <limits>

#include "detail/cpu.h"

namespace trine::detail {

namespace {

// Sums kept apart in a dot product: four 256-bit registers, enough to hide the latency of an addition.
constexpr std::size_t kLanes = 16;

[[gnu::always_inline]] inline float exact_score_inline(const double* query, const float* values, std::size_t dim) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  double sums[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
#pragma GCC unroll 16
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += query[i + lane] * static_cast<double>(values[i + lane]);
    }
  }
  for (std::size_t lane = 0; i + lane < dim; ++lane) {
    sums[lane] += query[i + lane] * static_cast<double>(values[i + lane]);
  }
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
  }
  return static_cast<float>(std::clamp(sums[0], -kLargest, kLargest));
}

/// Bits of magnitudes are in the order of the magnitudes, and integers may be compared in any order.
[[gnu::always_inline]] inline float largest_inline(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
  return std::bit_cast<float>(largest);
}

[[gnu::always_inline]] inline float quantise_inline(std::span<const float> values, std::int8_t* codes,
                                                    std::size_t stride) {
  constexpr double kLargestCode = 127;
  const float largest = largest_inline(values);
  std::fill(codes + values.size(), codes + stride, std::int8_t{0});
  if (largest == 0) {
    std::fill(codes, codes + values.size(), std::int8_t{0});
    return 0;
  }
  const double factor = kLargestCode / static_cast<double>(largest);
  for (std::size_t i = 0; i < values.size(); ++i) {
    codes[i] = static_cast<std::int8_t>(static_cast<int>(std::rint(static_cast<double>(values[i]) * factor)));
  }
  return static_cast<float>(static_cast<double>(largest) / kLargestCode);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] float quantise_avx2(std::span<const float> values, std::int8_t* codes, std::size_t stride) {
  return quantise_inline(values, codes, stride);
}

[[gnu::target("avx2")]] float exact_score_avx2(const double* query, const float* values, std::size_t dim) {
  return exact_score_inline(query, values, dim);
}
#endif

}  // namespace

float exact_score(const double* query, const float* values, std::size_t dim) {
#ifdef __x86_64__
  if (instructions() >= Instructions::avx2) return exact_score_avx2(query, values, dim);
#endif
  return exact_score_inline(query, values, dim);
}

float quantise(std::span<const float> values, std::int8_t* codes, std::size_t stride) {
#ifdef __x86_64__
  if (instructions() >= Instructions::avx2) return quantise_avx2(values, codes, stride);
#endif
  return quantise_inline(values, codes, stride);
}

Rows::Rows(std::size_t values, VectorType scanned, std::optional<VectorType> kept) : dim(values) {
  const auto wanted = [&](VectorType precision) { return scanned == precision || kept == precision; };
  has_floats = wanted(VectorType::fp32);
  has_halves = wanted(VectorType::fp16);
  has_codes = wanted(VectorType::int8);
}

template <typename Function>
void Rows::each_column(Function function) {
  if (has_floats) function(floats, dim);
  if (has_halves) function(halves, dim);
  if (has_codes) function(codes, stride());
  if (has_codes) function(scales, std::size_t{1});
}

void Rows::resize(std::size_t rows) {
  each_column([&](auto& column, std::size_t width) { column.resize(rows * width); });
  count = rows;
}

void Rows::add(std::span<const float> values) {
  try {
    resize(count + 1);
  } catch (...) {
    resize(count);  // shrinking takes no memory
    throw;
  }
  set(count - 1, values);
}

void Rows::set(std::size_t row, std::span<const float> values) {
  if (has_floats) std::ranges::copy(values, floats.change() + row * dim);
  if (has_halves) std::ranges::transform(values, halves.change() + row * dim, half_of);
  if (has_codes) {
    std::uint8_t* to = codes.change() + row * stride();
    scales.change()[row] = quantise(values, reinterpret_cast<std::int8_t*>(to), stride());
    for (std::size_t i = 0; i < stride(); ++i) to[i] ^= 0x80;
  }
  note_norm(row);
}

void Rows::copy(std::size_t from, std::size_t to) {
  each_column([&](auto& column, std::size_t width) {
    auto* values = column.change();
    std::copy_n(values + from * width, width, values + to * width);
  });
}

std::span<const float> Rows::read(std::size_t row, std::vector<float>& buffer) const {
  if (has_floats) return {floats.data() + row * dim, dim};
  buffer.resize(dim);
  if (has_halves) {
    kernels().widen(halves.data() + row * dim, dim, buffer.data());
  } else {
    const std::uint8_t* from = codes.data() + row * stride();
    constexpr float kLargest = std::numeric_limits<float>::max();  // which the largest code may exceed by its rounding
    for (std::size_t i = 0; i < dim; ++i) {
      buffer[i] = std::clamp(static_cast<float>(from[i] - 128) * scales.data()[row], -kLargest, kLargest);
    }
  }
  return buffer;
}

void Rows::prefetch(std::size_t row) const {
  if (has_floats) {
    fetch_ahead(floats.data() + row * dim, dim * sizeof(float));
  } else if (has_halves) {
    fetch_ahead(halves.data() + row * dim, dim * sizeof(Half));
  }
}

void Rows::note_norm(std::size_t row) {
  thread_local std::vector<float> buffer;
  double sums[4] = {};
  const std::span<const float> values = read(row, buffer);
  for (std::size_t i = 0; i < values.size(); ++i) {
    sums[i % 4] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  largest_norm = std::max(largest_norm, std::sqrt((sums[0] + sums[1]) + (sums[2] + sums[3])));
}

void Rows::make_codes() {
  if (has_codes) return;
  codes.resize(count * stride());
  scales.resize(count);
  std::vector<float> buffer;
  for (std::size_t row = 0; row < count; ++row) {
    std::uint8_t* to = codes.change() + row * stride();
    scales.change()[row] = quantise(read(row, buffer), reinterpret_cast<std::int8_t*>(to), stride());
    for (std::size_t i = 0; i < stride(); ++i) to[i] ^= 0x80;
  }
  has_codes = true;
}

void Rows::drop_codes() {
  codes = {};
  scales = {};
  has_codes = false;
}

}  // namespace trine::detail
