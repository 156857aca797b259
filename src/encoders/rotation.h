#pragma once

#include <torch/torch.h>

#include "trine/encoders/transformer.h"

namespace trine::detail {

/// Each pair of neighbouring channels turned by the angle of its step. (N, T, heads, head size) -> the same
inline torch::Tensor turn(const torch::Tensor& x, const Rotation& rotation) {
  const torch::Tensor pairs = x.unflatten(-1, {-1, 2});
  const torch::Tensor across = torch::stack({-pairs.select(-1, 1), pairs.select(-1, 0)}, -1).flatten(-2);
  return x * rotation.cos.unsqueeze(1) + across * rotation.sin.unsqueeze(1);
}

inline Rotation on(torch::Device device, const Rotation& rotation) {
  return {rotation.cos.to(device), rotation.sin.to(device)};
}

}  // namespace trine::detail
