#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// Decodes one picture with OpenCV, EXIF orientation ignored. The caller has checked format, size and structure: OpenCV
/// would accept a dozen more formats and reports damage on the standard error stream.
Image decode_with_opencv(Bytes file);

/// The same for 16-bit grey, which Pillow does not scale: values above 255 become 255.
Image decode_grey16_with_opencv(Bytes file);

/// The caller has checked size and quality.
std::vector<std::byte> encode_jpeg_with_opencv(const Image& image, int quality);

}  // namespace trine::detail
