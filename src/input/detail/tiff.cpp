#include "input/detail/tiff.h"

#include <tiffio.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "input/detail/ifd.h"
#include "input/detail/pixels.h"

namespace trine::detail {
namespace {

constexpr std::uint64_t kMaxTileBytes = 64u << 20;

/// What libtiff reads from, and what it last complained about.
struct TiffSource {
  Bytes bytes;
  std::uint64_t position = 0;
  std::string complaint = "it is damaged";
};

TiffSource& source_of(thandle_t handle) { return *static_cast<TiffSource*>(handle); }

tmsize_t read_source(thandle_t handle, void* out, tmsize_t wanted) {
  TiffSource& source = source_of(handle);
  if (source.position >= source.bytes.size() || wanted <= 0) return 0;
  const std::uint64_t count = std::min(static_cast<std::uint64_t>(wanted), source.bytes.size() - source.position);
  std::memcpy(out, source.bytes.data() + source.position, count);
  source.position += count;
  return static_cast<tmsize_t>(count);
}

toff_t seek_source(thandle_t handle, toff_t offset, int whence) {
  TiffSource& source = source_of(handle);
  source.position = offset + (whence == SEEK_CUR ? source.position : whence == SEEK_END ? source.bytes.size() : 0);
  return source.position;
}

int keep_complaint(TIFF*, void* source, const char*, const char* format, va_list arguments) {
  std::array<char, 256> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  static_cast<TiffSource*>(source)->complaint = text.data();
  return 1;  // handled: nothing is printed
}

int drop_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }

using TiffHandle = std::unique_ptr<TIFF, decltype(&TIFFClose)>;

TiffHandle open_tiff(TiffSource& source, std::uint64_t max_allocation) {
  const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(TIFFOpenOptionsAlloc(),
                                                                                 TIFFOpenOptionsFree);
  if (!options) throw std::bad_alloc();
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), static_cast<tmsize_t>(max_allocation));
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_complaint, &source);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), drop_warning, nullptr);
  return TiffHandle(
      TIFFClientOpenExt(
          "memory", "rm", &source, read_source, [](thandle_t, void*, tmsize_t) -> tmsize_t { return 0; }, seek_source,
          [](thandle_t) { return 0; }, [](thandle_t handle) -> toff_t { return source_of(handle).bytes.size(); },
          nullptr, nullptr, options.get()),
      TIFFClose);
}

/// How the samples of a page are to be read.
struct Layout {
  enum class Kind { grey, palette, rgb, premultiplied, cmyk };

  Kind kind = Kind::grey;
  int bits = 8;
  int samples = 1;  // per pixel, all of `bits`
  bool planar = false;
  bool white_is_zero = false;
  std::array<const std::uint16_t*, 3> palette{};
};

std::uint16_t field(TIFF* tiff, std::uint32_t tag) {
  std::uint16_t value = 0;
  TIFFGetFieldDefaulted(tiff, tag, &value);
  return value;
}

Layout read_layout(TIFF* tiff) {
  constexpr int kAbsent = -1;
  Layout layout;
  layout.bits = field(tiff, TIFFTAG_BITSPERSAMPLE);
  layout.samples = field(tiff, TIFFTAG_SAMPLESPERPIXEL);
  layout.planar = field(tiff, TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE && layout.samples > 1;
  const int photometric = field(tiff, TIFFTAG_PHOTOMETRIC);
  const int compression = field(tiff, TIFFTAG_COMPRESSION);
  const bool unsigned_samples = field(tiff, TIFFTAG_SAMPLEFORMAT) == SAMPLEFORMAT_UINT;
  std::uint16_t extra_count = 0;
  const std::uint16_t* extra_kinds = nullptr;
  TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &extra_count, &extra_kinds);
  const int extra = extra_count == 0 ? kAbsent : extra_kinds[0];
  const bool premultiplied = extra == EXTRASAMPLE_ASSOCALPHA;
  const bool whole = layout.bits == 8 || (layout.bits == 16 && !layout.planar);
  const bool packed = layout.bits == 1 || layout.bits == 2 || layout.bits == 4;

  bool known = false;
  switch (photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
      layout.white_is_zero = photometric == PHOTOMETRIC_MINISWHITE;
      known = (layout.samples == 1 && (packed || layout.bits == 8 || (layout.bits == 16 && !layout.white_is_zero))) ||
              (layout.samples == 2 && layout.bits == 8 && !layout.white_is_zero && !layout.planar && extra != kAbsent &&
               !premultiplied);
      break;
    case PHOTOMETRIC_PALETTE: {
      layout.kind = Layout::Kind::palette;
      std::uint16_t *red = nullptr, *green = nullptr, *blue = nullptr;
      known = layout.samples == 1 && (packed || layout.bits == 8) &&
              TIFFGetField(tiff, TIFFTAG_COLORMAP, &red, &green, &blue) == 1;
      layout.palette = {red, green, blue};
      break;
    }
    case PHOTOMETRIC_RGB:
      layout.kind = premultiplied ? Layout::Kind::premultiplied : Layout::Kind::rgb;
      known = whole && (layout.samples == 3 || (layout.samples == 4 && !(layout.planar && premultiplied)));
      break;
    case PHOTOMETRIC_YCBCR:  // libjpeg converts
      layout.kind = Layout::Kind::rgb;
      known = compression == COMPRESSION_JPEG && layout.samples == 3 && layout.bits == 8 && !layout.planar;
      if (known) TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      break;
    case PHOTOMETRIC_SEPARATED:
      layout.kind = Layout::Kind::cmyk;
      known = whole && layout.samples == 4 && !layout.planar && extra == kAbsent;
      break;
    default:
      break;
  }
  if (!known || !unsigned_samples || extra_count > 1 || compression == COMPRESSION_OJPEG) {
    bad_image("a TIFF with photometric interpretation ", photometric, ", ", layout.samples, " samples of ", layout.bits,
              " bits, ", extra_count, " of them extra, and compression ", compression, " is not supported");
  }
  return layout;
}

