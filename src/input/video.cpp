#include "trine/input/video.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "detail/error.h"
#include "detail/file.h"
#include "input/detail/byte_reader.h"
#include "input/detail/container.h"
#include "input/detail/orient.h"
#include "input/detail/picture_track.h"
#include "input/detail/plain_text.h"
#include "input/detail/sound_track.h"
#include "trine/input/text.h"

namespace trine {

namespace {

using namespace std::string_view_literals;
using detail::Container;
using detail::MediaSource;
using detail::PictureTrack;
using detail::Refused;
using detail::SoundTrack;

constexpr std::size_t kHead = 4096;  // bytes that tell the format
constexpr std::size_t kMaxSubtitles = 100'000, kMaxSubtitleBytes = 20'000;
constexpr double kCut = 1;          // seconds by which a file is shorter than its header says before it is called cut
constexpr double kReadingTime = 5;  // seconds of a subtitle without an end

/// What the first bytes of a file say it is.
struct Kind {
  std::size_t offset;
  std::string_view bytes;
  std::size_t second_offset;
  std::string_view second_bytes;
  std::string_view name;
  const char* demuxer;  // FFmpeg's name; null: refused by name
};

/// What has no row is refused as unknown: playlists, lists of pictures and headerless streams among it.
constexpr Kind kKinds[] = {
    {4, "ftyp"sv, 0, ""sv, "MP4, MOV or 3GP", "mov"},
    {4, "moov"sv, 0, ""sv, "MOV", "mov"},
    {4, "mdat"sv, 0, ""sv, "MOV", "mov"},
    {4, "wide"sv, 0, ""sv, "MOV", "mov"},
    {0, "\x1a\x45\xdf\xa3"sv, 0, ""sv, "Matroska or WebM", "matroska"},
    {0, "RIFF"sv, 8, "AVI "sv, "AVI", "avi"},
    {0, "OggS"sv, 0, ""sv, "Ogg", "ogg"},
    {0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"sv, 0, ""sv, "WMV", "asf"},
    {0, "FLV\x01"sv, 0, ""sv, "FLV", "flv"},
    {0, "\x47"sv, 188, "\x47"sv, "MPEG-TS", "mpegts"},
    {4, "\x47"sv, 196, "\x47"sv, "MPEG-TS", "mpegts"},
    {0, "\0\0\1\xba"sv, 0, ""sv, "MPEG-PS", "mpeg"},
    {0, "\x06\x0e\x2b\x34\x02\x05\x01\x01"sv, 0, ""sv, "MXF", "mxf"},
    {0, "nut/multimedia container\0"sv, 0, ""sv, "NUT", "nut"},
    {0, ".RMF"sv, 0, ""sv, "RealMedia", "rm"},
    {0, "DKIF"sv, 0, ""sv, "IVF", "ivf"},
    {0, "YUV4MPEG2 "sv, 0, ""sv, "Y4M", "yuv4mpegpipe"},
    {0, "GIF8"sv, 0, ""sv, "GIF", "gif"},
    {0, "#EXTM3U"sv, 0, ""sv, "a playlist, which names other files", nullptr},
    {0, "ffconcat"sv, 0, ""sv, "a playlist, which names other files", nullptr},
    {0, "<?xml"sv, 0, ""sv, "XML, which may name other files", nullptr},
    {0, "<MPD"sv, 0, ""sv, "a playlist, which names other files", nullptr},
    {0, "RIFF"sv, 8, "WAVE"sv, "WAV, a sound file", nullptr},
    {0, "fLaC"sv, 0, ""sv, "FLAC, a sound file", nullptr},
    {0, "ID3"sv, 0, ""sv, "MP3, a sound file", nullptr},
    {0, "\xff\xd8\xff"sv, 0, ""sv, "a JPEG picture", nullptr},
    {0, "\x89PNG"sv, 0, ""sv, "a PNG picture", nullptr},
    {0, "RIFF"sv, 8, "WEBP"sv, "a WebP picture", nullptr},
    {0, "%PDF"sv, 0, ""sv, "a PDF document", nullptr},
    {0, "PK\x03\x04"sv, 0, ""sv, "a ZIP archive", nullptr},
};

const Kind& kind_of(detail::Bytes head) {
  const detail::ByteReader reader(head, detail::ByteReader::Order::big);
  for (const Kind& kind : kKinds) {
    if (!reader.starts_with(kind.bytes, kind.offset) || !reader.starts_with(kind.second_bytes, kind.second_offset))
      continue;
    if (kind.demuxer == nullptr) throw Refused{"a video is wanted, this looks like " + std::string(kind.name)};
    return kind;
  }
  throw Refused{"this is no video that is read here; MP4, MOV, Matroska, WebM, AVI and others are"};
}

bool is_text(const AVStream& stream) {
  switch (stream.codecpar->codec_id) {
    case AV_CODEC_ID_MOV_TEXT:
    case AV_CODEC_ID_SUBRIP:
    case AV_CODEC_ID_TEXT:
    case AV_CODEC_ID_WEBVTT:
    case AV_CODEC_ID_ASS:
      return true;
    default:
      return false;
  }
}

/// The words of a packet of subtitles.
std::string words_of(const AVPacket& packet, AVCodecID codec) {
  std::string_view text(reinterpret_cast<const char*>(packet.data), static_cast<std::size_t>(std::max(packet.size, 0)));
  if (text.size() > kMaxSubtitleBytes) throw Refused{"a subtitle of " + std::to_string(text.size()) + " bytes"};
  if (codec == AV_CODEC_ID_MOV_TEXT) {  // length in two bytes, text, boxes of styles
    if (text.size() < 2) return "";
    const std::size_t length = static_cast<unsigned char>(text[0]) * 256u + static_cast<unsigned char>(text[1]);
    text = text.substr(2, length);
  }
  if (codec == AV_CODEC_ID_ASS) {  // ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text
    for (int field = 0; field < 8; ++field) {
      const std::size_t comma = text.find(',');
      if (comma == std::string_view::npos) return "";
      text.remove_prefix(comma + 1);
    }
  }
  try {
    check_utf8(text);
  } catch (const std::invalid_argument&) {
    throw Refused{"text that is not UTF-8"};
  }
  return codec == AV_CODEC_ID_ASS ? detail::plain_ass(text) : detail::plain_cue(text);
}

std::string shown(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

[[noreturn]] void refuse_length(double max_seconds) {
  throw Refused{"the video is longer than the " + shown(max_seconds) + " seconds that are accepted"};
}

/// The frames that are on screen at the wanted times, or have the chosen numbers, out of all that come by.
class Selection {
 public:
  Selection(const VideoOptions& options, double seconds, std::vector<std::int64_t> chosen, int orientation,
            TakeFrame take)
      : options_(options),
        seconds_(seconds),
        chosen_(std::move(chosen)),
        orientation_(orientation),
        take_(std::move(take)),
        held_(detail::new_frame()) {}

  void offer(const AVFrame& frame, double time, double duration) {
    if (time > options_.max_seconds) refuse_length(options_.max_seconds);
    if (end_ >= 0 && !options_.choose) emit_until(time);
    av_frame_unref(held_.get());
    if (av_frame_ref(held_.get(), &frame) < 0) throw std::bad_alloc();
    image_ = {};
    end_ = time + duration;
    while (taken_ < std::ssize(chosen_) && chosen_[static_cast<std::size_t>(taken_)] == offered_) emit(time);
    ++offered_;
  }

  /// -> when the last frame leaves the screen
  double finish() {
    end_ = std::clamp(end_, 0.0, std::max(options_.max_seconds, 0.0));
    if (offered_ == 0 || options_.choose) return end_;
    emit_until(end_);
    while (options_.frames > 0 && taken_ < options_.frames) emit(next());  // rounding of the last part's middle
    if (taken_ == 0) emit(0);
    return end_;
  }

  std::int64_t offered() const { return offered_; }

 private:
  /// The time that is wanted next; none are left where `frames` have been taken.
  double next() const {
    const auto count = static_cast<double>(taken_);
    if (options_.frames > 0) return (count + 0.5) * seconds_ / static_cast<double>(options_.frames);
    return count / options_.frames_per_second;
  }

  void emit_until(double time) {
    constexpr double kRounding = 1e-6;  // seconds, of times that are sums of fractions
    while (next() < time - kRounding && (options_.frames == 0 || taken_ < options_.frames)) emit(next());
  }

  void emit(double time) {
    if (taken_ == options_.max_frames) {
      throw Refused{"at " + shown(options_.frames_per_second) + " frames a second it gives more than the " +
                    std::to_string(options_.max_frames) + " frames that are accepted; take fewer a second"};
    }
    if (image_.pixels.empty()) {
      image_ = converter_.convert(*held_);
      if (orientation_ != 1) image_ = detail::orient(image_, orientation_);
    }
    take_({time, image_});
    ++taken_;
  }

  const VideoOptions& options_;
  double seconds_;  // of the video, where frames are taken evenly
  std::vector<std::int64_t> chosen_;
  int orientation_;
  TakeFrame take_;
  detail::RgbConverter converter_;
  detail::Media<AVFrame> held_;  // on screen, until end_ or the next one
  Image image_;                  // of it, once it is wanted
  double end_ = -1;
  std::int64_t offered_ = 0;
  std::int64_t taken_ = 0;
};

/// A file on its way to a Video.
class Decoding {
 public:
  Decoding(const char* who, const MediaSource& source, const Kind& kind, const VideoOptions& options,
           const TakeFrame& take)
      : who_(who), source_(source), kind_(kind), options_(options), take_(take) {
    video_.container = kind.name;
  }

  Video run() {
    const std::unique_ptr<Container> opened = open();
    Container& container = *opened;
    const AVStream& pictures = container.stream(pictures_);
    Selection selection(options_, options_.frames > 0 ? measure() : 0, choose(), detail::orientation_of(pictures),
                        [this](VideoFrame frame) { keep(std::move(frame)); });
    PictureTrack track(pictures, origin_, options_.max_pixels, [&](const AVFrame& frame, double time, double duration) {
      selection.offer(frame, time, duration);
    });
    video_.codec = track.codec();
    start_sound(container);
    if (options_.subtitles) texts_ = container.find(AVMEDIA_TYPE_SUBTITLE, is_text);
    walk(container, [&](const AVPacket& packet) {
      reach(packet, container.stream(packet.stream_index));
      if (packet.stream_index == pictures_) track.decode(&packet);
      if (packet.stream_index == sounds_) hear(&packet);
      if (packet.stream_index == texts_) read(packet, container.stream(texts_));
    });
    track.decode(nullptr);
    hear(nullptr);
    if (selection.offered() == 0) {
      throw Refused{track.damage() != 0 ? "none of its pictures decodes: " + detail::reason(track.damage())
                                        : "its picture track holds no frame; the file is empty or cut"};
    }
    video_.seconds = selection.finish();
    if (track.damaged() > 0) note(track.damaged(), " packets of pictures do not decode and were passed over");
    const double promised =
        container.format().duration > 0 ? static_cast<double>(container.format().duration) / AV_TIME_BASE : 0;
    if (promised > reached_ + kCut) note("the file is cut: ", reached_, " of ", promised, " s are there");
    finish_sound();
    finish_subtitles();
    return std::move(video_);
  }

 private:
  template <typename... Parts>
  void note(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    video_.notes.push_back(out.str());
  }

  std::unique_ptr<Container> open() {
    auto opened = std::make_unique<Container>(source_, kind_.demuxer, decoders().c_str());
    Container& container = *opened;
    // Containers without a header tell their streams, all of them the time of their beginning only now.
    avformat_find_stream_info(&container.format(), nullptr);
    pictures_ = container.find(AVMEDIA_TYPE_VIDEO, [](const AVStream& stream) {
      return (stream.disposition & AV_DISPOSITION_ATTACHED_PIC) == 0;
    });
    if (pictures_ < 0) throw Refused{"it has no picture track; read_audio reads the sound of such a file"};
    origin_ = beginning(container.format().start_time, container.stream(pictures_));
    return opened;
  }

  /// The time that counts as 0: when the first stream begins, or the pictures if they come so soon after it that only
  /// what a coder of sound puts before the first one lies between.
  static double beginning(std::int64_t first, const AVStream& pictures) {
    constexpr double kPriming = 0.1;  // seconds
    const bool known = pictures.start_time != AV_NOPTS_VALUE;
    const double shown = known ? static_cast<double>(pictures.start_time) * av_q2d(pictures.time_base) : 0;
    if (first == AV_NOPTS_VALUE) return shown;
    const double start = static_cast<double>(first) / AV_TIME_BASE;
    return known && shown - start < kPriming ? shown : start;
  }

  static const std::string& decoders() {
    static const std::string all = std::string(detail::kPictureDecoders) + "," + detail::kSoundDecoders;
    return all;
  }

  template <typename Take>
  static void walk(Container& container, const Take& take) {
    const detail::Media<AVPacket> packet = detail::new_packet();
    while (container.read(*packet)) {
      take(*packet);
      av_packet_unref(packet.get());
    }
  }

  void reach(const AVPacket& packet, const AVStream& stream) {
    const std::int64_t time = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
    if (time == AV_NOPTS_VALUE) return;
    const auto end = static_cast<double>(time) + static_cast<double>(std::max<std::int64_t>(packet.duration, 0));
    reached_ = std::max(reached_, end * av_q2d(stream.time_base) - origin_);
  }

  /// When the last frame leaves the screen, by the packets' times. No header is trusted.
  double measure() {
    const std::unique_ptr<Container> opened = open();
    Container& container = *opened;
    const AVStream& stream = container.stream(pictures_);
    const double unit = av_q2d(stream.time_base);
    const double usual =
        stream.avg_frame_rate.num > 0 && stream.avg_frame_rate.den > 0 ? 1 / av_q2d(stream.avg_frame_rate) : 0.04;
    double seconds = 0, untimed = 0;
    walk(container, [&](const AVPacket& packet) {
      if (packet.stream_index != pictures_) return;
      const std::int64_t time = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
      const double duration = packet.duration > 0 ? static_cast<double>(packet.duration) * unit : usual;
      untimed += duration;
      const double start = time == AV_NOPTS_VALUE ? untimed - duration : static_cast<double>(time) * unit - origin_;
      seconds = std::max(seconds, start + duration);
    });
    if (seconds > options_.max_seconds) refuse_length(options_.max_seconds);
    return seconds;
  }

  /// The numbers of the wanted frames, out of as many as decode.
  std::vector<std::int64_t> choose() {
    if (!options_.choose) return {};
    const std::unique_ptr<Container> opened = open();
    Container& container = *opened;
    std::int64_t count = 0;
    double end = 0;
    PictureTrack track(container.stream(pictures_), origin_, options_.max_pixels,
                       [&](const AVFrame&, double time, double duration) {
                         if (time > options_.max_seconds) refuse_length(options_.max_seconds);
                         ++count;
                         end = time + duration;
                       });
    walk(container, [&](const AVPacket& packet) {
      if (packet.stream_index == pictures_) track.decode(&packet);
    });
    track.decode(nullptr);
    if (count == 0) return {};
    std::vector<std::int64_t> chosen = options_.choose(count, end);
    if (chosen.empty() || !std::ranges::is_sorted(chosen) || chosen.front() < 0 || chosen.back() >= count) {
      detail::bad_argument(who_, "VideoOptions.choose gave ", chosen.size(), " numbers of ", count,
                           " frames, wanted one or more from 0 to ", count - 1, ", in their order");
    }
    if (std::ssize(chosen) > options_.max_frames) {
      throw Refused{std::to_string(chosen.size()) + " frames of it are wanted, " + std::to_string(options_.max_frames) +
                    " are accepted"};
    }
    return chosen;
  }

  void keep(VideoFrame frame) {
    if (take_) return take_(std::move(frame));
    pixels_ += static_cast<std::int64_t>(frame.image.width) * frame.image.height;
    if (pixels_ > options_.max_total_pixels) {
      throw Refused{"its frames have more than the " + std::to_string(options_.max_total_pixels) +
                    " pixels that are kept; take fewer frames, or one at a time by `take`"};
    }
    video_.frames.push_back(std::move(frame));
  }

  /// Whatever is wrong with the sound is a note; the pictures go on.
  template <typename Action>
  void try_sound(const Action& action) {
    const auto give_up = [this](std::string_view why) {
      note("its sound was left out: ", why);
      sounds_ = -1;
      sound_.reset();
    };
    try {
      action();
    } catch (const Refused& refused) {
      give_up(refused.why);
    } catch (const std::runtime_error& error) {
      const std::string_view message = error.what();
      give_up(message.substr(message.find("] ") + 2));
    }
  }

  void start_sound(Container& container) {
    if (!options_.sound) return;
    sounds_ = container.find(AVMEDIA_TYPE_AUDIO, [](const AVStream&) { return true; });
    if (sounds_ < 0) return note("it has no sound");
    try_sound([&] {
      sink_.emplace(who_, "the track", detail::MonoSink::Fault::kFile,
                    AudioOptions{.sample_rate = options_.sample_rate, .max_seconds = options_.max_seconds});
      sound_.emplace(container.stream(sounds_), /*can_skip=*/true, *sink_, origin_);
    });
  }

  void hear(const AVPacket* packet) {
    if (sound_) try_sound([&] { sound_->decode(packet); });
  }

  void finish_sound() {
    if (!sound_) return;
    const int damage = sound_->damage();
    try_sound([&] {
      if (damage != 0 && !sink_->started()) throw Refused{"it does not decode: " + detail::reason(damage)};
      video_.sound = sink_->finish();
      if (damage != 0) note("packets of its sound do not decode and were passed over: ", detail::reason(damage));
    });
  }

  void read(const AVPacket& packet, const AVStream& stream) {
    if (packet.pts == AV_NOPTS_VALUE) return;
    try {
      if (video_.subtitles.size() == kMaxSubtitles)
        throw Refused{"more than " + std::to_string(kMaxSubtitles) + " of them"};
      std::string text = words_of(packet, stream.codecpar->codec_id);
      const double unit = av_q2d(stream.time_base);
      const double start = std::max(0.0, static_cast<double>(packet.pts) * unit - origin_);
      const double duration = packet.duration > 0 ? static_cast<double>(packet.duration) * unit : -1;
      if (!text.empty() && start <= options_.max_seconds) {
        video_.subtitles.push_back({start, duration < 0 ? -1 : start + duration, std::move(text)});
      }
    } catch (const Refused& refused) {
      note("its subtitles were left out: ", refused.why);
      video_.subtitles.clear();
      texts_ = -1;
    }
  }

  /// Those without an end stay until the next, for the time it takes to read them at most.
  void finish_subtitles() {
    std::ranges::stable_sort(video_.subtitles, {}, &Subtitle::start);
    for (std::size_t i = 0; i < video_.subtitles.size(); ++i) {
      Subtitle& subtitle = video_.subtitles[i];
      if (subtitle.end >= 0) continue;
      const double next =
          i + 1 < video_.subtitles.size() ? video_.subtitles[i + 1].start : subtitle.start + kReadingTime;
      subtitle.end = std::min(next, subtitle.start + kReadingTime);
    }
  }

  const char* who_;
  MediaSource source_;
  const Kind& kind_;
  const VideoOptions& options_;
  const TakeFrame& take_;
  int pictures_ = -1, sounds_ = -1, texts_ = -1;
  double origin_ = 0;   // seconds on the streams' clocks at which the file begins
  double reached_ = 0;  // seconds at which the last packet of any stream ends
  std::int64_t pixels_ = 0;
  std::optional<detail::MonoSink> sink_;
  std::optional<SoundTrack> sound_;
  Video video_;
};

void check_options(const char* who, const VideoOptions& o) {
  if (o.frames < 0) detail::bad_argument(who, "VideoOptions.frames must not be below 0, it is ", o.frames);
  if (o.frames == 0 && !(o.frames_per_second > 0 && o.frames_per_second <= 1000)) {
    detail::bad_argument(who, "VideoOptions.frames_per_second must be above 0 and at most 1000, it is ",
                         o.frames_per_second);
  }
  if (o.max_frames < 1 || o.frames > o.max_frames) {
    detail::bad_argument(who, "VideoOptions.frames is ", o.frames, ", at most max_frames = ", o.max_frames,
                         " are taken");
  }
  if (!(o.max_seconds > 0) || !std::isfinite(o.max_seconds)) {
    detail::bad_argument(who, "VideoOptions.max_seconds must be positive, it is ", o.max_seconds);
  }
  if (o.sample_rate < 0)
    detail::bad_argument(who, "VideoOptions.sample_rate must not be below 0, it is ", o.sample_rate);
}

Video decode(const char* who, const std::string& name, const MediaSource& source, detail::Bytes head,
             const VideoOptions& options, const TakeFrame& take) {
  if (source.size() > options.max_bytes) {
    detail::failure(who, name, ": the file has ", source.size(), " bytes, at most ", options.max_bytes,
                    " are accepted");
  }
  if (source.size() == 0) detail::failure(who, name, ": the file is empty");
  std::string subject = name;
  try {
    const Kind& kind = kind_of(head);
    subject += " (" + std::string(kind.name) + ")";
    return Decoding(who, source, kind, options, take).run();
  } catch (const Refused& refused) {
    detail::failure(who, subject, ": ", refused.why);
  }
}

}  // namespace

Video decode_video(std::span<const std::byte> file, const VideoOptions& options, const TakeFrame& take) {
  constexpr const char* kWho = "decode_video";
  check_options(kWho, options);
  return decode(kWho, "the video", {.memory = file}, file.first(std::min(file.size(), kHead)), options, take);
}

Video read_video(const std::filesystem::path& path, const VideoOptions& options, const TakeFrame& take) {
  constexpr const char* kWho = "read_video";
  check_options(kWho, options);
  detail::InputFile file(kWho, path);
  std::vector<std::byte> head(std::min<std::uint64_t>(file.size(), kHead));
  file.read(head);
  return decode(kWho, path.string(), {.file = &file}, head, options, take);
}

}  // namespace trine
