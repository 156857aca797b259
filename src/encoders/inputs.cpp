#include "encoders/inputs.h"

#include <map>

#include "detail/error.h"
#include "linear/parallel.h"

namespace trine::detail {

namespace fs = std::filesystem;
using torch::Tensor;

Image pixels_of(const char* who, const ImageInput& input, std::int64_t draft_side) {
  if (const auto* image = std::get_if<Image>(&input)) {
    if (image->width < 1 || image->height < 1 ||
        image->pixels.size() != static_cast<std::size_t>(image->width) * static_cast<std::size_t>(image->height) * 3) {
      bad_argument(who, "wanted width * height * 3 bytes of pixels, got ", image->pixels.size(), " for ", image->width,
                   " x ", image->height);
    }
    return *image;
  }
  return read_image(std::get<fs::path>(input), {.draft_side = draft_side});
}

std::vector<Tensor> preprocess_images(const char* who, const ImageEncoder& encoder, std::span<const ImageInput> images,
                                      bool draft) {
  const std::int64_t draft_side = draft ? encoder.draft_side() : 0;
  std::vector<Tensor> pixels(images.size());
  in_parallel(std::ssize(images), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      pixels[i] = encoder.preprocess(pixels_of(who, images[i], draft_side));
    }
  });
  return pixels;
}

Tensor encode_pixels(const ImageEncoder& encoder, const std::vector<Tensor>& pixels) {
  std::map<std::vector<std::int64_t>, std::vector<std::int64_t>> by_size;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    by_size[pixels[i].sizes().vec()].push_back(static_cast<std::int64_t>(i));
  }
  Tensor features = torch::empty({std::ssize(pixels), encoder.dim()});
  for (const auto& [size, rows] : by_size) {
    std::vector<Tensor> group;
    for (const std::int64_t row : rows) group.push_back(pixels[static_cast<std::size_t>(row)]);
    features.index_copy_(0, torch::tensor(rows), encoder.encode(torch::stack(group)).to(torch::kFloat32));
  }
  return features;
}

Tensor encode_images(const char* who, const ImageEncoder& encoder, std::span<const ImageInput> images) {
  return encode_pixels(encoder, preprocess_images(who, encoder, images));
}

}  // namespace trine::detail
