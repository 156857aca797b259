// AVX-512: Skylake-X, Ice Lake, Sapphire Rapids, Zen 4 and later; with VNNI products of bytes too.

#ifdef __x86_64__

#include <immintrin.h>

// GCC 12 takes what its own headers leave undefined on purpose for a mistake (PR 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "linear/tile.h"

#define TRINE_TARGET [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]]
#define TRINE_INLINE \
  [[gnu::target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"), gnu::always_inline]] static inline

namespace trine::detail {
namespace {

struct Floats {
  using Step = float;
  using Sum = float;
  using Vector = __m512;
  static constexpr int kLanes = 16, kMostVectors = 4, kRegisters = 32;

  TRINE_INLINE Vector zero() { return _mm512_setzero_ps(); }
  TRINE_INLINE Vector load(const float* from) { return _mm512_loadu_ps(from); }
  TRINE_INLINE void store(float* to, Vector vector) { _mm512_storeu_ps(to, vector); }
  TRINE_INLINE Vector spread(const float* input) { return _mm512_set1_ps(*input); }
  TRINE_INLINE Vector add(Vector sums, Vector inputs, Vector weights) { return _mm512_fmadd_ps(inputs, weights, sums); }
};

struct Bytes {
  struct Step {
    std::int8_t bytes[4];
  };
  using Sum = std::int32_t;
  using Vector = __m512i;
  static constexpr int kLanes = 16, kMostVectors = 4, kRegisters = 32;

  TRINE_INLINE Vector zero() { return _mm512_setzero_si512(); }
  TRINE_INLINE Vector load(const void* from) { return _mm512_loadu_si512(from); }
  TRINE_INLINE void store(std::int32_t* to, Vector vector) { _mm512_storeu_si512(to, vector); }
  TRINE_INLINE Vector spread(const Step* inputs) { return _mm512_set1_epi32(std::bit_cast<std::int32_t>(*inputs)); }
  TRINE_INLINE Vector add(Vector sums, Vector inputs, Vector weights) {
    return _mm512_dpbusd_epi32(sums, inputs, weights);
  }
};

}  // namespace
}  // namespace trine::detail

#include "linear/tile_inline.h"

namespace trine::detail {

constexpr TileLoops kAvx512Tiles{"avx512", multiply<Floats, float, float>, nullptr};
constexpr TileLoops kAvx512VnniTiles{"avx512vnni", multiply<Floats, float, float>,
                                     multiply<Bytes, std::uint8_t, std::int8_t>};

}  // namespace trine::detail

#endif
