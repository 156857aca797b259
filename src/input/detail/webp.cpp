#include "input/detail/webp.h"

#include <webp/decode.h>

#include <algorithm>
#include <optional>

#include "input/detail/pixels.h"

namespace trine::detail {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kRiffHeaderBytes = 12;
constexpr std::uint64_t kFrameHeaderBytes = 16;

struct WebpFrame {
  int x = 0, y = 0, width = 0, height = 0;
  Bytes chunks;  // ALPH if any, then VP8 or VP8L
};

/// The first frame of an animation; std::nullopt for a still picture. Every chunk must lie within the file.
std::optional<WebpFrame> first_frame(const ByteReader& file) {
  std::optional<WebpFrame> frame;
  for (std::uint64_t offset = kRiffHeaderBytes; offset < file.size();) {
    const std::uint64_t length = file.u32(offset + 4);
    const Bytes body = file.slice(offset + 8, length);
    if (file.starts_with("ANMF"sv, offset) && !frame) {
      const ByteReader reader(body, ByteReader::Order::little);
      const auto u24 = [&](std::uint64_t at) { return static_cast<int>(reader.u24(at)); };
      frame = {2 * u24(0), 2 * u24(3), u24(6) + 1, u24(9) + 1,
               reader.slice(kFrameHeaderBytes, reader.size() - std::min(reader.size(), kFrameHeaderBytes))};
    }
    offset += 8 + length + length % 2;
  }
  return frame;
}

void append(std::vector<std::byte>& out, std::string_view text) {
  for (const char letter : text) out.push_back(static_cast<std::byte>(letter));
}

void append_number(std::vector<std::byte>& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> 8 * i & 0xFF));
}

/// A still picture of this size; libwebp drops the alpha.
Image decode_still(Bytes file, int width, int height) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(file.data());
  Image image;
  if (WebPGetInfo(data, file.size(), &image.width, &image.height) == 0) bad_image("the WebP is damaged");
  if (image.width != width || image.height != height) bad_image("a WebP picture of another size than it says");
  image.pixels.resize(rgb_bytes(width, height));
  if (WebPDecodeRGBInto(data, file.size(), image.pixels.data(), image.pixels.size(), image.width * 3) == nullptr) {
    bad_image("the file is damaged: libwebp cannot decode it");
  }
  return image;
}

/// A file of its own for a frame: the plain decoder does not read animations.
std::vector<std::byte> still_file(const WebpFrame& frame) {
  constexpr std::uint64_t kHasAlpha = 0x10;
  const bool alpha = ByteReader(frame.chunks, ByteReader::Order::little).starts_with("ALPH"sv);
  std::vector<std::byte> file;
  append(file, "RIFF"sv);
  append_number(file, 4 + (alpha ? 18 : 0) + frame.chunks.size(), 4);
  append(file, "WEBP"sv);
  if (alpha) {
    append(file, "VP8X"sv);
    append_number(file, 10, 4);
    append_number(file, kHasAlpha, 4);
    append_number(file, static_cast<std::uint64_t>(frame.width - 1), 3);
    append_number(file, static_cast<std::uint64_t>(frame.height - 1), 3);
  }
  file.insert(file.end(), frame.chunks.begin(), frame.chunks.end());
  return file;
}

}  // namespace

Image decode_webp(Bytes file, int width, int height) {
  const std::uint64_t riff = std::uint64_t{8} + ByteReader(file, ByteReader::Order::little).u32(4);
  const ByteReader reader(ByteReader(file, ByteReader::Order::little).slice(0, riff), ByteReader::Order::little);
  const std::optional<WebpFrame> frame = first_frame(reader);
  if (!frame) return decode_still(file.first(riff), width, height);

  if (frame->width > width - frame->x || frame->height > height - frame->y) {
    bad_image("a WebP whose frame lies outside its canvas");
  }
  const std::vector<std::byte> still = still_file(*frame);
  const Image part = decode_still(still, frame->width, frame->height);
  Image canvas{width, height, std::vector<std::uint8_t>(rgb_bytes(width, height))};
  for (int y = 0; y < part.height; ++y) {
    std::copy_n(
        part.pixels.begin() + static_cast<std::ptrdiff_t>(rgb_bytes(part.width, y)), rgb_bytes(part.width, 1),
        canvas.pixels.begin() + static_cast<std::ptrdiff_t>(rgb_bytes(width, frame->y + y) + rgb_bytes(frame->x, 1)));
  }
  return canvas;
}

}  // namespace trine::detail
