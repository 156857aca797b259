#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "detail/error.h"
#include "input/detail/soxr.h"
#include "trine/input/audio.h"

namespace trine::detail {

/// Of one clip: 1 GiB of floats. At 16 kHz that is more than four hours; it binds where a high rate is kept or asked
/// for.
inline constexpr std::size_t kMaxSamples = std::size_t{1} << 28;

/// What the decoders pour their samples into: takes the mean over the channels, resamples as it goes and keeps the
/// limits. Memory grows with the samples that were really decoded, never with what a header claims.
class MonoSink {
 public:
  enum class Fault { kCaller, kFile };  ///< std::invalid_argument or std::runtime_error

  /// `who` and `subject` begin every error: "[who] subject: ...".
  MonoSink(const char* who, std::string subject, Fault fault, const AudioOptions& options);

  /// Once, before the first samples.
  void start(int sample_rate, int channels);
  bool started() const { return sample_rate_ > 0; }
  int sample_rate() const { return sample_rate_; }

  /// `interleaved[frame * channels + channel]`
  void push(std::span<const float> interleaved, int channels);

  Audio finish();

  template <typename... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    if (fault_ == Fault::kCaller) bad_argument(who_, subject_, ": ", parts...);
    failure(who_, subject_, ": ", parts...);
  }

 private:
  void check_channels(int channels) const;
  void check_result(std::size_t checked) const;

  const char* who_;
  std::string subject_;
  Fault fault_;
  AudioOptions options_;
  int sample_rate_ = 0;  // of the source
  std::uint64_t frames_ = 0;
  double sum_ = 0;  // of the mixed frames
  std::vector<float> mixed_;
  std::optional<Resampler> resampler_;  // none where the rates are equal
  Audio result_;
};

}  // namespace trine::detail
