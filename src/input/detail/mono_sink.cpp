#include "input/detail/mono_sink.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace trine::detail {

namespace {

constexpr std::size_t kPieceFrames = 8192;

void check_options(const char* who, const AudioOptions& options) {
  if (options.sample_rate < 0 || options.sample_rate > kMaxSampleRate) {
    bad_argument(who, "AudioOptions.sample_rate must be 0 or 1 to ", kMaxSampleRate, " Hz, it is ",
                 options.sample_rate);
  }
  if (options.max_channels < 1)
    bad_argument(who, "AudioOptions.max_channels must be positive, it is ", options.max_channels);
  if (options.min_sample_rate < 1 || options.max_sample_rate > kMaxSampleRate ||
      options.min_sample_rate > options.max_sample_rate) {
    bad_argument(who, "AudioOptions.min_sample_rate and max_sample_rate must be a range within 1 to ", kMaxSampleRate,
                 " Hz, they are ", options.min_sample_rate, " and ", options.max_sample_rate);
  }
  if (!(options.max_seconds > 0))
    bad_argument(who, "AudioOptions.max_seconds must be positive, it is ", options.max_seconds);
}

}  // namespace

MonoSink::MonoSink(const char* who, std::string subject, Fault fault, const AudioOptions& options)
    : who_(who), subject_(std::move(subject)), fault_(fault), options_(options) {
  check_options(who, options);
}

void MonoSink::start(int sample_rate, int channels) {
  if (sample_rate < options_.min_sample_rate || sample_rate > options_.max_sample_rate) {
    refuse("the sample rate must be ", options_.min_sample_rate, " to ", options_.max_sample_rate, " Hz, it is ",
           sample_rate);
  }
  check_channels(channels);
  sample_rate_ = sample_rate;
  result_.sample_rate = options_.sample_rate == 0 ? sample_rate : options_.sample_rate;
  if (!Resampler::supports(sample_rate, result_.sample_rate)) {
    refuse("rates of ", sample_rate, " and ", result_.sample_rate, " Hz are too far apart to resample");
  }
  if (result_.sample_rate != sample_rate) resampler_.emplace(sample_rate, result_.sample_rate);
}

void MonoSink::push(std::span<const float> interleaved, int channels) {
  check_channels(channels);
  const auto width = static_cast<std::size_t>(channels);
  while (!interleaved.empty()) {
    const std::size_t count = std::min(interleaved.size() / width, kPieceFrames);
    frames_ += count;
    if (static_cast<double>(frames_) > options_.max_seconds * sample_rate_) {
      refuse("the clip is longer than the ", options_.max_seconds, " seconds that are accepted");
    }
    mixed_.resize(count);
    for (std::size_t frame = 0; frame < count; ++frame) {
      double sum = 0;  // in double the order of the channels does not show
      for (const float sample : interleaved.subspan(frame * width, width)) sum += sample;
      if (!std::isfinite(sum)) refuse("sample ", frames_ - count + frame, " is NaN or infinite");
      mixed_[frame] = static_cast<float>(sum / channels);
      sum_ += mixed_[frame];
    }
    const std::size_t before = result_.samples.size();
    if (resampler_) {
      resampler_->push(mixed_, result_.samples);
    } else {
      result_.samples.insert(result_.samples.end(), mixed_.begin(), mixed_.end());
    }
    check_result(before);
    interleaved = interleaved.subspan(count * width);
  }
}

Audio MonoSink::finish() {
  if (frames_ == 0) refuse("it holds no samples");
  if (resampler_) {
    const std::size_t before = result_.samples.size();
    resampler_->finish(result_.samples);
    check_result(before);
    // A clip shorter than half a sample of the new rate would vanish.
    if (result_.samples.empty()) result_.samples.push_back(static_cast<float>(sum_ / static_cast<double>(frames_)));
  }
  return std::move(result_);
}

void MonoSink::check_channels(int channels) const {
  if (channels < 1 || channels > options_.max_channels) {
    refuse("1 to ", options_.max_channels, " channels are accepted, it has ", channels);
  }
}

void MonoSink::check_result(std::size_t checked) const {
  const std::vector<float>& samples = result_.samples;
  if (samples.size() > kMaxSamples) {
    refuse("at ", result_.sample_rate, " Hz the clip has more than the ", kMaxSamples, " samples that are accepted");
  }
  // Finite samples near the end of float's range can overshoot it in the resampler.
  if (!std::all_of(samples.begin() + static_cast<std::ptrdiff_t>(checked), samples.end(),
                   [](float sample) { return std::isfinite(sample); })) {
    refuse("its samples are too large to resample");
  }
}

}  // namespace trine::detail
