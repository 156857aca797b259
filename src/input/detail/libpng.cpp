#include "input/detail/libpng.h"

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "input/detail/pixels.h"

namespace trine::detail {
namespace {

/// libpng behind an object: its errors jump back into the member function that called it, which reports failure.
/// Between the two there is nothing but C, so the jump passes no destructor.
class PngDecoder {
 public:
  explicit PngDecoder(Bytes file) : rest_(file) {}
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  /// Reads the header and asks for rows of RGB, of 16-bit grey for rows as they are.
  bool start() {
    if (setjmp(escape_) != 0) return false;
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, fail, [](png_structp, png_const_charp) {});
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) return false;
    png_set_read_fn(png_, this, read);
    png_read_info(png_, info_);
    const int colour = png_get_color_type(png_, info_);
    grey16_ = colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png_, info_) == 16;
    if (!grey16_) {
      png_set_strip_16(png_);
      png_set_strip_alpha(png_);
      png_set_palette_to_rgb(png_);
      png_set_expand_gray_1_2_4_to_8(png_);
      if ((colour & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png_);
    }
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  int width() const { return static_cast<int>(png_get_image_width(png_, info_)); }
  int height() const { return static_cast<int>(png_get_image_height(png_, info_)); }
  bool is_grey16() const { return grey16_; }
  std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }

  bool read_rows(std::uint8_t** rows) {
    if (setjmp(escape_) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

 private:
  [[noreturn]] static void fail(png_structp png, png_const_charp) {
    std::longjmp(static_cast<PngDecoder*>(png_get_error_ptr(png))->escape_, 1);
  }

  static void read(png_structp png, png_bytep out, std::size_t count) {
    Bytes& rest = static_cast<PngDecoder*>(png_get_io_ptr(png))->rest_;
    if (count > rest.size()) png_error(png, "the file ends too early");
    std::memcpy(out, rest.data(), count);
    rest = rest.subspan(count);
  }

  Bytes rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  bool grey16_ = false;
  std::jmp_buf escape_{};
};

}  // namespace

Image decode_with_libpng(Bytes file) {
  PngDecoder decoder(file);
  const auto require = [](bool ok) {
    if (!ok) bad_image("the PNG is damaged: libpng cannot decode it");
  };
  require(decoder.start());
  const auto width = static_cast<std::size_t>(decoder.width()), height = static_cast<std::size_t>(decoder.height());
  const std::size_t wanted = width * (decoder.is_grey16() ? 2 : 3);
  require(decoder.row_bytes() == wanted);
  std::vector<std::uint8_t> pixels(wanted * height);
  std::vector<std::uint8_t*> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = pixels.data() + y * wanted;
  require(decoder.read_rows(rows.data()));
  if (!decoder.is_grey16()) return {decoder.width(), decoder.height(), std::move(pixels)};

  Image image{decoder.width(), decoder.height(), std::vector<std::uint8_t>(width * height * 3)};
  for (std::size_t i = 0; i < width * height; ++i) {  // the upper byte first
    std::fill_n(image.pixels.data() + 3 * i, 3, pixels[2 * i] != 0 ? std::uint8_t{255} : pixels[2 * i + 1]);
  }
  return image;
}

}  // namespace trine::detail
