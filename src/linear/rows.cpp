#include "linear/rows.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace trine::detail {

namespace plain {
#include "linear/rows_body.h"
}  // namespace plain

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TRINE_ROWS_X86 1
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2")
namespace avx2 {
#include "linear/rows_body.h"
}  // namespace avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2,prefer-vector-width=512")
namespace avx512 {
#include "linear/rows_body.h"
}  // namespace avx512
#pragma GCC pop_options
#endif

namespace {

struct Loops {
  decltype(&plain::quantise) quantise = plain::quantise;
  decltype(&plain::to_bf16) to_bf16 = plain::to_bf16;
  decltype(&plain::finish_sums) finish_sums = plain::finish_sums;
  decltype(&plain::finish_bytes) finish_bytes = plain::finish_bytes;
  decltype(&plain::normalise) normalise = plain::normalise;
  decltype(&plain::soften) soften = plain::soften;
  decltype(&plain::turn_round) turn_round = plain::turn_round;
  decltype(&plain::convolve) convolve = plain::convolve;
};

const Loops& loops() {
  static const Loops chosen = [] {
#ifdef TRINE_ROWS_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return Loops{avx512::quantise,  avx512::to_bf16, avx512::finish_sums, avx512::finish_bytes,
                   avx512::normalise, avx512::soften,  avx512::turn_round,  avx512::convolve};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
      return Loops{avx2::quantise,  avx2::to_bf16, avx2::finish_sums, avx2::finish_bytes,
                   avx2::normalise, avx2::soften,  avx2::turn_round,  avx2::convolve};
    }
#endif
    return Loops{};
  }();
  return chosen;
}

}  // namespace

RowScale quantise_row(const float* x, std::int64_t n, std::uint8_t* bytes) { return loops().quantise(x, n, bytes); }

void round_to_bf16(const float* x, std::int64_t n, std::uint16_t* bits) { loops().to_bf16(x, n, bits); }

void finish(const Finish& how, const float* sums, float* out) { loops().finish_sums(how, sums, out); }

void finish(const Finish& how, const std::int32_t* sums, const RowScale* scales, const float* weight_scales,
            const float* weight_sums, float* out) {
  loops().finish_bytes(how, sums, scales, weight_scales, weight_sums, out);
}

void normalise_row(const float* x, const RowNorm& norm, std::int64_t n, float* out) {
  loops().normalise(x, norm, n, out);
}

RowSoftmax soften_row(float* scores, std::int64_t n, std::int64_t room, float largest) {
  return loops().soften(scores, n, room, largest);
}

void convolve_row(const Depthwise& how, std::int64_t row, const float* x, float* out) {
  loops().convolve(how, row, x, out);
}

void transpose(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* out,
               std::int64_t out_stride) {
  loops().turn_round(x, stride, rows, columns, out, out_stride);
}

}  // namespace trine::detail
