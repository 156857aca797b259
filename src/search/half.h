#pragma once

#include <bit>
#include <cstdint>

#include "search/kernels.h"

namespace trine::detail {

inline constexpr float kLargestHalf = 65504;

/// IEEE 754 binary16 to binary32, exact.
inline float float_of(Half half) {
  constexpr std::uint32_t kInfinity = 0x7c00u << 13;
  std::uint32_t bits = (half & 0x7fffu) << 13;  // exponent and mantissa where a float has them
  const std::uint32_t exponent = bits & kInfinity;
  bits += (127u - 15u) << 23;
  if (exponent == kInfinity) bits += (128u - 16u) << 23;  // infinity or NaN
  if (exponent == 0) {                                    // zero or subnormal: let the float unit normalise it
    bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(bits + (1u << 23)) - std::bit_cast<float>(113u << 23));
  }
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

/// To the nearest, ties to even; for |value| <= kLargestHalf.
inline Half half_of(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits < 113u << 23) {  // subnormal as a half: adding 0.5 puts the bits that stay at the end, rounded
    const float aligned = std::bit_cast<float>(bits) + 0.5f;
    return static_cast<Half>(sign | (std::bit_cast<std::uint32_t>(aligned) - std::bit_cast<std::uint32_t>(0.5f)));
  }
  const std::uint32_t odd = bits >> 13 & 1u;
  bits += ((15u - 127u) << 23) + 0xfffu + odd;
  return static_cast<Half>(sign | bits >> 13);
}

}  // namespace trine::detail
