// AVX-512 with VNNI: Ice Lake, Sapphire Rapids, Zen 4 and later.

#ifdef __x86_64__

#include <immintrin.h>

// GCC 12 takes what its own headers leave undefined on purpose for a mistake (PR 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "search/kernels.h"

#define TRINE_TARGET [[gnu::target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]]
#define TRINE_INLINE \
  [[gnu::target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"), gnu::always_inline]] static inline

namespace trine::detail {
namespace {

struct Isa {
  static constexpr std::size_t kLanes = 16, kPanel = 32, kRows = 12;
  using Vector = __m512;

  TRINE_INLINE Vector zero() { return _mm512_setzero_ps(); }
  TRINE_INLINE Vector all(float value) { return _mm512_set1_ps(value); }
  TRINE_INLINE Vector load(const float* from) { return _mm512_loadu_ps(from); }
  TRINE_INLINE Vector load(const Half* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  TRINE_INLINE float load_one(const float* from) { return *from; }
  TRINE_INLINE float load_one(const Half* from) { return _cvtsh_ss(*from); }
  TRINE_INLINE void store(float* to, Vector vector) { _mm512_storeu_ps(to, vector); }
  TRINE_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  TRINE_INLINE Vector fma(Vector a, Vector b, Vector sum) { return _mm512_fmadd_ps(a, b, sum); }
  TRINE_INLINE float sum(Vector vector) { return _mm512_reduce_add_ps(vector); }
  TRINE_INLINE std::uint32_t at_least(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
};

TRINE_INLINE std::int32_t sum_of_codes(const std::int8_t* query, const std::uint8_t* row, std::size_t stride) {
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  std::size_t i = 0;
  for (; i + 128 <= stride; i += 128) {
#pragma GCC unroll 2
    for (std::size_t part = 0; part < 2; ++part) {
      sums[part] = _mm512_dpbusd_epi32(sums[part], _mm512_loadu_si512(row + i + 64 * part),
                                       _mm512_loadu_si512(query + i + 64 * part));
    }
  }
  if (i < stride) sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_loadu_si512(row + i), _mm512_loadu_si512(query + i));
  return _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
}

TRINE_TARGET void score_codes(const std::int8_t* query, const std::uint8_t* rows, std::size_t count, std::size_t stride,
                              std::int32_t* sums) {
  for (std::size_t row = 0; row < count; ++row) {
    const std::uint8_t* codes = rows + row * stride;
    for (std::size_t at = 0; at < stride; at += 64) __builtin_prefetch(codes + kAhead + at, 0, 2);
    sums[row] = sum_of_codes(query, codes, stride);
  }
}

TRINE_TARGET void score_codes_at(const std::int8_t* query, const std::uint8_t* codes, std::size_t stride,
                                 const std::uint32_t* picked, std::size_t count, std::int32_t* sums) {
  for (std::size_t i = 0; i < count; ++i) sums[i] = sum_of_codes(query, codes + picked[i] * stride, stride);
}

template <std::size_t kRows, std::size_t kVectors>
TRINE_TARGET void code_tile(const std::int8_t* panel, const std::uint8_t* rows, std::size_t stride,
                            const std::int32_t* offsets, const float* scales, const float* thresholds, float* scores,
                            std::uint32_t* hits) {
  constexpr std::size_t kWidth = 16 * kVectors;
  __m512i sums[kRows][kVectors];
#pragma GCC unroll 16
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
    for (std::size_t part = 0; part < kVectors; ++part) sums[row][part] = _mm512_setzero_si512();
  }
  for (std::size_t i = 0; i < stride; i += 4) {
    if (i % 64 == 0) {  // the rows of the next tile
#pragma GCC unroll 16
      for (std::size_t row = 0; row < kRows; ++row) __builtin_prefetch(rows + (kRows + row) * stride + i);
    }
    __m512i queries[kVectors];
#pragma GCC unroll 2
    for (std::size_t part = 0; part < kVectors; ++part) {
      queries[part] = _mm512_loadu_si512(panel + i * kWidth + 64 * part);
    }
#pragma GCC unroll 16
    for (std::size_t row = 0; row < kRows; ++row) {
      std::int32_t four;
      std::memcpy(&four, rows + row * stride + i, sizeof(four));
      const __m512i codes = _mm512_set1_epi32(four);
#pragma GCC unroll 2
      for (std::size_t part = 0; part < kVectors; ++part) {
        sums[row][part] = _mm512_dpbusd_epi32(sums[row][part], codes, queries[part]);
      }
    }
  }
#pragma GCC unroll 16
  for (std::size_t row = 0; row < kRows; ++row) {
    std::uint32_t bits = 0;
#pragma GCC unroll 2
    for (std::size_t part = 0; part < kVectors; ++part) {
      const __m512i sum = _mm512_sub_epi32(sums[row][part], _mm512_loadu_si512(offsets + 16 * part));
      const __m512 score = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scales[row]));
      _mm512_storeu_ps(scores + row * kWidth + 16 * part, score);
      bits |= Isa::at_least(score, _mm512_loadu_ps(thresholds + 16 * part)) << (16 * part);
    }
    hits[row] = bits;
  }
}

template <std::size_t kVectors>
TRINE_TARGET void code_rows(const std::int8_t* panel, const std::uint8_t* rows, std::size_t count, std::size_t stride,
                            const std::int32_t* offsets, const float* scales, const float* thresholds, float* scores,
                            std::uint32_t* hits) {
  constexpr std::size_t kWidth = 16 * kVectors;
  std::size_t row = 0;
  for (; row + Isa::kRows <= count; row += Isa::kRows) {
    code_tile<Isa::kRows, kVectors>(panel, rows + row * stride, stride, offsets, scales + row, thresholds,
                                    scores + row * kWidth, hits + row);
  }
  for (; row < count; ++row) {
    code_tile<1, kVectors>(panel, rows + row * stride, stride, offsets, scales + row, thresholds, scores + row * kWidth,
                           hits + row);
  }
}

TRINE_TARGET void panel_codes(const std::int8_t* panel, std::size_t width, const std::uint8_t* rows, std::size_t count,
                              std::size_t stride, const std::int32_t* offsets, const float* scales,
                              const float* thresholds, float* scores, std::uint32_t* hits) {
  if (width == Isa::kPanel) {
    return code_rows<Isa::kPanel / 16>(panel, rows, count, stride, offsets, scales, thresholds, scores, hits);
  }
  code_rows<1>(panel, rows, count, stride, offsets, scales, thresholds, scores, hits);
}

}  // namespace
}  // namespace trine::detail

#include "search/kernels_inline.h"

namespace trine::detail {

constexpr Kernels kAvx512Kernels{.name = "avx512",
                                 .panel = Isa::kPanel,
                                 .score_floats = score_rows<float>,
                                 .score_halves = score_rows<Half>,
                                 .score_codes = score_codes,
                                 .score_codes_at = score_codes_at,
                                 .panel_floats = panel_floats,
                                 .panel_codes = panel_codes,
                                 .widen = widen};

}  // namespace trine::detail

#endif
