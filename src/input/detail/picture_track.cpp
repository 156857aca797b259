#include "input/detail/picture_track.h"

extern "C" {
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "input/detail/pixels.h"

namespace trine::detail {

const char* const kPictureDecoders =
    "h264,hevc,vp8,vp9,libvpx-vp9,libdav1d,libaom-av1,av1,mpeg1video,mpeg2video,mpeg4,h263,h263p,flv,msmpeg4v1,"
    "msmpeg4v2,"
    "msmpeg4,wmv1,wmv2,wmv3,vc1,theora,mjpeg,mjpegb,prores,dnxhd,dvvideo,ffv1,huffyuv,ffvhuff,utvideo,magicyuv,"
    "rawvideo,"
    "v210,png,gif,qtrle,rv10,rv20,rv30,rv40,svq1,svq3,cinepak";

namespace {

constexpr double kUsualRate = 25;  // frames a second, where nothing is said

double usual_duration(const AVStream& stream) {
  for (const AVRational rate : {stream.avg_frame_rate, stream.r_frame_rate}) {
    if (rate.num > 0 && rate.den > 0) return 1 / av_q2d(rate);
  }
  return 1 / kUsualRate;
}

std::int64_t duration_of(const AVFrame& frame) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
  return frame.duration;
#else
  return frame.pkt_duration;
#endif
}

const std::int32_t* display_matrix(const AVStream& stream) {
  constexpr std::size_t kBytes = 9 * sizeof(std::int32_t);
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
  const AVPacketSideData* found = av_packet_side_data_get(
      stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  return found != nullptr && found->size >= kBytes ? reinterpret_cast<const std::int32_t*>(found->data) : nullptr;
#else
  std::size_t size = 0;
  const std::uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  return data != nullptr && size >= kBytes ? reinterpret_cast<const std::int32_t*>(data) : nullptr;
#endif
}

}  // namespace

PictureTrack::PictureTrack(const AVStream& stream, double origin, std::int64_t max_pixels, Take take)
    : frame_(new_frame()),
      origin_(origin),
      usual_(usual_duration(stream)),
      max_pixels_(max_pixels),
      take_(std::move(take)) {
  AVDictionary* options = nullptr;
  av_dict_set_int(&options, "max_pixels", max_pixels, 0);
  av_dict_set(&options, "threads", "1", 0);
  try {
    codec_ = open_decoder(stream, kPictureDecoders, "picture", &options);
  } catch (...) {
    av_dict_free(&options);
    throw;
  }
  av_dict_free(&options);
}

const char* PictureTrack::codec() const { return avcodec_get_name(codec_->codec_id); }

void PictureTrack::decode(const AVPacket* packet) {
  const int sent = avcodec_send_packet(codec_.get(), packet);
  if (sent < 0 && sent != AVERROR_EOF) ++damaged_, damage_ = sent;
  for (;;) {
    const int received = avcodec_receive_frame(codec_.get(), frame_.get());
    if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) return;
    if (received < 0) {
      ++damaged_, damage_ = received;
      return;
    }
    const std::int64_t pixels = static_cast<std::int64_t>(frame_->width) * frame_->height;
    if (pixels > max_pixels_) {
      throw Refused{"a frame has " + std::to_string(frame_->width) + " x " + std::to_string(frame_->height) +
                    " pixels, at most " + std::to_string(max_pixels_) + " are accepted"};
    }
    const double unit = av_q2d(codec_->pkt_timebase);
    const bool timed = frame_->best_effort_timestamp != AV_NOPTS_VALUE && unit > 0;
    const double time =
        timed ? static_cast<double>(frame_->best_effort_timestamp) * unit - origin_ : (last_ < 0 ? 0 : last_ + usual_);
    last_ = std::max({time, last_, 0.0});
    const double stated = static_cast<double>(duration_of(*frame_)) * unit;
    take_(*frame_, last_, stated > 0 ? stated : usual_);
    av_frame_unref(frame_.get());
  }
}

void RgbConverter::Free::operator()(SwsContext* scaler) const { sws_freeContext(scaler); }

Image RgbConverter::convert(const AVFrame& frame) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const int width = frame.width, height = frame.height;
  if (!sws_isSupportedInput(format)) throw Refused{"its pixels are of a kind that is not read"};
  // The same numbers on every machine: no approximations of SIMD code, chroma interpolated at full width.
  constexpr int kFlags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT;
  scaler_.reset(sws_getCachedContext(scaler_.release(), width, height, format, width, height, AV_PIX_FMT_RGB24, kFlags,
                                     nullptr, nullptr, nullptr));
  if (!scaler_) throw Refused{"its pixels cannot be converted to RGB"};
  int *inverse = nullptr, *table = nullptr, from_range = 0, to_range = 0, brightness = 0, contrast = 0, saturation = 0;
  if (sws_getColorspaceDetails(scaler_.get(), &inverse, &from_range, &table, &to_range, &brightness, &contrast,
                               &saturation) >= 0) {
    if (frame.color_range != AVCOL_RANGE_UNSPECIFIED) from_range = frame.color_range == AVCOL_RANGE_JPEG;
    sws_setColorspaceDetails(scaler_.get(), sws_getCoefficients(frame.colorspace), from_range, table, to_range,
                             brightness, contrast, saturation);
  }
  // Rows with room behind them: swscale writes whole vectors.
  std::uint8_t* planes[4] = {};
  int strides[4] = {};
  constexpr int kAlign = 64;
  if (av_image_alloc(planes, strides, width + kAlign, height, AV_PIX_FMT_RGB24, kAlign) < 0) throw std::bad_alloc();
  const std::unique_ptr<std::uint8_t, decltype(&av_free)> memory(planes[0], &av_free);
  const int rows = sws_scale(scaler_.get(), frame.data, frame.linesize, 0, height, planes, strides);
  if (rows != height) throw Refused{"its pixels cannot be converted to RGB"};
  Image image{width, height, std::vector<std::uint8_t>(rgb_bytes(width, height))};
  const std::size_t row = rgb_bytes(width, 1);
  for (int y = 0; y < height; ++y) {
    std::memcpy(image.pixels.data() + static_cast<std::size_t>(y) * row,
                planes[0] + static_cast<std::ptrdiff_t>(y) * strides[0], row);
  }
  return image;
}

int orientation_of(const AVStream& stream) {
  const std::int32_t* matrix = display_matrix(stream);
  if (matrix == nullptr) return 1;
  // x' = a x + c y, y' = b x + d y, with y downwards
  const double a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  if (std::abs(a) + std::abs(d) >= std::abs(b) + std::abs(c)) return a < 0 ? (d < 0 ? 3 : 2) : (d < 0 ? 4 : 1);
  return b < 0 ? (c < 0 ? 7 : 8) : (c < 0 ? 6 : 5);
}

}  // namespace trine::detail
