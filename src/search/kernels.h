#pragma once

#include <cstddef>
#include <cstdint>

namespace trine::detail {

/// Rows of half-precision floats are kept as their bits.
using Half = std::uint16_t;

/// What a scan reads next is asked for this many bytes ahead, across the pages at which the processor's guess ends.
inline constexpr std::size_t kAhead = 4096;

/// The loops that read the vectors, once for each instruction set. Float scores may differ in their last bits from one
/// to the next: they choose candidates, within a bound (scan.h), and never reach the caller. Sums of codes are exact.
struct Kernels {
  const char* name;
  std::size_t panel;  ///< most queries of a panel; panels have 16 or this many

  /// query (dim) . rows (count, dim) -> scores (count)
  void (*score_floats)(const float* query, const float* rows, std::size_t count, std::size_t dim, float* scores);
  void (*score_halves)(const float* query, const Half* rows, std::size_t count, std::size_t dim, float* scores);
  /// The same for codes, `stride` (a multiple of 64) of a row: sum of query x code, at most 2^31 in magnitude.
  void (*score_codes)(const std::int8_t* query, const std::uint8_t* rows, std::size_t count, std::size_t stride,
                      std::int32_t* sums);
  /// Of rows here and there: codes + picked[i] * stride.
  void (*score_codes_at)(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride,
                         const std::uint32_t* picked, std::size_t count, std::int32_t* sums);

  /// panel (dim, width), queries side by side, . rows (count, dim) -> scores (count, width). Bit q of hits[row] tells
  /// that scores[row][q] >= thresholds[q].
  void (*panel_floats)(const float* panel, std::size_t width, const float* rows, std::size_t count, std::size_t dim,
                       const float* thresholds, float* scores, std::uint32_t* hits);
  /// panel (stride / 4, width, 4): (sum - offsets[q]) * scales[row]; null where nothing is won by it.
  void (*panel_codes)(const std::int8_t* panel, std::size_t width, const std::uint8_t* rows, std::size_t count,
                      std::size_t stride, const std::int32_t* offsets, const float* scales, const float* thresholds,
                      float* scores, std::uint32_t* hits);

  void (*widen)(const Half* from, std::size_t count, float* to);
};

extern const Kernels kPortableKernels;
#ifdef __x86_64__
extern const Kernels kAvx2Kernels;    // with FMA and F16C
extern const Kernels kAvx512Kernels;  // with BW, DQ, VL and VNNI
#endif

/// The fastest that this processor has. TRINE_SEARCH_KERNELS=portable, avx2 or avx512 in the environment asks for less
/// (or the same): std::invalid_argument for another name or what the processor lacks. Read once.
const Kernels& kernels();

/// The same by name, or null where it is not to be had.
const Kernels* kernels_named(const char* name);

}  // namespace trine::detail
