#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>

/// Depthwise convolutions of networks whose channels lie side by side.

namespace trine::detail {

/// With bias and ReLU6, "same" as TensorFlow pads. Without gradients, on the CPU.
class DepthwiseRelu6 {
 public:
  /// weight (C, 1, kernel, kernel), kernel 3 or 5; bias (C)
  DepthwiseRelu6(const torch::Tensor& weight, const torch::Tensor& bias, std::int64_t stride);
  /// (N, H, W, C) contiguous -> (N, H', W', C)
  torch::Tensor forward(const torch::Tensor& x) const;

 private:
  torch::Tensor weights_;  ///< (kernel * kernel, C)
  torch::Tensor bias_;
  std::int64_t kernel_;
  std::int64_t stride_;
};

/// What a convolution with `kernel` and `stride` lacks in rows or columns: "same" as TensorFlow pads.
inline std::int64_t missing(std::int64_t size, std::int64_t kernel, std::int64_t stride) {
  return std::max<std::int64_t>(0, (size - 1) / stride * stride + kernel - size);
}

/// The inputs of each place of a convolution, side by side as (row, column, channel), zeros outside.
/// (N, H, W, C) contiguous -> (N, H', W', kernel * kernel * C)
torch::Tensor places_of(const torch::Tensor& x, std::int64_t kernel, std::int64_t stride);

}  // namespace trine::detail
