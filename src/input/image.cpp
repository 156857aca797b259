#include "trine/input/image.h"

#include <string_view>

#include "input/detail/bmp.h"
#include "input/detail/gif.h"
#include "input/detail/image_header.h"
#include "input/detail/jpeg.h"
#include "input/detail/orient.h"
#include "input/detail/png.h"
#include "input/detail/tiff.h"
#include "input/detail/webp.h"

namespace trine {
namespace {

using detail::bad_image;
using detail::ImageFormat;
using detail::ImageHeader;

/// The longest side libpng accepts.
constexpr std::int64_t kMaxSide = 1'000'000;

void check_size(const ImageHeader& header, std::int64_t max_pixels) {
  const auto& [format, width, height] = header;
  if (width > kMaxSide || height > kMaxSide || width * height > max_pixels) {
    bad_image("a picture of ", width, " x ", height, " pixels: at most ", max_pixels, " pixels and ", kMaxSide,
              " a side are accepted");
  }
}

/// How many times smaller than the picture a draft of at least `side` pixels a side is, as Pillow's draft chooses it.
int draft_scale(const ImageHeader& header, std::int64_t side) {
  if (side <= 0 || header.format != ImageFormat::jpeg) return 1;
  for (const int scale : {8, 4, 2}) {
    if (header.width / scale >= side && header.height / scale >= side) return scale;
  }
  return 1;
}

/// `scale`: of a JPEG, how many times smaller.
Image decode(std::span<const std::byte> file, const ImageHeader& header, int scale) {
  const int width = static_cast<int>(header.width);
  const int height = static_cast<int>(header.height);
  switch (header.format) {
    case ImageFormat::jpeg:
      return detail::decode_jpeg(file, scale);
    case ImageFormat::png:
      return detail::decode_png(file);
    case ImageFormat::webp:
      return detail::decode_webp(file, width, height);
    case ImageFormat::bmp:
      return detail::decode_bmp(file, width, height);
    case ImageFormat::tiff:
      return detail::decode_tiff(file, width, height);
    case ImageFormat::gif:
      return detail::decode_gif(file, width, height);
  }
  bad_image("the header reader gave an unknown format");
}

}  // namespace

Image decode_image(std::span<const std::byte> file, const ImageOptions& options) {
  if (file.size() > options.max_bytes)
    bad_image("a file of ", file.size(), " bytes, at most ", options.max_bytes, " are accepted");
  const ImageHeader header = detail::read_image_header(file);
  check_size(header, options.max_pixels);
  const int scale = draft_scale(header, options.draft_side);
  Image image = decode(file, header, scale);
  const auto scaled = [scale](std::int64_t side) { return (side + scale - 1) / scale; };
  if (image.width != scaled(header.width) || image.height != scaled(header.height)) {
    bad_image("the file is damaged: its header promises ", header.width, " x ", header.height,
              " pixels, its data hold ", image.width, " x ", image.height);
  }
  // A TIFF is always turned, since Pillow's Image.open does so.
  if (!options.apply_exif_orientation && header.format != ImageFormat::tiff) return image;
  const int orientation = detail::read_orientation(file, header.format);
  return orientation == 1 ? image : detail::orient(image, orientation);
}

Image read_image(const std::filesystem::path& path, const ImageOptions& options) {
  const std::vector<std::byte> file = detail::read_file("read_image", path, options.max_bytes);
  try {
    return decode_image(file, options);
  } catch (const std::runtime_error& error) {
    const std::string_view message = error.what();
    detail::failure("read_image", path, ": ", message.substr(message.find("] ") + 2));
  }
}

}  // namespace trine
