#pragma once

#include <torch/torch.h>

#include <array>
#include <string>
#include <string_view>

#include "trine/export.h"
#include "trine/input/image.h"

/// What image encoders share between a decoded picture and their first layer.

namespace trine {

TRINE_API std::string_view to_string(ResizeFilter filter);

/// "bilinear", "bicubic" or "lanczos", as checkpoints write it; another name is std::runtime_error.
TRINE_API ResizeFilter resize_filter(std::string_view name);

/// (x / 255 - mean) / std. -> (3, H, W) fp32
TRINE_API torch::Tensor to_tensor(const Image& image, const std::array<float, 3>& mean,
                                  const std::array<float, 3>& std);

/// timm's evaluation transform: the short side to floor(size / crop_pct), the centre crop of `size`, scaled.
/// Reference: timm.data.create_transform (torchvision Resize and CenterCrop over Pillow). -> (3, size, size)
TRINE_API torch::Tensor resize_crop_scale(const Image& image, int size, double crop_pct, ResizeFilter filter,
                                          const std::array<float, 3>& mean, const std::array<float, 3>& std);

}  // namespace trine
