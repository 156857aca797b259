#include "input/detail/image_header.h"

#include <algorithm>

#include "input/detail/ifd.h"

namespace trine::detail {
namespace {

using namespace std::string_view_literals;
using Order = ByteReader::Order;

constexpr std::uint32_t kStartOfScan = 0xDA;
constexpr std::uint32_t kEndOfImage = 0xD9;
constexpr std::uint32_t kApp1 = 0xE1;

/// Markers without a length: TEM, RST0 to RST7, SOI.
bool stands_alone(std::uint32_t marker) { return marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8); }

/// SOF0 to SOF15 without the markers for tables (DHT, DAC) and the reserved JPG.
bool is_frame_header(std::uint32_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

struct JpegSegment {
  std::uint32_t marker = 0;
  Bytes body = {};        // after the length field
  std::uint64_t end = 0;  // where the next segment begins
};

/// The segment at or after `offset`; bytes that are no marker are skipped, as libjpeg does.
JpegSegment next_segment(const ByteReader& file, std::uint64_t offset) {
  while (file.u8(offset) != 0xFF || file.u8(offset + 1) == 0xFF || file.u8(offset + 1) == 0) ++offset;
  const std::uint32_t marker = file.u8(offset + 1);
  if (stands_alone(marker) || marker == kEndOfImage) return {marker, {}, offset + 2};
  const std::uint64_t length = file.u16(offset + 2);
  if (length < 2) bad_image("a JPEG segment of ", length, " bytes, wanted at least 2");
  return {marker, file.slice(offset + 4, length - 2), offset + 2 + length};
}

ImageHeader jpeg_header(const ByteReader& file) {
  JpegSegment segment{.end = 2};
  do {
    segment = next_segment(file, segment.end);
    if (segment.marker == kStartOfScan || segment.marker == kEndOfImage) bad_image("a JPEG without a frame header");
  } while (!is_frame_header(segment.marker));
  const ByteReader frame(segment.body, Order::big);
  return {ImageFormat::jpeg, frame.u16(3), frame.u16(1)};
}

ImageHeader png_header(const ByteReader& file) {
  if (!file.starts_with("\0\0\0\rIHDR"sv, 8)) bad_image("a PNG that does not begin with a header of 13 bytes");
  return {ImageFormat::png, file.u32(16), file.u32(20)};
}

ImageHeader webp_header(const ByteReader& file) {
  if (file.starts_with("VP8X"sv, 12)) return {ImageFormat::webp, file.u24(24) + 1, file.u24(27) + 1};
  if (file.starts_with("VP8L"sv, 12)) {
    if (file.u8(20) != 0x2F) bad_image("a WebP without the signature of its lossless form");
    const std::uint32_t bits = file.u32(21);  // two sides of 14 bits each, less one
    return {ImageFormat::webp, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1};
  }
  if (file.starts_with("VP8 "sv, 12)) {
    if (!file.starts_with("\x9D\x01\x2A"sv, 23)) bad_image("a WebP without the start code of a key frame");
    return {ImageFormat::webp, file.u16(26) & 0x3FFF, file.u16(28) & 0x3FFF};
  }
  bad_image("a WebP whose first chunk is none of VP8, VP8L and VP8X");
}

ImageHeader bmp_header(const ByteReader& file) {
  if (file.u32(14) == 12) return {ImageFormat::bmp, file.u16(18), file.u16(20)};
  const std::int64_t height = static_cast<std::int32_t>(file.u32(22));  // negative: rows from top to bottom
  return {ImageFormat::bmp, static_cast<std::int32_t>(file.u32(18)), height < 0 ? -height : height};
}

ImageHeader tiff_header(Bytes file) {
  const std::optional<Ifd> directory = Ifd::first(file);
  if (!directory) bad_image("a TIFF without a readable first directory");
  return {ImageFormat::tiff, directory->number(Ifd::kWidth).value_or(0), directory->number(Ifd::kHeight).value_or(0)};
}

/// The canvas of the first frame: the logical screen, enlarged where the frame sticks out.
ImageHeader gif_header(const ByteReader& file) {
  const auto table_bytes = [](std::uint32_t flags) { return flags & 0x80 ? std::uint64_t{6} << (flags & 7) : 0; };
  std::uint64_t offset = 13 + table_bytes(file.u8(10));
  while (file.u8(offset) == '!') {  // extensions: a label, then blocks up to an empty one
    offset += 2;
    while (file.u8(offset) != 0) offset += file.u8(offset) + 1;
    ++offset;
  }
  if (file.u8(offset) != ',') bad_image("a GIF without a picture");
  const std::int64_t right = std::int64_t{file.u16(offset + 1)} + file.u16(offset + 5);
  const std::int64_t bottom = std::int64_t{file.u16(offset + 3)} + file.u16(offset + 7);
  if (file.u16(offset + 5) == 0 || file.u16(offset + 7) == 0) bad_image("a GIF whose first frame is empty");
  return {ImageFormat::gif, std::max<std::int64_t>(file.u16(6), right), std::max<std::int64_t>(file.u16(8), bottom)};
}

ImageHeader sniff(Bytes bytes) {
  const ByteReader little(bytes, Order::little);
  const ByteReader big(bytes, Order::big);
  if (bytes.empty()) bad_image("the file is empty");
  if (big.starts_with("\xFF\xD8\xFF"sv)) return jpeg_header(big);
  if (big.starts_with("\x89PNG\r\n\x1A\n"sv)) return png_header(big);
  if (little.starts_with("RIFF"sv) && little.starts_with("WEBP"sv, 8)) return webp_header(little);
  if (little.starts_with("BM"sv)) return bmp_header(little);
  if (little.starts_with("II*\0"sv) || little.starts_with("MM\0*"sv)) return tiff_header(bytes);
  if (little.starts_with("GIF87a"sv) || little.starts_with("GIF89a"sv)) return gif_header(little);
  bad_image("not a picture in an accepted format: wanted JPEG, PNG, WebP, BMP, TIFF or GIF");
}

/// The EXIF block of a JPEG (APP1), PNG (eXIf) or WebP (EXIF); empty where there is none.
Bytes exif_block(Bytes bytes, ImageFormat format) {
  const ByteReader little(bytes, Order::little);
  const ByteReader big(bytes, Order::big);
  if (format == ImageFormat::jpeg) {
    for (JpegSegment segment{.end = 2}; segment.marker != kStartOfScan && segment.marker != kEndOfImage;) {
      segment = next_segment(big, segment.end);
      if (segment.marker == kApp1 && ByteReader(segment.body, Order::big).starts_with("Exif\0\0"sv))
        return segment.body;
    }
  } else if (format == ImageFormat::png) {
    for (std::uint64_t offset = 8; big.has(offset, 8); offset += std::uint64_t{12} + big.u32(offset)) {
      if (big.starts_with("eXIf"sv, offset + 4)) return big.slice(offset + 8, big.u32(offset));
    }
  } else if (format == ImageFormat::webp) {
    for (std::uint64_t offset = 12; little.has(offset, 8);) {
      const std::uint64_t length = little.u32(offset + 4);
      if (little.starts_with("EXIF"sv, offset)) return little.slice(offset + 8, length);
      offset += 8 + length + length % 2;
    }
  }
  return {};
}

}  // namespace

ImageHeader read_image_header(Bytes file) {
  const ImageHeader header = sniff(file);
  if (header.width < 1 || header.height < 1) {
    bad_image("a picture of ", header.width, " x ", header.height, " pixels, both sides must be positive");
  }
  return header;
}

int read_orientation(Bytes file, ImageFormat format) {
  Bytes block = format == ImageFormat::tiff ? file : exif_block(file, format);
  if (ByteReader(block, Order::big).starts_with("Exif\0\0"sv)) block = block.subspan(6);
  const std::optional<Ifd> directory = Ifd::first(block);
  const std::uint32_t value = directory ? directory->number(Ifd::kOrientation).value_or(1) : 1;
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

}  // namespace trine::detail