/// Sample `index` of a row; of 16 bits (in the order of this machine), all.
int sample(const Layout& layout, const std::uint8_t* row, std::size_t index) {
  if (layout.bits == 8) return row[index];
  if (layout.bits == 16) {
    std::uint16_t value = 0;
    std::memcpy(&value, row + 2 * index, 2);
    return value;
  }
  const std::size_t bit = index * static_cast<std::size_t>(layout.bits);
  return row[bit / 8] >> (8 - layout.bits - static_cast<int>(bit % 8)) & ((1 << layout.bits) - 1);
}

/// `count` pixels to RGB with the rules of Pillow: colours of 16 bits lose their low byte, greys of 16 bits are
/// clipped.
void put_pixels(const Layout& layout, const std::uint8_t* row, std::size_t count, std::uint8_t* out) {
  const auto samples = static_cast<std::size_t>(layout.samples);
  const int greatest = layout.bits == 16 ? 255 : (1 << layout.bits) - 1;
  for (std::size_t x = 0; x < count; ++x, out += 3) {
    std::array<std::uint8_t, 4> high{};  // the samples cut to 8 bits, for the kinds made of whole bytes
    const int first = sample(layout, row, x * samples);
    for (std::size_t c = 0; c < std::min<std::size_t>(samples, 4) && layout.bits >= 8; ++c) {
      high[c] = static_cast<std::uint8_t>(sample(layout, row, x * samples + c) >> (layout.bits - 8));
    }
    switch (layout.kind) {
      case Layout::Kind::grey: {
        const int value = std::min(first, greatest) * 255 / greatest;
        std::fill_n(out, 3, static_cast<std::uint8_t>(layout.white_is_zero ? 255 - value : value));
        break;
      }
      case Layout::Kind::palette:
        for (std::size_t c = 0; c < 3; ++c) out[c] = static_cast<std::uint8_t>(layout.palette[c][first] >> 8);
        break;
      case Layout::Kind::rgb:
        std::copy_n(high.begin(), 3, out);
        break;
      case Layout::Kind::premultiplied:
        for (std::size_t c = 0; c < 3; ++c) {
          out[c] = high[3] == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(std::min(255, high[c] * 255 / high[3]));
        }
        break;
      case Layout::Kind::cmyk:
        cmyk_to_rgb(high.data(), out);
        break;
    }
  }
}

/// A page cut into strips (as wide as the page) or tiles.
struct Blocks {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  bool tiled = false;
};

Blocks read_blocks(TIFF* tiff, std::uint32_t page_width, std::uint32_t page_height) {
  Blocks blocks{page_width, page_height, TIFFIsTiled(tiff) != 0};
  if (blocks.tiled) {
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &blocks.width);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &blocks.height);
  } else {
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &blocks.height);
    blocks.height = std::min(blocks.height, page_height);
  }
  if (blocks.width == 0 || blocks.height == 0) bad_image("a TIFF with empty strips or tiles");
  return blocks;
}

class PageReader {
 public:
  PageReader(TIFF* tiff, const TiffSource& source, const Layout& layout, Image& page)
      : tiff_(tiff), source_(source), layout_(layout), page_(page) {}

