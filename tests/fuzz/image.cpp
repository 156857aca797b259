#include <span>

#include "fuzzing.h"
#include "trine/input/image.h"

namespace {

trine::Resizing smaller(int width, int height) {
  const int across = width / 2 + 1, down = height / 2 + 1;
  return {across, down, trine::ResizeFilter::bicubic, {across / 3, 0, across - across / 3, down}};
}

/// The pixels, or the sentence that refuses the file.
template <typename Decode>
std::pair<std::vector<std::uint8_t>, std::string> outcome(const Decode& decode) {
  try {
    const trine::Image image = decode();
    if (image.pixels.size() != static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3) {
      std::abort();
    }
    return {image.pixels, {}};
  } catch (const std::runtime_error& error) {
    return {{}, error.what()};
  }
}

}  // namespace

/// A file is refused with a sentence or decoded, the same whether it is resized meanwhile or afterwards.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size)).subspan(1);
  const trine::ImageOptions options{
      .max_pixels = 1 << 18, .apply_exif_orientation = (data[0] & 1) != 0, .draft_side = (data[0] & 2) != 0 ? 16 : 0};
  const auto afterwards = outcome([&] {
    const trine::Image image = trine::decode_image(file, options);
    return trine::resize(image, smaller(image.width, image.height));
  });
  if (afterwards != outcome([&] { return trine::decode_image(file, options, smaller); })) std::abort();
  return 0;
}
