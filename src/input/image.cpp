#include "trine/input/image.h"

#include "input/detail/bmp.h"
#include "input/detail/gif.h"
#include "input/detail/image_file.h"
#include "input/detail/image_header.h"
#include "input/detail/jpeg.h"
#include "input/detail/orient.h"
#include "input/detail/pixels.h"
#include "input/detail/png.h"
#include "input/detail/resize_rows.h"
#include "input/detail/tiff.h"
#include "input/detail/webp.h"

namespace trine {
namespace {

using detail::bad_image;
using detail::ImageFormat;
using detail::ImageHeader;
using detail::JpegRows;
using detail::rgb_bytes;

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

/// What is known before decoding.
struct Opened {
  ImageHeader header;
  int scale;        ///< of a JPEG, how many times smaller it is decoded
  int orientation;  ///< that is to be undone; 1: none
};

Opened open(std::span<const std::byte> file, const ImageOptions& options) {
  if (file.size() > options.max_bytes)
    bad_image("a file of ", file.size(), " bytes, at most ", options.max_bytes, " are accepted");
  const ImageHeader header = detail::read_image_header(file);
  check_size(header, options.max_pixels);
  // A TIFF is always turned, since Pillow's Image.open does so.
  const bool turned = options.apply_exif_orientation || header.format == ImageFormat::tiff;
  return {header, draft_scale(header, options.draft_side), turned ? detail::read_orientation(file, header.format) : 1};
}

void check_decoded(const Opened& opened, int width, int height) {
  const auto scaled = [&](std::int64_t side) { return (side + opened.scale - 1) / opened.scale; };
  if (width == scaled(opened.header.width) && height == scaled(opened.header.height)) return;
  bad_image("the file is damaged: its header promises ", opened.header.width, " x ", opened.header.height,
            " pixels, its data hold ", width, " x ", height);
}

Image collect(JpegRows rows) {
  Image image{rows.width(), rows.height(), {}};
  image.pixels.resize(rgb_bytes(image.width, image.height));
  for (int y = 0; y < image.height; ++y) rows.read(image.pixels.data() + rgb_bytes(image.width, y));
  return image;
}

JpegRows open_jpeg(std::span<const std::byte> file, const Opened& opened) {
  JpegRows rows(file, opened.scale);
  check_decoded(opened, rows.width(), rows.height());
  return rows;
}

Image decode(std::span<const std::byte> file, const Opened& opened) {
  const int width = static_cast<int>(opened.header.width);
  const int height = static_cast<int>(opened.header.height);
  switch (opened.header.format) {
    case ImageFormat::jpeg:
      return collect(open_jpeg(file, opened));
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

Image decode_image(std::span<const std::byte> file, const Opened& opened) {
  Image image = decode(file, opened);
  check_decoded(opened, image.width, image.height);
  return opened.orientation == 1 ? image : detail::orient(image, opened.orientation);
}

}  // namespace

Image decode_image(std::span<const std::byte> file, const ImageOptions& options) {
  return decode_image(file, open(file, options));
}

Image decode_image(std::span<const std::byte> file, const ImageOptions& options,
                   const std::function<Resizing(int, int)>& to) {
  const Opened opened = open(file, options);
  if (opened.header.format == ImageFormat::jpeg && opened.orientation == 1) {
    JpegRows rows = open_jpeg(file, opened);
    const int width = rows.width(), height = rows.height();
    return detail::resize_rows(width, height, to(width, height), [&](std::uint8_t* row) { rows.read(row); });
  }
  const Image image = decode_image(file, opened);
  return resize(image, to(image.width, image.height));
}

Image read_image(const std::filesystem::path& path, const ImageOptions& options) {
  return detail::from_image_file(path, options.max_bytes, [&](auto file) { return decode_image(file, options); });
}

}  // namespace trine
