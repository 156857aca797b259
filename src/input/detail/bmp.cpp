#include "input/detail/bmp.h"

#include "input/detail/opencv.h"

namespace trine::detail {
namespace {

constexpr std::uint32_t kPlain = 0, kRle8 = 1, kRle4 = 2, kBitFields = 3;
constexpr std::uint64_t kFileHeaderBytes = 14;
constexpr std::uint64_t kCoreHeaderBytes = 12;

struct BmpHeader {
  std::uint64_t bytes = 0;  // of the information header
  std::uint32_t bits = 0;
  std::uint32_t compression = kPlain;
  std::uint64_t colours = 0;  // of the palette
};

BmpHeader parse_header(const ByteReader& file) {
  BmpHeader header;
  header.bytes = file.u32(14);
  switch (header.bytes) {
    case kCoreHeaderBytes:
      header.bits = file.u16(24);
      break;
    case 40:
    case 52:
    case 56:
    case 64:
    case 108:
    case 124:
      header.bits = file.u16(28);
      header.compression = file.u32(30);
      header.colours = file.u32(46);
      break;
    default:
      bad_image("a BMP with an unknown header of ", header.bytes, " bytes");
  }
  if (header.bits <= 8 && header.colours == 0) header.colours = std::uint64_t{1} << header.bits;
  return header;
}

/// Whether the bit fields say blue, green, red, and alpha or nothing: the order OpenCV takes for granted.
bool usual_order(const ByteReader& file) {
  const std::uint32_t red = file.u32(54), green = file.u32(58), blue = file.u32(62);
  return (red == 0xFF0000 && green == 0xFF00 && blue == 0xFF) || (red == 0 && green == 0 && blue == 0);
}

bool is_supported(const ByteReader& file, const BmpHeader& header) {
  switch (header.bits) {
    case 1:
      return header.compression == kPlain;
    case 4:
      return header.compression == kPlain || header.compression == kRle4;
    case 8:
      return header.compression == kPlain || header.compression == kRle8;
    case 24:
      return header.compression == kPlain;
    case 32:
      return header.compression == kPlain || (header.compression == kBitFields && usual_order(file));
    default:
      return false;
  }
}

/// Follows the run lengths to their end mark, which must lie within the file: OpenCV reports a missing end aloud.
void check_run_lengths(const ByteReader& file, std::uint64_t offset, const BmpHeader& header) {
  constexpr std::uint32_t kEndOfPicture = 1, kMove = 2;
  for (;;) {
    const std::uint32_t count = file.u8(offset);
    const std::uint32_t code = file.u8(offset + 1);
    offset += 2;
    if (count > 0) continue;
    if (code == kEndOfPicture) return;
    if (code == kMove) offset += 2;
    if (code > kMove)
      offset += (code * header.bits + 15) / 16 * 2;  // so many single pixels, to a multiple of two bytes
  }
}

}  // namespace

Image decode_bmp(Bytes file, int width, int height) {
  const ByteReader reader(file, ByteReader::Order::little);
  const BmpHeader header = parse_header(reader);
  if (!is_supported(reader, header)) {
    bad_image("a BMP of ", header.bits, " bits with compression ", header.compression, " is not supported");
  }
  const std::uint64_t data = reader.u32(10);
  const std::uint64_t colour_bytes = header.bytes == kCoreHeaderBytes ? 3 : 4;
  const std::uint64_t palette = header.bits <= 8 ? header.colours * colour_bytes : 0;
  if (header.bits <= 8 && header.colours > std::uint64_t{1} << header.bits) bad_image("a BMP with too large a palette");
  if (data < kFileHeaderBytes + header.bytes + palette) bad_image("a BMP whose pixels begin inside its header");
  if (header.compression == kPlain || header.compression == kBitFields) {
    const std::uint64_t row = (static_cast<std::uint64_t>(width) * header.bits + 31) / 32 * 4;
    reader.slice(data, row * static_cast<std::uint64_t>(height));
  } else {
    check_run_lengths(reader, data, header);
  }
  return decode_with_opencv(file);
}

}  // namespace trine::detail
