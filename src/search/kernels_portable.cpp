// For every processor: what the compiler makes of arrays of four.

#include <cstddef>
#include <cstdint>

#include "search/half.h"
#include "search/kernels.h"

#define TRINE_TARGET

namespace trine::detail {
namespace {

struct Isa {
  static constexpr std::size_t kLanes = 4, kPanel = 16, kRows = 2;
  struct Vector {
    float lanes[kLanes];
  };

  static Vector zero() { return {}; }
  static Vector all(float value) { return {value, value, value, value}; }
  static Vector load(const float* from) { return {from[0], from[1], from[2], from[3]}; }
  static Vector load(const Half* from) {
    return {float_of(from[0]), float_of(from[1]), float_of(from[2]), float_of(from[3])};
  }
  static float load_one(const float* from) { return *from; }
  static float load_one(const Half* from) { return float_of(*from); }
  static void store(float* to, Vector vector) {
    for (std::size_t i = 0; i < kLanes; ++i) to[i] = vector.lanes[i];
  }
  static Vector add(Vector a, Vector b) {
    for (std::size_t i = 0; i < kLanes; ++i) a.lanes[i] += b.lanes[i];
    return a;
  }
  static Vector fma(Vector a, Vector b, Vector sum) {
    for (std::size_t i = 0; i < kLanes; ++i) sum.lanes[i] += a.lanes[i] * b.lanes[i];
    return sum;
  }
  static float sum(Vector v) { return (v.lanes[0] + v.lanes[2]) + (v.lanes[1] + v.lanes[3]); }
  static std::uint32_t at_least(Vector a, Vector b) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < kLanes; ++i) bits |= static_cast<std::uint32_t>(a.lanes[i] >= b.lanes[i]) << i;
    return bits;
  }
};

std::int32_t sum_of_codes(const std::int8_t* query, const std::uint8_t* row, std::size_t stride) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < stride; ++i) sum += query[i] * row[i];
  return sum;
}

void score_codes(const std::int8_t* query, const std::uint8_t* rows, std::size_t count, std::size_t stride,
                 std::int32_t* sums) {
  for (std::size_t row = 0; row < count; ++row) sums[row] = sum_of_codes(query, rows + row * stride, stride);
}

void score_codes_at(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride,
                    const std::uint32_t* picked, std::size_t count, std::int32_t* sums) {
  for (std::size_t i = 0; i < count; ++i) sums[i] = sum_of_codes(query, codes + picked[i] * stride, stride);
}

}  // namespace
}  // namespace trine::detail

#include "search/kernels_inline.h"

namespace trine::detail {

constexpr Kernels kPortableKernels{.name = "portable",
                                   .panel = Isa::kPanel,
                                   .score_floats = score_rows<float>,
                                   .score_halves = score_rows<Half>,
                                   .score_codes = score_codes,
                                   .score_codes_at = score_codes_at,
                                   .panel_floats = panel_floats,
                                   .panel_codes = nullptr,
                                   .widen = widen};

}  // namespace trine::detail
