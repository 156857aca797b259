#pragma once

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

namespace trine::detail {

/// Whether the loops of this folder may compute with `x`: fp32 on the CPU where nothing records gradients and no
/// autocast asks for another type. All else is for torch's operators, which every device has.
inline bool is_ours(const torch::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == torch::kFloat32 && !torch::GradMode::is_enabled() &&
         !at::autocast::is_autocast_enabled(torch::kCPU);
}

}  // namespace trine::detail
