#include "input/detail/png.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <vector>

#include "input/detail/libpng.h"

namespace trine::detail {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kSignatureBytes = 8;
constexpr std::uint32_t kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6;

struct PngHeader {
  std::uint64_t width = 0;
  std::uint64_t height = 0;
  std::uint32_t depth = 0;
  std::uint32_t colour = 0;
  bool interlaced = false;
};

/// The chunks that determine the pixels.
struct PngParts {
  Bytes header;
  Bytes palette;
  std::vector<std::byte> data;  // the IDAT chunks, joined
};

const Bytef* bytef(const std::byte* bytes) { return reinterpret_cast<const Bytef*>(bytes); }

PngParts read_chunks(const ByteReader& file) {
  PngParts parts;
  bool ended = false;
  for (std::uint64_t offset = kSignatureBytes; !ended;) {
    const std::uint64_t length = file.u32(offset);
    const Bytes typed = file.slice(offset + 4, 4 + length);
    const Bytes body = typed.subspan(4);
    const auto is = [&](std::string_view type) { return file.starts_with(type, offset + 4); };
    const bool critical = (static_cast<unsigned>(typed[0]) & 0x20) == 0;
    const std::uint32_t sum = file.u32(offset + 8 + length);
    if (critical && sum != crc32_z(0, bytef(typed.data()), typed.size()))
      bad_image("a PNG chunk with a wrong check sum");
    if (is("IHDR"sv)) {
      if (!parts.header.empty()) bad_image("a PNG with two headers");
      parts.header = body;
    } else if (is("PLTE"sv)) {
      parts.palette = body;
    } else if (is("IDAT"sv)) {
      parts.data.insert(parts.data.end(), body.begin(), body.end());
    } else if (is("IEND"sv)) {
      ended = true;
    } else if (critical) {
      bad_image("a PNG with an unknown critical chunk");
    }
    offset += 12 + length;
  }
  return parts;
}

PngHeader parse_header(Bytes body) {
  const ByteReader reader(body, ByteReader::Order::big);
  const PngHeader header{reader.u32(0), reader.u32(4), reader.u8(8), reader.u8(9), reader.u8(12) == 1};
  const std::uint32_t d = header.depth;
  const bool whole = d == 8 || d == 16;
  const bool packed = d == 1 || d == 2 || d == 4;
  const bool known = header.colour == kGrey ? whole || packed
                     : header.colour == kPalette
                         ? d == 8 || packed
                         : whole && (header.colour == kRgb || header.colour == kGreyAlpha || header.colour == kRgba);
  if (!known) bad_image("a PNG of colour type ", header.colour, " with ", d, " bits, no such form exists");
  if (reader.u8(10) != 0 || reader.u8(11) != 0 || reader.u8(12) > 1) {
    bad_image("a PNG with an unknown compression, filter or interlace method");
  }
  return header;
}

/// The rows of one pass: how many, and their bytes with the filter byte in front.
struct PngPass {
  std::uint64_t rows = 0;
  std::uint64_t row_bytes = 0;
};

/// The whole picture, or the seven passes of Adam7 as (first column, first row, column step, row step).
std::vector<PngPass> passes(const PngHeader& header) {
  constexpr std::array<std::array<std::uint64_t, 4>, 7> kAdam7{
      {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}};
  constexpr std::array<std::uint64_t, 7> kSamples{1, 0, 3, 1, 2, 0, 4};  // per pixel, by colour type
  const std::uint64_t pixel_bits = kSamples[header.colour] * header.depth;
  const auto pass = [&](std::uint64_t columns, std::uint64_t rows) {
    return PngPass{columns == 0 ? 0 : rows, 1 + (columns * pixel_bits + 7) / 8};
  };
  if (!header.interlaced) return {pass(header.width, header.height)};
  std::vector<PngPass> result;
  for (const auto& [x, y, dx, dy] : kAdam7) {
    result.push_back(pass((header.width + dx - 1 - x) / dx, (header.height + dy - 1 - y) / dy));
  }
  return result;
}

/// zlib's state, released whatever happens.
struct Inflater {
  Inflater() {
    if (inflateInit2(&stream, 0) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream stream{};
};

/// Inflates the picture once into a small buffer: it must hold exactly the rows the header promises, each with a known
/// filter. Returns how many bytes of `data` the stream takes up. libpng would do with less and only warn.
std::size_t checked_stream_size(Bytes data, const PngHeader& header) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  std::vector<Bytef> buffer(1 << 16);
  std::size_t used = 0;
  const auto refill = [&] {  // zlib counts in 32 bits
    if (stream.avail_in > 0) return;
    stream.next_in = const_cast<Bytef*>(bytef(data.data() + used));
    stream.avail_in = static_cast<uInt>(std::min<std::size_t>(data.size() - used, 1u << 30));
    used += stream.avail_in;
  };
  int status = Z_OK;
  const auto inflate_some = [&](std::uint64_t wanted) {
    refill();
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(std::min<std::uint64_t>(wanted, buffer.size()));
    const uInt room = stream.avail_out;
    status = inflate(&stream, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END) bad_image("the compressed data of the PNG are damaged or cut off");
    return std::uint64_t{room - stream.avail_out};
  };
  for (const PngPass& pass : passes(header)) {
    for (std::uint64_t row = 0; row < pass.rows; ++row) {
      for (std::uint64_t done = 0; done < pass.row_bytes;) {
        const std::uint64_t got = inflate_some(pass.row_bytes - done);
        if (done == 0 && got > 0 && buffer[0] > 4) bad_image("a PNG row with the unknown filter ", int{buffer[0]});
        done += got;
        if (status == Z_STREAM_END && done < pass.row_bytes)
          bad_image("the PNG has fewer rows than its header promises");
      }
    }
  }
  while (status != Z_STREAM_END) {
    if (inflate_some(1) > 0) bad_image("the PNG has more rows than its header promises");
  }
  return used - stream.avail_in;
}

void append_number(std::vector<std::byte>& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(value >> shift & 0xFF));
}

void append_chunk(std::vector<std::byte>& out, std::string_view type, Bytes body) {
  append_number(out, static_cast<std::uint32_t>(body.size()));
  const std::size_t start = out.size();
  for (const char letter : type) out.push_back(static_cast<std::byte>(letter));
  out.insert(out.end(), body.begin(), body.end());
  append_number(out, static_cast<std::uint32_t>(crc32_z(0, bytef(out.data() + start), out.size() - start)));
}

}  // namespace

Image decode_png(Bytes file) {
  const ByteReader reader(file, ByteReader::Order::big);
  const PngParts parts = read_chunks(reader);
  const PngHeader header = parse_header(parts.header);
  const std::size_t stream_bytes = checked_stream_size(parts.data, header);

  // libpng gets the chunks above and nothing else: no text, time or colour profile can keep it busy.
  std::vector<std::byte> plain;
  const Bytes signature = file.first(kSignatureBytes);
  plain.reserve(stream_bytes + 1024);
  plain.assign(signature.begin(), signature.end());
  append_chunk(plain, "IHDR"sv, parts.header);
  if (header.colour == kPalette) {
    if (parts.palette.empty() || parts.palette.size() % 3 != 0)
      bad_image("a PNG with a palette form but no valid palette");
    std::vector<std::byte> palette(parts.palette.begin(), parts.palette.end());
    palette.resize(std::size_t{3} << header.depth);  // what the file leaves out is black, in Pillow too
    append_chunk(plain, "PLTE"sv, palette);
  }
  append_chunk(plain, "IDAT"sv, Bytes(parts.data).first(stream_bytes));
  append_chunk(plain, "IEND"sv, {});
  return decode_with_libpng(plain);
}

}  // namespace trine::detail
