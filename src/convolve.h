#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace trine::detail {

/// torch::conv1d or conv2d, as the lists say, `bias` or undefined. On CUDA fp32 is fp32 here: by
/// default cuDNN rounds to TF32, whose 10 bits of mantissa are too few for the references' numbers; and the same inputs
/// take the same kernel every time.
inline torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                              torch::IntArrayRef stride, torch::IntArrayRef padding, torch::IntArrayRef dilation,
                              std::int64_t groups = 1) {
  const bool flat = stride.size() == 1;
  if (!x.is_cuda()) {
    return flat ? torch::conv1d(x, weight, bias, stride, padding, dilation, groups)
                : torch::conv2d(x, weight, bias, stride, padding, dilation, groups);
  }
  return torch::_convolution(x, weight, bias, stride, padding, dilation, /*transposed=*/false,
                             /*output_padding=*/std::vector<std::int64_t>(stride.size(), 0), groups,
                             /*benchmark=*/false, /*deterministic=*/true, /*cudnn_enabled=*/true, /*allow_tf32=*/false);
}

}  // namespace trine::detail
