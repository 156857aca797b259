#include "trine/encoders/preprocess.h"

#include <algorithm>
#include <cmath>

#include "detail/error.h"
#include "detail/json.h"

namespace trine {

namespace {

constexpr int kMaxAspect = 1000;  // with the short side at the network's size, more would be beyond resize's limit

}  // namespace

std::string_view to_string(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::bilinear:
      return "bilinear";
    case ResizeFilter::bicubic:
      return "bicubic";
    case ResizeFilter::lanczos:
      return "lanczos";
  }
  return "unknown";
}

ResizeFilter resize_filter(std::string_view name) {
  for (const ResizeFilter filter : {ResizeFilter::bilinear, ResizeFilter::bicubic, ResizeFilter::lanczos}) {
    if (name == to_string(filter)) return filter;
  }
  detail::failure("resize_filter", "unknown filter ", detail::shown(name), ", known are bilinear, bicubic and lanczos");
}

torch::Tensor to_tensor(const Image& image, const std::array<float, 3>& mean, const std::array<float, 3>& std) {
  torch::Tensor tensor = torch::empty({3, image.height, image.width});
  float* out = tensor.mutable_data_ptr<float>();
  const std::size_t plane = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    std::array<float, 256> table{};  // a byte has 256 values: one division each
    for (std::size_t value = 0; value < table.size(); ++value) {
      table[value] = (static_cast<float>(value) / 255.0f - mean[channel]) / std[channel];
    }
    for (std::size_t i = 0; i < plane; ++i) *out++ = table[image.pixels[i * 3 + channel]];
  }
  return tensor;
}

torch::Tensor resize_crop_scale(const Image& image, int size, double crop_pct, ResizeFilter filter,
                                const std::array<float, 3>& mean, const std::array<float, 3>& std) {
  // torchvision.Resize(int): the long side is cut to an integer; CenterCrop: the offset is rounded half to even
  const int target = static_cast<int>(std::floor(size / crop_pct));
  const int shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
  if (shorter < 1 || longer / shorter > kMaxAspect) {
    detail::bad_argument("preprocess", "a picture of ", image.width, " x ", image.height, " pixels, wanted at most ",
                         kMaxAspect, " : 1");
  }
  const int scaled = static_cast<int>(static_cast<std::int64_t>(target) * longer / shorter);
  const bool wide = image.width > image.height;
  const Image resized = resize(image, wide ? scaled : target, wide ? target : scaled, filter);
  const int left = static_cast<int>(std::nearbyint((resized.width - size) / 2.0));
  const int top = static_cast<int>(std::nearbyint((resized.height - size) / 2.0));
  return to_tensor(crop(resized, left, top, size, size), mean, std);
}

}  // namespace trine
