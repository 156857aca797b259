#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "trine/input/image.h"

namespace trine::detail {

/// Bits after the point of a weight: 32, less 8 for a pixel, less 2 for weights beyond 1 and the sign.
constexpr int kWeightBits = 32 - 8 - 2;

/// `count` pixels of a row or column from `first` on.
struct Span {
  int first = 0;
  int count = 0;
};

/// For each target pixel of one direction the source pixels it is made of and their weights.
struct Coefficients {
  std::vector<Span> windows;
  std::vector<std::int32_t> values;  ///< `stride` for each target pixel, of which its window's count is used
  std::size_t stride = 0;

  const std::int32_t* of(std::size_t target) const { return values.data() + target * stride; }
  /// From the first source pixel that any target needs to the last. There must be a target.
  Span needed() const;
  /// As for a source that begins `pixels` later.
  void begin_later(int pixels);
};

/// Those of the target pixels in `part`, of `target` from `source` pixels. Pillow's arithmetic, with its order and
/// rounding (precompute_coeffs and normalize_coeffs_8bpc of Resample.c).
Coefficients coefficients(int source, int target, ResizeFilter filter, Span part);

}  // namespace trine::detail