  void read() {
    const auto width = static_cast<std::uint32_t>(page_.width);
    const auto height = static_cast<std::uint32_t>(page_.height);
    const Blocks blocks = read_blocks(tiff_, width, height);
    const auto samples = static_cast<std::uint64_t>(layout_.planar ? 1 : layout_.samples);
    row_bytes_ = (blocks.width * samples * static_cast<std::uint64_t>(layout_.bits) + 7) / 8;
    if (blocks.tiled && row_bytes_ > kMaxTileBytes / blocks.height) bad_image("a TIFF with tiles larger than 64 MiB");
    block_.resize(row_bytes_ * blocks.height);
    for (std::uint16_t plane = 0; plane < (layout_.planar ? 3 : 1); ++plane) {
      for (std::uint32_t y = 0; y < height; y += std::min(blocks.height, height - y)) {
        const std::uint32_t rows = std::min(blocks.height, height - y);
        for (std::uint32_t x = 0; x < width; x += std::min(blocks.width, width - x)) {
          load(blocks, x, y, plane, rows);
          place(x, y, plane, std::min(blocks.width, width - x), rows);
        }
      }
    }
  }

 private:
  void load(const Blocks& blocks, std::uint32_t x, std::uint32_t y, std::uint16_t plane, std::uint32_t rows) {
    const auto bytes = static_cast<tmsize_t>(blocks.tiled ? block_.size() : row_bytes_ * rows);
    const tmsize_t natural = blocks.tiled ? TIFFTileSize(tiff_) : TIFFVStripSize(tiff_, rows);
    if (natural != bytes) bad_image("a TIFF whose strips or tiles have ", natural, " bytes, wanted ", bytes);
    const tmsize_t got = blocks.tiled
                             ? TIFFReadEncodedTile(tiff_, TIFFComputeTile(tiff_, x, y, 0, plane), block_.data(), bytes)
                             : TIFFReadEncodedStrip(tiff_, TIFFComputeStrip(tiff_, y, plane), block_.data(), bytes);
    if (got != bytes) bad_image("the TIFF cannot be decoded: ", source_.complaint);
  }

  void place(std::uint32_t x, std::uint32_t y, std::uint16_t plane, std::uint32_t columns, std::uint32_t rows) {
    for (std::uint32_t row = 0; row < rows; ++row) {
      const std::uint8_t* in = block_.data() + row * row_bytes_;
      std::uint8_t* out = page_.pixels.data() + rgb_bytes(page_.width, y + row) + rgb_bytes(x, 1);
      if (layout_.planar) {
        for (std::uint32_t i = 0; i < columns; ++i) out[3 * i + plane] = in[i];
      } else {
        put_pixels(layout_, in, columns, out);
      }
    }
  }

  TIFF* tiff_;
  const TiffSource& source_;
  const Layout& layout_;
  Image& page_;
  std::uint64_t row_bytes_ = 0;
  std::vector<std::uint8_t> block_;
};

}  // namespace

Image decode_tiff(Bytes file, int width, int height) {
  Image page{width, height, std::vector<std::uint8_t>(rgb_bytes(width, height))};
  TiffSource source{.bytes = file};
  const TiffHandle tiff = open_tiff(source, 4 * page.pixels.size() + kMaxTileBytes);
  if (!tiff) bad_image("the TIFF cannot be decoded: ", source.complaint);
  std::uint32_t libtiff_width = 0;
  std::uint32_t libtiff_height = 0;
  TIFFGetField(tiff.get(), TIFFTAG_IMAGEWIDTH, &libtiff_width);
  TIFFGetField(tiff.get(), TIFFTAG_IMAGELENGTH, &libtiff_height);
  if (libtiff_width != static_cast<std::uint32_t>(width) || libtiff_height != static_cast<std::uint32_t>(height)) {
    bad_image("a TIFF that gives its size twice, as ", width, " x ", height, " and ", libtiff_width, " x ",
              libtiff_height);
  }
  const std::optional<Ifd> directory = Ifd::first(file);
  const std::uint32_t photometric = field(tiff.get(), TIFFTAG_PHOTOMETRIC);
  if (directory && directory->number(TIFFTAG_PHOTOMETRIC).value_or(photometric) != photometric) {
    bad_image("the TIFF is damaged: ", source.complaint);  // libtiff makes grey of a palette it cannot read
  }
  const Layout layout = read_layout(tiff.get());
  PageReader(tiff.get(), source, layout, page).read();
  return page;
}

}  // namespace trine::detail
