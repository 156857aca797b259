#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "trine/export.h"

namespace trine {

/// 8-bit RGB pixels, rows from top to bottom: `pixels[(y * width + x) * 3 + channel]`.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;
};

struct ImageOptions {
  std::int64_t max_pixels = 89'478'485;    ///< width * height read from the header, before decoding
  std::uint64_t max_bytes = 256ull << 20;  ///< size of the encoded file
  bool apply_exif_orientation = false;     ///< off, as in Pillow's Image.open
  /// Above 0: a JPEG is decoded at 1/8, 1/4 or 1/2 of its size, the smallest of which no side has fewer pixels; much
  /// faster, with the pixels of Pillow's `image.draft("RGB", (draft_side, draft_side))`.
  std::int64_t draft_side = 0;
};

/// Decodes JPEG, PNG, WebP, BMP, TIFF or GIF (first frame) to the pixels of Pillow's `Image.open(f).convert("RGB")`:
/// palettes expanded, alpha dropped, grey repeated, 16 bits cut to 8, CMYK converted.
/// Errors: std::runtime_error for another format, a damaged file or one beyond the limits.
TRINE_API Image decode_image(std::span<const std::byte> file, const ImageOptions& options = {});

/// The same from a file. A missing file is std::system_error.
TRINE_API Image read_image(const std::filesystem::path& path, const ImageOptions& options = {});

/// Pillow's filters, with its anti-aliasing (the support grows with the scale); `nearest` takes single pixels.
enum class ResizeFilter { nearest, box, bilinear, hamming, bicubic, lanczos };

/// Bit-equal to the `image.resize((width, height), filter)` of Pillow 13: two passes with 8 bits in between, 22-bit
/// coefficients. (Older versions differ from it where the height shrinks much more than the width.)
/// Errors: std::invalid_argument for sizes below 1 or, also between the passes, above 89,478,485 pixels.
TRINE_API Image resize(const Image& image, int width, int height, ResizeFilter filter);

/// Pixels, from the top left corner.
struct Rectangle {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
};

/// What a picture is resized to, and the part of the result that is wanted.
struct Resizing {
  int width = 0;
  int height = 0;
  ResizeFilter filter = ResizeFilter::bicubic;
  Rectangle part;
};

/// The same, of which only the part is worked out: equal to crop(resize(...)) and faster.
TRINE_API Image resize(const Image& image, const Resizing& to);

/// resize(decode_image(file, options), to(width, height)). The rows of a JPEG are resized as they are decoded: faster,
/// and a photo of 12 megapixels is never in memory as a whole.
TRINE_API Image decode_image(std::span<const std::byte> file, const ImageOptions& options,
                             const std::function<Resizing(int width, int height)>& to);

/// The rectangle of `width` x `height` pixels whose top left corner is (left, top); std::invalid_argument if it sticks
/// out.
TRINE_API Image crop(const Image& image, int left, int top, int width, int height);

}  // namespace trine
