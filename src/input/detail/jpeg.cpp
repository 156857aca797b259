#include "input/detail/jpeg.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include <jpeglib.h>

#include <jerror.h>

#include "input/detail/pixels.h"

namespace trine::detail {
namespace {

/// More scans than any encoder writes; a small progressive file could otherwise keep the decoder busy for minutes.
constexpr int kMaxScans = 500;

}  // namespace

/// libjpeg behind an object: its errors jump back into the member function that called it, which reports failure.
/// Between the two there is nothing but C, so the jump passes no destructor.
class JpegDecoder {
 public:
  JpegDecoder() {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = fail;
    errors_.emit_message = warn;
    errors_.output_message = [](j_common_ptr) {};
    progress_.progress_monitor = check_scans;
    info_.client_data = this;
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  /// Reads the header and chooses the form of the rows: RGB, or CMYK as stored.
  bool start(Bytes file, int scale) {
    if (setjmp(escape_) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(file.data()), static_cast<unsigned long>(file.size()));
    jpeg_read_header(&info_, TRUE);
    if (info_.num_components == 2 || info_.num_components > 4) {
      message_ = "it has an unknown number of components";
      return false;
    }
    info_.scale_num = 1;
    info_.scale_denom = static_cast<unsigned>(scale);
    info_.out_color_space = info_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    return jpeg_start_decompress(&info_) != FALSE;
  }

  /// The next row, width() * channels() bytes.
  bool read_row(std::uint8_t* row) {
    if (setjmp(escape_) != 0) return false;
    return jpeg_read_scanlines(&info_, &row, 1) == 1;
  }

  /// Reads up to the end mark.
  bool finish() {
    if (setjmp(escape_) != 0) return false;
    return jpeg_finish_decompress(&info_) != FALSE;
  }

  int width() const { return static_cast<int>(info_.output_width); }
  int height() const { return static_cast<int>(info_.output_height); }
  bool is_cmyk() const { return info_.out_color_space == JCS_CMYK; }
  const char* message() const { return message_; }

 private:
  [[noreturn]] static void fail(j_common_ptr info) {
    JpegDecoder& self = *static_cast<JpegDecoder*>(info->client_data);
    info->err->format_message(info, self.text_);
    self.message_ = self.text_;
    std::longjmp(self.escape_, 1);
  }

  /// Pillow goes on after damaged codes, so do we; but not where data are missing, which libjpeg would fill with grey.
  static void warn(j_common_ptr info, int level) {
    if (level < 0 && (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER)) fail(info);
  }

  static void check_scans(j_common_ptr info) {
    JpegDecoder& self = *static_cast<JpegDecoder*>(info->client_data);
    if (self.info_.input_scan_number <= kMaxScans) return;
    self.message_ = "it has more than 500 scans";
    std::longjmp(self.escape_, 1);
  }

  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf escape_{};
  char text_[JMSG_LENGTH_MAX] = {};
  const char* message_ = "it ends too early";
};

namespace {

/// The same for writing.
class JpegEncoder {
 public:
  JpegEncoder() {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) {
      std::longjmp(static_cast<JpegEncoder*>(info->client_data)->escape_, 1);
    };
    errors_.output_message = [](j_common_ptr) {};
    info_.client_data = this;
  }
  ~JpegEncoder() {
    jpeg_destroy_compress(&info_);
    std::free(file_);
  }
  JpegEncoder(const JpegEncoder&) = delete;
  JpegEncoder& operator=(const JpegEncoder&) = delete;

  bool encode(const Image& image, int quality) {
    if (setjmp(escape_) != 0) return false;
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &file_, &bytes_);
    info_.image_width = static_cast<JDIMENSION>(image.width);
    info_.image_height = static_cast<JDIMENSION>(image.height);
    info_.input_components = 3;
    info_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality, TRUE);
    jpeg_start_compress(&info_, TRUE);
    while (info_.next_scanline < info_.image_height) {
      auto* row = const_cast<JSAMPLE*>(image.pixels.data() + rgb_bytes(image.width, info_.next_scanline));
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }

  Bytes file() const { return std::as_bytes(std::span(file_, bytes_)); }

 private:
  jpeg_compress_struct info_{};
  jpeg_error_mgr errors_{};
  std::jmp_buf escape_{};
  unsigned char* file_ = nullptr;
  unsigned long bytes_ = 0;
};

}  // namespace

std::vector<std::byte> encode_jpeg(const char* who, const Image& image, int quality) {
  JpegEncoder encoder;
  if (!encoder.encode(image, quality)) failure(who, "libjpeg cannot encode the picture");
  const Bytes file = encoder.file();
  return {file.begin(), file.end()};
}

JpegRows::JpegRows(Bytes file, int scale) : decoder_(std::make_unique<JpegDecoder>()) {
  require(decoder_->start(file, scale));
  inks_.resize(decoder_->is_cmyk() ? static_cast<std::size_t>(width()) * 4 : 0);
  left_ = height();
}

JpegRows::JpegRows(JpegRows&&) noexcept = default;
JpegRows::~JpegRows() = default;

int JpegRows::width() const { return decoder_->width(); }
int JpegRows::height() const { return decoder_->height(); }

void JpegRows::read(std::uint8_t* row) {
  require(decoder_->read_row(inks_.empty() ? row : inks_.data()));
  for (std::size_t at = 0; at < inks_.size(); at += 4, row += 3) {
    std::uint8_t* ink = inks_.data() + at;
    for (int c = 0; c < 4; ++c) ink[c] = static_cast<std::uint8_t>(255 - ink[c]);  // Adobe's convention, as in Pillow
    cmyk_to_rgb(ink, row);
  }
  if (--left_ == 0) require(decoder_->finish());
}

void JpegRows::require(bool ok) const {
  if (!ok) bad_image("the JPEG cannot be decoded: ", decoder_->message());
}

}  // namespace trine::detail
