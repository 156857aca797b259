// Loops for AVX-512 where it has instructions that compilers do not find: a power of two is taken apart and put
// together in one each, numbers become bytes in one, a row's end is a mask.

#ifdef __x86_64__

#include <immintrin.h>

// GCC 12 takes what its own headers leave undefined on purpose for a mistake (PR 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "linear/rows.h"
#include "linear/rows_avx512.h"

#define TRINE_TARGET [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]]
#define TRINE_INLINE [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"), gnu::always_inline]] static inline

namespace trine::detail {

namespace {

/// 2^x within 1.3e-7 of its value: kDegree 5; within 7.5e-5: kDegree 3. 0 for what is far below.
template <int kDegree>
TRINE_INLINE __m512 powers_of_two(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);  // from the next lower integer, which scalef takes
  __m512 power;
  if constexpr (kDegree == 5) {
    power = _mm512_fmadd_ps(_mm512_set1_ps(0.00187757667f), f, _mm512_set1_ps(0.00898934009f));
    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(0.0558263181f));
    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(0.240153617f));
    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(0.693153073f));
    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(0.999999925f));
  } else {
    power = _mm512_fmadd_ps(_mm512_set1_ps(0.0780245226f), f, _mm512_set1_ps(0.226067155f));
    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(0.69583354f));
    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(0.999925219f));
  }
  return _mm512_scalef_ps(power, x);
}

/// Of the 16 lanes from i on those below n.
TRINE_INLINE __mmask16 lanes_below(std::int64_t i, std::int64_t n) {
  return static_cast<__mmask16>(n - i >= 16 ? 0xffff : (1u << std::max<std::int64_t>(0, n - i)) - 1);
}

/// 0 beyond n.
TRINE_INLINE __m512 load_below(const float* x, std::int64_t i, std::int64_t n) {
  return _mm512_maskz_loadu_ps(lanes_below(i, n), x + i);
}

}  // namespace

TRINE_TARGET RowScale quantise_avx512(const float* __restrict x, std::int64_t n, std::uint8_t* __restrict bytes) {
  __m512 lows = _mm512_setzero_ps(), highs = lows;
  for (std::int64_t i = 0; i < n; i += 16) {
    const __m512 values = load_below(x, i, n);
    lows = _mm512_min_ps(values, lows);  // the second where the first is no number
    highs = _mm512_max_ps(values, highs);
  }
  const float low = _mm512_reduce_min_ps(lows), high = _mm512_reduce_max_ps(highs);
  const float range = (high - low) / 255.0f;
  const float scale = range > 1e-30f && range < 1e30f ? range : 1.0f;  // a row of zeros; what is not finite
  const float zero = std::trunc(std::min(-low / scale, 255.0f) + 0.5f);
  const __m512 steps = _mm512_set1_ps(1.0f / scale), shift = _mm512_set1_ps(zero + 0.5f);
  for (std::int64_t i = 0; i < n; i += 16) {
    const __m512i values = _mm512_cvttps_epi32(_mm512_fmadd_ps(load_below(x, i, n), steps, shift));
    _mm512_mask_cvtusepi32_storeu_epi8(bytes + i, lanes_below(i, n), _mm512_max_epi32(values, _mm512_setzero_si512()));
  }
  return {scale, scale * zero};
}

TRINE_TARGET SignedRow quantise_signed_avx512(const float* __restrict x, std::int64_t n,
                                              std::int8_t* __restrict bytes) {
  __m512 highs = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < n; i += 16) highs = _mm512_max_ps(_mm512_abs_ps(load_below(x, i, n)), highs);
  const float range = _mm512_reduce_max_ps(highs) / 127.0f;
  const float scale = range > 1e-30f && range < 1e30f ? range : 1.0f;
  const __m512 steps = _mm512_set1_ps(1.0f / scale), half = _mm512_set1_ps(0.5f), sign = _mm512_set1_ps(-0.0f);
  __m512i total = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < n; i += 16) {
    const __m512 values = load_below(x, i, n);
    const __m512 away = _mm512_or_ps(_mm512_and_ps(values, sign), half);  // from zero
    __m512i rounded = _mm512_cvttps_epi32(_mm512_fmadd_ps(values, steps, away));
    rounded = _mm512_max_epi32(_mm512_min_epi32(rounded, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
    total = _mm512_add_epi32(total, rounded);
    _mm512_mask_cvtepi32_storeu_epi8(bytes + i, lanes_below(i, n), rounded);
  }
  return {scale, scale * static_cast<float>(_mm512_reduce_add_epi32(total))};
}

TRINE_TARGET RowSoftmax soften_avx512(float* __restrict scores, std::int64_t n, std::int64_t room) {
  __m512 highs = _mm512_set1_ps(-INFINITY);
  for (std::int64_t i = 0; i < n; i += 16) {
    highs = _mm512_mask_max_ps(highs, lanes_below(i, n), highs, _mm512_loadu_ps(scores + i));
  }
  const float high = _mm512_reduce_max_ps(highs);
  const __m512 base = _mm512_set1_ps(n > 0 ? high : 0.0f), least = _mm512_set1_ps(-100.0f);
  __m512 sums = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < room; i += 16) {
    const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(scores + i), base);
    const __mmask16 kept = _mm512_mask_cmp_ps_mask(lanes_below(i, n), x, least, _CMP_NLT_UQ);
    const __m512 shares = _mm512_maskz_mov_ps(kept, powers_of_two<5>(x));
    _mm512_storeu_ps(scores + i, shares);
    sums = _mm512_add_ps(sums, shares);
  }
  return {high, _mm512_reduce_add_ps(sums)};
}

TRINE_TARGET RowSoftmax soften_bytes_avx512(const std::int32_t* __restrict byte_sums, const RowScale& query,
                                            const float* __restrict key_scales, const float* __restrict key_sums,
                                            std::int64_t n, std::int64_t room, std::uint8_t* __restrict shares) {
  alignas(64) float scores[kMostKeys];  // in steps of the query's scale
  const __m512 zero = _mm512_set1_ps(query.low / query.scale);
  __m512 highs = _mm512_set1_ps(-INFINITY);
  for (std::int64_t i = 0; i < n; i += 16) {
    const __m512 sums = _mm512_cvtepi32_ps(_mm512_loadu_si512(byte_sums + i));
    const __m512 scaled = _mm512_mul_ps(sums, _mm512_loadu_ps(key_scales + i));
    const __m512 found = _mm512_fnmadd_ps(zero, _mm512_loadu_ps(key_sums + i), scaled);
    _mm512_store_ps(scores + i, found);
    highs = _mm512_mask_max_ps(highs, lanes_below(i, n), highs, found);
  }
  const float high = _mm512_reduce_max_ps(highs);
  const __m512 base = _mm512_set1_ps(high), scale = _mm512_set1_ps(query.scale), most = _mm512_set1_ps(7.99435344f);
  __m512i total = _mm512_setzero_si512();
  for (std::int64_t i = 0; i < room; i += 16) {
    const __m512 x = _mm512_fmadd_ps(_mm512_sub_ps(_mm512_load_ps(scores + i), base), scale, most);  // 255 at most
    const __m512i bytes = _mm512_maskz_cvtps_epi32(lanes_below(i, n), powers_of_two<3>(x));
    total = _mm512_add_epi32(total, bytes);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(shares + i), _mm512_cvtusepi32_epi8(bytes));
  }
  return {high * query.scale, static_cast<float>(_mm512_reduce_add_epi32(total)) / 255.0f};
}

}  // namespace trine::detail

#endif
