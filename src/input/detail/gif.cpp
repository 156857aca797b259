#include "input/detail/gif.h"

#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "input/detail/pixels.h"

namespace trine::detail {
namespace {

/// What giflib reads from.
struct GifSource {
  Bytes bytes;
  std::size_t position = 0;
};

int read_source(GifFileType* gif, GifByteType* out, int wanted) {
  GifSource& source = *static_cast<GifSource*>(gif->UserData);
  const std::size_t count = std::min(static_cast<std::size_t>(wanted), source.bytes.size() - source.position);
  std::memcpy(out, source.bytes.data() + source.position, count);
  source.position += count;
  return static_cast<int>(count);
}

/// An open GIF; a call that fails becomes an error.
class GifReader {
 public:
  explicit GifReader(GifSource& source) {
    int error = 0;
    gif_ = DGifOpen(&source, read_source, &error);
    if (gif_ == nullptr) fail(error);
  }
  ~GifReader() {
    int ignored = 0;
    DGifCloseFile(gif_, &ignored);
  }
  GifReader(const GifReader&) = delete;
  GifReader& operator=(const GifReader&) = delete;

  GifFileType* operator->() const { return gif_; }
  GifFileType* get() const { return gif_; }

  void require(int status) const {
    if (status == GIF_ERROR) fail(gif_->Error);
  }

 private:
  [[noreturn]] static void fail(int error) {
    const char* text = GifErrorString(error);
    bad_image("the GIF cannot be decoded: ", text == nullptr ? "it is damaged" : text);
  }

  GifFileType* gif_;
};

constexpr int kNoTransparency = -1;

/// Steps over the extensions up to the first frame and its descriptor; returns the index that the last graphic control
/// extension calls transparent.
int open_first_frame(const GifReader& gif) {
  int transparent = kNoTransparency;
  for (;;) {
    GifRecordType record = UNDEFINED_RECORD_TYPE;
    gif.require(DGifGetRecordType(gif.get(), &record));
    if (record == TERMINATE_RECORD_TYPE) bad_image("a GIF without a picture");
    if (record == IMAGE_DESC_RECORD_TYPE) break;
    int label = 0;
    GifByteType* block = nullptr;  // its length, then its bytes
    gif.require(DGifGetExtension(gif.get(), &label, &block));
    if (label == GRAPHICS_EXT_FUNC_CODE && block != nullptr && block[0] >= 4 && (block[1] & 1) != 0)
      transparent = block[4];
    while (block != nullptr) gif.require(DGifGetExtensionNext(gif.get(), &block));
  }
  gif.require(DGifGetImageDesc(gif.get()));
  return transparent;
}

using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

/// The colours of all indices: those of the frame's own table, else of the common one, and black beyond its end. A
/// table that only says "index i is grey i" counts as none; without any, all 256 indices are greys. (Pillow's rules.)
Palette full_palette(const GifReader& gif) {
  Palette greys;
  for (std::size_t i = 0; i < greys.size(); ++i) greys[i].fill(static_cast<std::uint8_t>(i));
  for (const ColorMapObject* map : {gif->Image.ColorMap, gif->SColorMap}) {
    if (map == nullptr) continue;
    Palette palette{};
    const auto count = static_cast<std::size_t>(map->ColorCount);
    for (std::size_t i = 0; i < count; ++i)
      palette[i] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};
    if (!std::equal(palette.begin(), palette.begin() + map->ColorCount, greys.begin())) return palette;
  }
  return greys;
}

}  // namespace

Image decode_gif(Bytes file, int width, int height) {
  GifSource source{.bytes = file};
  const GifReader gif(source);
  const int transparent = open_first_frame(gif);
  const GifImageDesc& frame = gif->Image;
  if (frame.Left < 0 || frame.Top < 0 || frame.Width < 1 || frame.Height < 1 || frame.Left > width - frame.Width ||
      frame.Top > height - frame.Height) {
    bad_image("a GIF whose frame lies outside its canvas");
  }

  const int background = transparent == kNoTransparency ? 0 : transparent;
  std::vector<GifPixelType> indices(static_cast<std::size_t>(width) * static_cast<std::size_t>(height),
                                    static_cast<GifPixelType>(background));
  struct Pass {
    int first, step;
  };
  constexpr std::array<Pass, 4> kInterlaced{{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
  constexpr std::array<Pass, 1> kSequential{{{0, 1}}};
  const std::span<const Pass> passes =
      frame.Interlace ? std::span<const Pass>(kInterlaced) : std::span<const Pass>(kSequential);
  for (const Pass& pass : passes) {
    for (int y = pass.first; y < frame.Height; y += pass.step) {
      const std::size_t row = static_cast<std::size_t>(frame.Top + y) * static_cast<std::size_t>(width);
      gif.require(DGifGetLine(gif.get(), indices.data() + row + frame.Left, frame.Width));
    }
  }

  const Palette palette = full_palette(gif);
  Image image{width, height, std::vector<std::uint8_t>(rgb_bytes(width, height))};
  std::uint8_t* out = image.pixels.data();
  for (const GifPixelType index : indices) out = std::copy_n(palette[index].begin(), 3, out);
  return image;
}

}  // namespace trine::detail
