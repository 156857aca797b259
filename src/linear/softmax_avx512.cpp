// Softmax on AVX-512, which takes a power of two apart and puts it together in one instruction each.

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
#include "linear/softmax_avx512.h"

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

}  // namespace

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
