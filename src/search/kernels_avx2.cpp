// AVX2 with FMA and F16C: processors since 2013.

#ifdef __x86_64__

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "search/kernels.h"

#define TRINE_TARGET [[gnu::target("avx2,fma,f16c")]]
#define TRINE_INLINE [[gnu::target("avx2,fma,f16c"), gnu::always_inline]] static inline

namespace trine::detail {
namespace {

struct Isa {
  static constexpr std::size_t kLanes = 8, kPanel = 16, kRows = 6;
  using Vector = __m256;

  TRINE_INLINE Vector zero() { return _mm256_setzero_ps(); }
  TRINE_INLINE Vector all(float value) { return _mm256_set1_ps(value); }
  TRINE_INLINE Vector load(const float* from) { return _mm256_loadu_ps(from); }
  TRINE_INLINE Vector load(const Half* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  TRINE_INLINE float load_one(const float* from) { return *from; }
  TRINE_INLINE float load_one(const Half* from) { return _cvtsh_ss(*from); }
  TRINE_INLINE void store(float* to, Vector vector) { _mm256_storeu_ps(to, vector); }
  TRINE_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  TRINE_INLINE Vector fma(Vector a, Vector b, Vector sum) { return _mm256_fmadd_ps(a, b, sum); }
  TRINE_INLINE float sum(Vector vector) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps(vector, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  TRINE_INLINE std::uint32_t at_least(Vector a, Vector b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  }
};

/// 16 bits hold each product and 32 their sums; the one instruction for bytes would saturate.
TRINE_INLINE std::int32_t sum_of_codes(const std::int8_t* query, const std::uint8_t* row, std::size_t stride) {
  __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (std::size_t i = 0; i < stride; i += 32) {
#pragma GCC unroll 2
    for (std::size_t part = 0; part < 2; ++part) {
      const __m256i codes =
          _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i + 16 * part)));
      const __m256i asked =
          _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(query + i + 16 * part)));
      sums[part] = _mm256_add_epi32(sums[part], _mm256_madd_epi16(codes, asked));
    }
  }
  const __m256i eight = _mm256_add_epi32(sums[0], sums[1]);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

TRINE_TARGET void score_codes(const std::int8_t* query, const std::uint8_t* rows, std::size_t count, std::size_t stride,
                              std::int32_t* sums) {
  for (std::size_t row = 0; row < count; ++row) sums[row] = sum_of_codes(query, rows + row * stride, stride);
}

TRINE_TARGET void score_codes_at(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride,
                                 const std::uint32_t* picked, std::size_t count, std::int32_t* sums) {
  for (std::size_t i = 0; i < count; ++i) sums[i] = sum_of_codes(query, codes + picked[i] * stride, stride);
}

}  // namespace
}  // namespace trine::detail

#include "search/kernels_inline.h"

namespace trine::detail {

constexpr Kernels kAvx2Kernels{.name = "avx2",
                               .panel = Isa::kPanel,
                               .score_floats = score_rows<float>,
                               .score_halves = score_rows<Half>,
                               .score_codes = score_codes,
                               .score_codes_at = score_codes_at,
                               .panel_floats = panel_floats,
                               .panel_codes = nullptr,
                               .widen = widen};

}  // namespace trine::detail

#endif
