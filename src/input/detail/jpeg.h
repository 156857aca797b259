#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

class JpegDecoder;

/// The rows of any JPEG of one, three or four components, from the top, with libjpeg-turbo. `scale` is 1, or 2, 4 or 8
/// for a picture so many times smaller, which saves most of the work.
class JpegRows {
 public:
  JpegRows(Bytes file, int scale);
  JpegRows(JpegRows&&) noexcept;
  ~JpegRows();

  int width() const;
  int height() const;
  /// The next row, width() pixels; with the last the rest of the file is read.
  void read(std::uint8_t* row);

 private:
  void require(bool ok) const;

  std::unique_ptr<JpegDecoder> decoder_;
  std::vector<std::uint8_t> inks_;  ///< a row of CMYK
  int left_ = 0;                    ///< rows
};

/// The caller has checked size and quality, from 1 to 100.
std::vector<std::byte> encode_jpeg(const char* who, const Image& image, int quality);

}  // namespace trine::detail
