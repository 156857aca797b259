#pragma once

#include <cstdint>

/// Loops over rows of numbers, for AVX-512, AVX2 or whatever the compiler was told of, chosen by the machine.

namespace trine::detail {

/// What a layer's sums go through.
enum class Function { identity, gelu, gelu_tanh, quick_gelu, relu, relu6, silu };

/// A row in bytes: value = scale * (byte - zero).
struct RowScale {
  float scale;
  std::int32_t zero;
};

/// What follows a tile of sums: out = function(sums + bias) + residual.
struct Finish {
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t sums_stride;  ///< elements from a row to the next
  std::int64_t stride;       ///< of out and residual
  const float* bias;         ///< columns
  const float* residual;     ///< null: none
  Function function;
};

/// The smallest range that holds the row and 0, in 255 steps. x (n) -> bytes (n)
RowScale quantise_row(const float* x, std::int64_t n, std::uint8_t* bytes);

/// x (n) -> rounded to bf16, as their bits
void round_to_bf16(const float* x, std::int64_t n, std::uint16_t* bits);

void finish(const Finish& how, const float* sums, float* out);

/// The same of bytes: sums of row i and column j are scales[i].scale * weight_scales[j] * (sum - zero *
/// weight_sums[j]).
void finish(const Finish& how, const std::int32_t* sums, const RowScale* scales, const float* weight_scales,
            const std::int32_t* weight_sums, float* out);

}  // namespace trine::detail
