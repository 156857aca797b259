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

/// A row in signed bytes, -127 to 127: value = scale * byte.
struct SignedRow {
  float scale;
  float sum;  ///< of the values
};

/// A layer norm: weight (n), bias (n) or null.
struct RowNorm {
  const float* weight;
  const float* bias;
  float eps;
};

/// The largest of a row's scores, and the sum of the shares that were made with it.
struct RowSoftmax {
  float largest;
  float sum;
};

constexpr std::int64_t kFullTile = 64;      ///< columns that a tile usually has
constexpr std::int64_t kMostKeys = 256;     ///< whose scores are softened at once
constexpr std::int64_t kMostColumns = 256;  ///< that are quantised side by side

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

/// The same with signs, 0 as 0. x (n) -> bytes (n)
SignedRow quantise_signed(const float* x, std::int64_t n, std::int8_t* bytes);

/// Columns in signed bytes, a scale each, four rows side by side; the last rows, and columns from n to `room`, are
/// filled up with zeros. x (rows, n), rows `stride` apart, room at most kMostColumns -> bytes (rows / 4, room, 4),
/// scales (n)
void quantise_columns(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t n, std::int64_t room,
                      std::int8_t* bytes, float* scales);

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

/// Scores, in logarithms to base 2, become shares 2^(score - largest). Places from n to `room`, a multiple of 16,
/// become 0. n = 0: the largest is -infinity.
RowSoftmax soften_row(float* scores, std::int64_t n, std::int64_t room);

/// The same of sums of bytes, score i being query.scale * key_scales[i] * sums[i] - query.low * key_sums[i], and shares
/// in bytes of 1 / 255; their sum is that of the bytes. room is at most kMostKeys.
RowSoftmax soften_row(const std::int32_t* sums, const RowScale& query, const float* key_scales, const float* key_sums,
                      std::int64_t n, std::int64_t room, std::uint8_t* shares);

/// x (n) times factor -> out (n)
void scale_row(const float* x, std::int64_t n, float factor, float* out);

/// sums (n) = shrink * sums + factor * part; shrink 0: whatever the sums were
void add_row(const float* part, std::int64_t n, float shrink, float factor, float* sums);

/// The same of bytes: part i times scales[i].
void add_row(const std::int32_t* part, const float* scales, std::int64_t n, float shrink, float factor, float* sums);

/// (rows, columns), rows `stride` apart -> (columns, rows), rows `out_stride` apart
void transpose(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* out,
               std::int64_t out_stride);

/// The same of four bytes that stay together; strides and columns count fours.
void transpose_fours(const std::int8_t* x, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                     std::int8_t* out, std::int64_t out_stride);

}  // namespace trine::detail
