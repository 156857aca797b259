#include "encoders/inputs.h"

#include <map>

#include "detail/error.h"
#include "input/detail/pixels.h"
#include "linear/parallel.h"

namespace trine::detail {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

void check_pixels(const char* who, const Image& image) {
  if (has_its_pixels(image)) return;
  bad_argument(who, "wanted width * height * 3 bytes of pixels, got ", image.pixels.size(), " for ", image.width, " x ",
               image.height);
}

}  // namespace

Image pixels_of(const char* who, const ImageInput& input) {
  if (const auto* path = std::get_if<fs::path>(&input)) return read_image(*path);
  if (const auto* file = std::get_if<std::vector<std::byte>>(&input)) return decode_image(*file);
  const auto& image = std::get<Image>(input);
  check_pixels(who, image);
  return image;
}

Tensor preprocess_image(const char* who, const ImageEncoder& encoder, const ImageInput& image, bool draft) {
  const ImageOptions options{.draft_side = draft ? encoder.draft_side() : 0};
  if (const auto* path = std::get_if<fs::path>(&image)) return encoder.preprocess_file(*path, options);
  if (const auto* file = std::get_if<std::vector<std::byte>>(&image)) return encoder.preprocess_file(*file, options);
  const auto& pixels = std::get<Image>(image);
  check_pixels(who, pixels);
  return encoder.preprocess(pixels);
}

std::vector<Tensor> preprocess_images(const char* who, const ImageEncoder& encoder, std::span<const ImageInput> images,
                                      bool draft) {
  std::vector<Tensor> pixels(images.size());
  in_parallel(std::ssize(images), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      pixels[i] = preprocess_image(who, encoder, images[i], draft);
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
