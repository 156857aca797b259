#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "linear/parallel.h"
#include "linear/product.h"
#include "linear/rows.h"
#include "trine/precision.h"

/// The kinds of arithmetic of a linear layer. Each cuts the result into tiles of kTileRows x kTileColumns and finishes
/// a tile while it is in the cache. A sum runs over the inputs in one order, so that a row does not depend on the rows
/// beside it or on the threads.

namespace trine::detail {

constexpr std::int64_t kTileRows = 64;
constexpr std::int64_t kTileColumns = kFullTile;

/// The weights of a layer, laid out for one arithmetic.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  /// x (M, in), residual (M, out) or undefined, out (M, out): all contiguous fp32
  virtual void forward(const torch::Tensor& x, Function function, const torch::Tensor& residual,
                       torch::Tensor& out) const = 0;
};

// weight (out, in) fp32, bias (out) or undefined. In a file each.
std::unique_ptr<PackedLinear> pack_fp32(const torch::Tensor& weight, const torch::Tensor& bias);
std::unique_ptr<PackedLinear> pack_bf16(const torch::Tensor& weight, const torch::Tensor& bias);
std::unique_ptr<PackedLinear> pack_int8(const torch::Tensor& weight, const torch::Tensor& bias);

/// Of fp32, bf16 or int8.
std::unique_ptr<PackedLinear> pack(Precision precision, const torch::Tensor& weight, const torch::Tensor& bias);

/// Whether LibTorch has the kernel for this machine and its sums are right; tried once.
bool has_kernel(Precision precision);

/// Weights in blocks of kTileColumns outputs, `group` inputs of an output side by side; filled up with zeros.
/// (out, in) -> (blocks, inputs / group, kTileColumns, group)
torch::Tensor in_blocks(const torch::Tensor& weight, std::int64_t group);
/// (out) -> (blocks * kTileColumns), zeros where there is none
torch::Tensor in_blocks_of_bias(const torch::Tensor& bias, std::int64_t out);

/// Columns of a block that are computed: a narrow last one takes less.
inline std::int64_t columns_of(std::int64_t block, std::int64_t out) {
  constexpr std::int64_t kVector = 16;
  return std::min(kTileColumns, (out - block * kTileColumns + kVector - 1) / kVector * kVector);
}

/// inputs (rows, in) times weights in blocks, tile by tile: done(first row, rows, block, sums), from several threads.
template <typename Sum, typename Input, typename Weight, typename Done>
void multiply(const Input* inputs, const Weight* weights, std::int64_t rows, std::int64_t in, std::int64_t out,
              Done done) {
  constexpr double kWork = std::is_same_v<Sum, float> ? 1 << 20 : 1 << 22;  // multiplications worth a thread
  const std::int64_t high = (rows + kTileRows - 1) / kTileRows, wide = (out + kTileColumns - 1) / kTileColumns;
  const double work = static_cast<double>(std::min(rows, kTileRows) * kTileColumns * in);
  const auto grain = std::max<std::int64_t>(1, static_cast<std::int64_t>(kWork / work));
  in_parallel(high * wide, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % high * kTileRows, count = std::min(kTileRows, rows - first), block = i / high;
      alignas(64) Sum sums[kTileRows * kTileColumns];
      multiply_tile({.rows = count,
                     .columns = columns_of(block, out),
                     .in = in,
                     .inputs_stride = in,
                     .weights_stride = kTileColumns,
                     .sums_stride = kTileColumns,
                     .ahead = i % high == 0},
                    inputs + first * in, weights + block * kTileColumns * in, sums);
      done(first, count, block, sums);
    }
    release_tiles();
  });
}

/// The finish of a tile: `sums` lie kTileColumns apart.
inline Finish finish_of(std::int64_t rows, std::int64_t block, std::int64_t out, const torch::Tensor& bias,
                        const float* residual, Function function) {
  const std::int64_t column = block * kTileColumns;
  return {.rows = rows,
          .columns = std::min(kTileColumns, out - column),
          .sums_stride = kTileColumns,
          .stride = out,
          .bias = bias.const_data_ptr<float>() + column,
          .residual = residual,
          .function = function};
}

/// Where a tile of a (M, out) matrix begins; null for an undefined one.
inline float* tile_of(const torch::Tensor& matrix, std::int64_t row, std::int64_t block) {
  return matrix.defined() ? matrix.mutable_data_ptr<float>() + row * matrix.size(1) + block * kTileColumns : nullptr;
}

}  // namespace trine::detail
