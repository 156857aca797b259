#pragma once

#include <cstdint>

#include "input/detail/byte_reader.h"

namespace trine::detail {

/// Every format a decoder is ever started for.
enum class ImageFormat { jpeg, png, webp, bmp, tiff, gif };

struct ImageHeader {
  ImageFormat format = ImageFormat::jpeg;
  std::int64_t width = 0;
  std::int64_t height = 0;
};

/// Recognises the format by its first bytes and reads the size of the picture as it is stored (before any EXIF
/// orientation), without a decoder. Whatever is not on the list above, and sides below 1, are refused.
ImageHeader read_image_header(Bytes file);

/// The orientation of a TIFF's first directory or of the EXIF block in a JPEG, PNG or WebP: 1 to 8, and 1 where there
/// is none.
int read_orientation(Bytes file, ImageFormat format);

}  // namespace trine::detail
