#include "linear/rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "detail/cpu.h"
#include "linear/rows_avx512.h"

namespace trine::detail {

namespace {

/// One set for each kind of machine.
struct Loops {
  decltype(&quantise_row) quantise;
  decltype(&detail::quantise_signed) quantise_signed;
  decltype(&detail::quantise_columns) quantise_columns;
  decltype(&round_to_bf16) to_bf16;
  void (*finish_sums)(const Finish&, const float*, float*);
  void (*finish_bytes)(const Finish&, const std::int32_t*, const RowScale*, const float*, const float*, float*);
  decltype(&normalise_row) normalise;
  decltype(&convolve_row) convolve;
  RowSoftmax (*soften)(float*, std::int64_t, std::int64_t);
  RowSoftmax (*soften_bytes)(const std::int32_t*, const RowScale&, const float*, const float*, std::int64_t,
                             std::int64_t, std::uint8_t*);
  decltype(&scale_row) scale;
  void (*add_sums)(const float*, std::int64_t, float, float, float*);
  void (*add_bytes)(const std::int32_t*, const float*, std::int64_t, float, float, float*);
  decltype(&transpose) turn_round;
  decltype(&transpose_fours) turn_round_fours;
};

}  // namespace

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
constexpr Loops kBestLoops = [] {
  Loops loops = kLoops;
  loops.quantise = quantise_avx512;
  loops.quantise_signed = quantise_signed_avx512;
  loops.soften = soften_avx512;
  loops.soften_bytes = soften_bytes_avx512;
  return loops;
}();
}  // namespace avx512
#pragma GCC pop_options
#endif

namespace {

const Loops& loops() {
#ifdef TRINE_ROWS_X86
  static const Loops& chosen = instructions() >= Instructions::avx512 ? avx512::kBestLoops
                               : instructions() >= Instructions::avx2 ? avx2::kLoops
                                                                      : plain::kLoops;
  return chosen;
#else
  return plain::kLoops;
#endif
}

}  // namespace

RowScale quantise_row(const float* x, std::int64_t n, std::uint8_t* bytes) { return loops().quantise(x, n, bytes); }

SignedRow quantise_signed(const float* x, std::int64_t n, std::int8_t* bytes) {
  return loops().quantise_signed(x, n, bytes);
}

void quantise_columns(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t n, std::int64_t room,
                      std::int8_t* bytes, float* scales) {
  loops().quantise_columns(x, stride, rows, n, room, bytes, scales);
}

void round_to_bf16(const float* x, std::int64_t n, std::uint16_t* bits) { loops().to_bf16(x, n, bits); }

void finish(const Finish& how, const float* sums, float* out) { loops().finish_sums(how, sums, out); }

void finish(const Finish& how, const std::int32_t* sums, const RowScale* scales, const float* weight_scales,
            const float* weight_sums, float* out) {
  loops().finish_bytes(how, sums, scales, weight_scales, weight_sums, out);
}

void normalise_row(const float* x, const RowNorm& norm, std::int64_t n, float* out) {
  loops().normalise(x, norm, n, out);
}

RowSoftmax soften_row(float* scores, std::int64_t n, std::int64_t room) { return loops().soften(scores, n, room); }

RowSoftmax soften_row(const std::int32_t* sums, const RowScale& query, const float* key_scales, const float* key_sums,
                      std::int64_t n, std::int64_t room, std::uint8_t* shares) {
  return loops().soften_bytes(sums, query, key_scales, key_sums, n, room, shares);
}

void scale_row(const float* x, std::int64_t n, float factor, float* out) { loops().scale(x, n, factor, out); }

void add_row(const float* part, std::int64_t n, float shrink, float factor, float* sums) {
  loops().add_sums(part, n, shrink, factor, sums);
}

void add_row(const std::int32_t* part, const float* scales, std::int64_t n, float shrink, float factor, float* sums) {
  loops().add_bytes(part, scales, n, shrink, factor, sums);
}

void convolve_row(const Depthwise& how, std::int64_t row, const float* x, float* out) {
  loops().convolve(how, row, x, out);
}

void transpose(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* out,
               std::int64_t out_stride) {
  loops().turn_round(x, stride, rows, columns, out, out_stride);
}

void transpose_fours(const std::int8_t* x, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                     std::int8_t* out, std::int64_t out_stride) {
  loops().turn_round_fours(x, stride, rows, columns, out, out_stride);
}

}  // namespace trine::detail
