#pragma once

#include <cstdint>

/// Loops over rows of numbers, for AVX-512, AVX2 or whatever the compiler was told of, chosen by the machine.

namespace trine::detail {

/// What a layer's sums go through.
enum class Function : int { identity, gelu, gelu_tanh, quick_gelu, relu, relu6, silu };

/// A row in bytes: value = scale * byte - low.
struct RowScale {
  float scale;
  float low;
};

/// A layer norm: weight (n), bias (n) or null.
struct RowNorm {
  const float* weight;
  const float* bias;
  float eps;
};

/// The largest score so far, and the sum of the shares that were made with it.
struct RowSoftmax {
  float largest;
  float sum;
};

constexpr std::int64_t kFullTile = 64;  ///< columns that a tile usually has

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

/// The same of bytes: sums of row i and column j are scales[i].scale * weight_scales[j] * sum - scales[i].low *
/// weight_sums[j].
void finish(const Finish& how, const std::int32_t* sums, const RowScale* scales, const float* weight_scales,
            const float* weight_sums, float* out);

/// Mean 0 and variance 1, times weight, plus bias. x (n) -> out (n)
void normalise_row(const float* x, const RowNorm& norm, std::int64_t n, float* out);

/// A depthwise convolution with ReLU6 of a picture whose channels lie side by side.
struct Depthwise {
  std::int64_t channels;
  std::int64_t kernel;  ///< 3 or 5, rows and columns
  std::int64_t stride;
  std::int64_t rows, columns;  ///< of the input
  std::int64_t out_columns;
  std::int64_t top, left;  ///< zeros that are thought around the input
  const float* weights;    ///< (kernel * kernel, channels)
  const float* bias;       ///< (channels)
};

/// A row of the result. x (rows, columns, channels) -> out (out_columns, channels)
void convolve_row(const Depthwise& how, std::int64_t row, const float* x, float* out);

/// Scores, in logarithms to base 2, become shares 2^(score - largest): of these `n` and of `largest`, the largest
/// before. Places from n to `room`, a multiple of 16, become 0.
RowSoftmax soften_row(float* scores, std::int64_t n, std::int64_t room, float largest);

/// (rows, columns), rows `stride` apart -> (columns, rows), rows `out_stride` apart
void transpose(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* out,
               std::int64_t out_stride);

}  // namespace trine::detail
