#include "trine/input/audio.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "detail/error.h"
#include "detail/file.h"
#include "input/detail/ffmpeg.h"
#include "input/detail/mono_sink.h"
#include "input/detail/sndfile.h"
#include "input/detail/soxr.h"

namespace trine {

namespace {

using namespace std::string_view_literals;
using detail::Bytes;
using detail::MonoSink;
using detail::SndfileFormat;

enum class Reader { kWave, kFlac, kOgg, kFfmpeg, kNone };

/// What the first bytes of a file say it is.
struct Kind {
  std::string_view name;
  Reader reader = Reader::kNone;
  const char* demuxer = nullptr;  // FFmpeg's name, where it is the reader or the second choice
};

struct Signature {
  std::size_t offset;
  std::string_view bytes;
  std::size_t second_offset;
  std::string_view second_bytes;
  Kind kind;
};

/// FFmpeg reads AIFF, AU, CAF and the rarer WAV kinds although libsndfile could (see plain_wave), and MPEG audio
/// because libsndfile's decoder writes to stderr. The last rows are refused by name; what has no row is refused as
/// unknown, headerless samples among it.
constexpr Signature kSignatures[] = {
    {0, "RIFF"sv, 8, "WAVE"sv, {"WAV", Reader::kWave, "wav"}},
    {0, "RIFX"sv, 8, "WAVE"sv, {"WAV (RIFX)", Reader::kFfmpeg, "wav"}},
    {0, "RF64"sv, 8, "WAVE"sv, {"WAV (RF64)", Reader::kFfmpeg, "wav"}},
    {0, "riff\x2e\x91\xcf\x11"sv, 24, "wave"sv, {"Wave64", Reader::kFfmpeg, "w64"}},
    {0, "fLaC"sv, 0, ""sv, {"FLAC", Reader::kFlac, nullptr}},
    {0, "OggS"sv, 0, ""sv, {"Ogg", Reader::kOgg, "ogg"}},
    {0, "FORM"sv, 8, "AIF"sv, {"AIFF", Reader::kFfmpeg, "aiff"}},
    {0, ".snd"sv, 0, ""sv, {"AU", Reader::kFfmpeg, "au"}},
    {0, "caff"sv, 8, "desc"sv, {"CAF", Reader::kFfmpeg, "caf"}},
    {4, "ftyp"sv, 0, ""sv, {"MP4, M4A or MOV", Reader::kFfmpeg, "mov"}},
    {4, "moov"sv, 0, ""sv, {"MOV", Reader::kFfmpeg, "mov"}},
    {4, "wide"sv, 0, ""sv, {"MOV", Reader::kFfmpeg, "mov"}},
    {0, "\x1a\x45\xdf\xa3"sv, 0, ""sv, {"Matroska or WebM", Reader::kFfmpeg, "matroska"}},
    {0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"sv, 0, ""sv, {"WMA or WMV", Reader::kFfmpeg, "asf"}},
    {0, "RIFF"sv, 8, "AVI "sv, {"AVI", Reader::kFfmpeg, "avi"}},
    {0, "#!AMR"sv, 0, ""sv, {"AMR", Reader::kFfmpeg, "amr"}},
    {0, "#EXTM3U"sv, 0, ""sv, {"a playlist, which names other files", Reader::kNone, nullptr}},
    {0, "ffconcat"sv, 0, ""sv, {"a playlist, which names other files", Reader::kNone, nullptr}},
    {0, "MThd"sv, 0, ""sv, {"MIDI, which holds notes and no sound", Reader::kNone, nullptr}},
    {0, "\xff\xd8\xff"sv, 0, ""sv, {"a JPEG picture", Reader::kNone, nullptr}},
    {0, "\x89PNG"sv, 0, ""sv, {"a PNG picture", Reader::kNone, nullptr}},
    {0, "%PDF"sv, 0, ""sv, {"a PDF document", Reader::kNone, nullptr}},
    {0, "PK\x03\x04"sv, 0, ""sv, {"a ZIP archive", Reader::kNone, nullptr}},
};

bool has(Bytes file, std::size_t offset, std::string_view bytes) {
  return file.size() >= offset + bytes.size() &&
         std::equal(bytes.begin(), bytes.end(), file.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char want, std::byte got) { return static_cast<std::byte>(want) == got; });
}

unsigned byte_at(Bytes file, std::size_t index) { return std::to_integer<unsigned>(file[index]); }

/// A header of MPEG audio or of AAC in ADTS frames: 11 or 12 set bits and fields without their reserved values.
Kind frame_kind(Bytes file) {
  if (file.size() < 4 || byte_at(file, 0) != 0xFF || (byte_at(file, 1) & 0xE0) != 0xE0) return {};
  const unsigned version = byte_at(file, 1) >> 3 & 3;
  const unsigned layer = byte_at(file, 1) >> 1 & 3;
  if (layer == 0 && (byte_at(file, 1) & 0xF0) == 0xF0) {
    return (byte_at(file, 2) >> 2 & 15) < 13 ? Kind{"AAC", Reader::kFfmpeg, "aac"} : Kind{};
  }
  const bool valid = version != 1 && layer != 0 && byte_at(file, 2) >> 4 != 15 && (byte_at(file, 2) >> 2 & 3) != 3;
  return valid ? Kind{"MPEG audio", Reader::kFfmpeg, "mp3"} : Kind{};
}

Kind kind_of(Bytes file) {
  for (const Signature& signature : kSignatures) {
    if (has(file, signature.offset, signature.bytes) && has(file, signature.second_offset, signature.second_bytes)) {
      return signature.kind;
    }
  }
  return frame_kind(file);
}

/// The file behind its ID3v2 tags, which may come before any format: 10 bytes, the last four a size of 7 bits each.
Bytes without_tags(Bytes file) {
  while (file.size() > 10 && has(file, 0, "ID3"sv)) {
    std::size_t size = 10;
    for (std::size_t i = 0; i < 4; ++i) size += std::size_t{byte_at(file, 6 + i) & 0x7F} << (21 - 7 * i);
    file = file.subspan(std::min(size, file.size()));
  }
  return file;
}

std::string first_bytes(Bytes file) {
  std::ostringstream out;
  out << std::hex << std::setfill('0');
  for (const std::byte byte : file.first(std::min<std::size_t>(file.size(), 8))) {
    out << (out.tellp() > 0 ? " " : "") << std::setw(2) << std::to_integer<unsigned>(byte);
  }
  return out.str();
}

bool decode_with_sndfile(Bytes file, Reader reader, MonoSink& sink) {
  switch (reader) {
    case Reader::kWave: {
      const std::optional<detail::PlainWave> wave = detail::plain_wave(file);
      return wave && detail::decode_with_sndfile(wave->header, wave->data, SndfileFormat::kWave, sink);
    }
    case Reader::kFlac:
      return detail::decode_with_sndfile({}, file, SndfileFormat::kFlac, sink);
    case Reader::kOgg:
      // libsndfile loses some memory for each Vorbis file with a damaged header; FFmpeg's look at it comes first.
      detail::check_with_ffmpeg(file, "ogg", sink);
      return detail::decode_with_sndfile({}, file, SndfileFormat::kOgg, sink);
    case Reader::kFfmpeg:
    case Reader::kNone:
      break;
  }
  return false;
}

Audio decode(const char* who, const std::string& name, Bytes file, const AudioOptions& options) {
  if (file.size() > options.max_bytes) {
    detail::failure(who, name, ": the file has ", file.size(), " bytes, at most ", options.max_bytes, " are accepted");
  }
  if (file.empty()) detail::failure(who, name, ": the file is empty");
  const Bytes content = without_tags(file);
  const Kind kind = kind_of(content);
  if (kind.name.empty()) {
    detail::failure(who, name, ": this is no sound file that is read here; it begins with the bytes ",
                    first_bytes(content));
  }
  if (kind.reader == Reader::kNone) detail::failure(who, name, ": a sound file is wanted, this looks like ", kind.name);

  MonoSink sink(who, name + " (" + std::string(kind.name) + ")", MonoSink::Fault::kFile, options);
  if (!decode_with_sndfile(content, kind.reader, sink)) {
    if (kind.demuxer == nullptr) sink.refuse("it cannot be decoded; the file is damaged or cut short");
    detail::decode_with_ffmpeg(content, kind.demuxer, sink);
  }
  return sink.finish();
}

}  // namespace

Audio decode_audio(std::span<const std::byte> file, const AudioOptions& options) {
  return decode("decode_audio", "the clip", file, options);
}

Audio read_audio(const std::filesystem::path& path, const AudioOptions& options) {
  const std::vector<std::byte> file = detail::read_file("read_audio", path, options.max_bytes);
  return decode("read_audio", path.string(), file, options);
}

Audio make_audio(std::span<const float> samples, int channels, int sample_rate, const AudioOptions& options) {
  MonoSink sink("make_audio", "the clip", MonoSink::Fault::kCaller, options);
  sink.start(sample_rate, channels);
  if (samples.size() % static_cast<std::size_t>(channels) != 0) {
    sink.refuse(samples.size(), " samples are no whole number of frames of ", channels, " channels");
  }
  sink.push(samples, channels);
  return sink.finish();
}

Audio trim_and_level(const Audio& clip, double* begin_seconds) {
  constexpr double kSilence = 3.1622776601683795e-5;  // power of -45 dB to the loudest frame
  constexpr double kActive = 1e-3;                    // of -30 dB
  constexpr double kDigitalSilence = 1e-9;
  constexpr std::size_t kFewestFrames = 10, kMargin = 6;
  constexpr double kLevel = 0.0630957344480193;  // -24 dBFS
  constexpr double kPeak = 0.95;
  if (clip.sample_rate < 100) {
    detail::bad_argument("trim_and_level", "a rate of at least 100 Hz is wanted, it is ", clip.sample_rate);
  }
  const std::size_t hop = static_cast<std::size_t>(clip.sample_rate) / 100;
  std::vector<double> power(clip.samples.size() / hop);
  for (std::size_t frame = 0; frame < power.size(); ++frame) {
    for (std::size_t i = frame * hop; i < (frame + 1) * hop; ++i) power[frame] += static_cast<double>(clip.samples[i]) * clip.samples[i];
    power[frame] /= static_cast<double>(hop);
  }
  const double loudest = power.empty() ? 0.0 : *std::max_element(power.begin(), power.end());
  const double threshold = std::max(loudest * kSilence, kDigitalSilence);
  std::size_t first = power.size(), last = 0, sounding = 0, active = 0;
  double energy = 0;
  for (std::size_t frame = 0; frame < power.size(); ++frame) {
    if (power[frame] > threshold) {
      first = std::min(first, frame);
      last = frame;
      ++sounding;
    }
    if (power[frame] > loudest * kActive) {
      energy += power[frame];
      ++active;
    }
  }
  if (sounding < kFewestFrames) return {clip.sample_rate, {}};
  const std::size_t begin = (first > kMargin ? first - kMargin : 0) * hop;
  const std::size_t end = std::min((last + kMargin + 1) * hop, clip.samples.size());
  if (begin_seconds != nullptr) *begin_seconds = static_cast<double>(begin) / clip.sample_rate;
  Audio result{clip.sample_rate, {clip.samples.begin() + static_cast<std::ptrdiff_t>(begin),
                                  clip.samples.begin() + static_cast<std::ptrdiff_t>(end)}};
  float peak = 0;
  for (const float sample : result.samples) peak = std::max(peak, std::abs(sample));
  const auto gain = static_cast<float>(std::min(kLevel / std::sqrt(energy / static_cast<double>(active)), kPeak / peak));
  for (float& sample : result.samples) sample *= gain;
  return result;
}

std::vector<float> resample(std::span<const float> samples, int from, int to) {
  for (const int rate : {from, to}) {
    if (rate < 1 || rate > detail::kMaxSampleRate) {
      detail::bad_argument("resample", "a rate must be 1 to ", detail::kMaxSampleRate, " Hz, it is ", rate);
    }
  }
  if (!detail::Resampler::supports(from, to)) {
    detail::bad_argument("resample", "a rate can be ", detail::Resampler::kMaxRatio,
                         " times the other at most, they are ", from, " and ", to, " Hz");
  }
  if (static_cast<double>(samples.size()) * to / from > static_cast<double>(detail::kMaxSamples)) {
    detail::bad_argument("resample", samples.size(), " samples from ", from, " to ", to, " Hz are more than the ",
                         detail::kMaxSamples, " that are accepted");
  }
  const auto finite = [](float sample) { return std::isfinite(sample); };
  if (!std::all_of(samples.begin(), samples.end(), finite)) {
    detail::bad_argument("resample", "the samples must be finite, there are NaN or infinite ones");
  }
  if (from == to || samples.empty()) return {samples.begin(), samples.end()};
  std::vector<float> out;
  detail::Resampler resampler(from, to);
  resampler.push(samples, out);
  resampler.finish(out);
  return out;
}

}  // namespace trine
