#include "input/detail/bmp.h"

#include <algorithm>
#include <array>

#include "input/detail/pixels.h"

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

/// Whether the bit fields say blue, green, red, and alpha or nothing, the order of the bytes without bit fields.
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

using Colour = std::array<std::uint8_t, 3>;

/// Colours of the palette; what it leaves out is black, in Pillow too.
std::array<Colour, 256> read_palette(const ByteReader& file, const BmpHeader& header, std::uint64_t colour_bytes) {
  std::array<Colour, 256> colours{};
  for (std::uint64_t i = 0; i < header.colours; ++i) {
    const std::uint64_t at = kFileHeaderBytes + header.bytes + i * colour_bytes;
    for (std::uint64_t c = 0; c < 3; ++c) colours[i][c] = static_cast<std::uint8_t>(file.u8(at + 2 - c));
  }
  return colours;
}

/// The numbers of all pixels in the palette, row by row as they are stored. The run lengths must come to their end mark
/// within the file; what they leave out is 0, what goes beyond a row or the last one is dropped.
std::vector<std::uint8_t> expand_run_lengths(const ByteReader& file, std::uint64_t offset, const BmpHeader& header,
                                             std::uint64_t width, std::uint64_t height) {
  constexpr std::uint32_t kEndOfRow = 0, kEndOfPicture = 1, kMove = 2;
  std::vector<std::uint8_t> numbers(width * height);
  std::uint64_t x = 0, y = 0;
  const bool nibbles = header.bits == 4;
  /// `count` pixels, of which byte_of(i) holds number i.
  const auto put = [&](std::uint32_t count, auto&& byte_of) {
    const std::uint64_t room = y < height ? width - std::min(x, width) : 0;
    for (std::uint32_t i = 0; i < std::min<std::uint64_t>(count, room); ++i) {
      const std::uint32_t byte = byte_of(i);
      numbers[y * width + x + i] = static_cast<std::uint8_t>(!nibbles ? byte : i % 2 == 0 ? byte >> 4 : byte & 15);
    }
    x += count;
  };
  for (;;) {
    const std::uint32_t count = file.u8(offset), code = file.u8(offset + 1);
    offset += 2;
    put(count, [code](std::uint32_t) { return code; });
    if (count > 0) continue;
    if (code == kEndOfPicture) return numbers;
    if (code == kEndOfRow) {
      x = 0;
      ++y;
    } else if (code == kMove) {
      x += file.u8(offset);
      y += file.u8(offset + 1);
      offset += 2;
    } else {
      put(code, [&](std::uint32_t i) { return file.u8(offset + (nibbles ? i / 2 : i)); });
      offset += (code * header.bits + 15) / 16 * 2;  // so many single pixels, to a multiple of two bytes
    }
  }
}

/// One stored row to RGB.
void expand_row(const std::uint8_t* in, std::uint32_t bits, const std::array<Colour, 256>& colours, std::uint64_t width,
                std::uint8_t* out) {
  for (std::uint64_t x = 0; x < width; ++x, out += 3) {
    if (bits >= 24) {
      const std::uint8_t* pixel = in + x * (bits / 8);
      for (int c = 0; c < 3; ++c) out[c] = pixel[2 - c];
    } else {
      const std::uint64_t bit = x * bits;
      const std::uint32_t number = in[bit / 8] >> (8 - bits - bit % 8) & ((1u << bits) - 1);
      std::copy_n(colours[number].begin(), 3, out);
    }
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
  std::array<Colour, 256> colours{};
  if (header.bits <= 8) colours = read_palette(reader, header, colour_bytes);

  const auto columns = static_cast<std::uint64_t>(width), rows = static_cast<std::uint64_t>(height);
  const bool plain = header.compression == kPlain || header.compression == kBitFields;
  const std::uint32_t bits = plain ? header.bits : 8;
  const std::uint64_t stride = plain ? (columns * bits + 31) / 32 * 4 : columns;
  std::vector<std::uint8_t> expanded;
  if (!plain) expanded = expand_run_lengths(reader, data, header, columns, rows);
  const std::uint8_t* in =
      plain ? reinterpret_cast<const std::uint8_t*>(reader.slice(data, stride * rows).data()) : expanded.data();
  const bool upside_down =
      header.bytes == kCoreHeaderBytes || reader.u32(22) < 1u << 31;  // the usual: bottom row first
  Image image{width, height, std::vector<std::uint8_t>(rgb_bytes(width, height))};
  for (std::uint64_t y = 0; y < rows; ++y) {
    const std::uint64_t target = upside_down ? rows - 1 - y : y;
    expand_row(in + y * stride, bits, colours, columns, image.pixels.data() + target * columns * 3);
  }
  return image;
}

}  // namespace trine::detail
