#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct soxr;

namespace trine::detail {

/// Highest rate the resampler is asked for, in Hz.
inline constexpr int kMaxSampleRate = 768'000;

/// libsoxr, quality HQ, one channel of float samples, one thread; a clip may come in pieces of any size and the result
/// does not depend on them. Ratios with large terms (16001 -> 16000) use soxr's interpolated filters, so no table grows
/// with them. Errors: std::runtime_error.
class Resampler {
 public:
  /// libsoxr 0.1.3 never returns where a rate is more than about 2^19 times the other one, and is slow long before.
  static constexpr int kMaxRatio = 1 << 14;
  static constexpr bool supports(int from, int to) {
    return from <= kMaxRatio * std::int64_t{to} && to <= kMaxRatio * std::int64_t{from};
  }

  /// Supported rates above 0.
  Resampler(int from, int to);

  /// Appends to `out` what is ready after these samples.
  void push(std::span<const float> samples, std::vector<float>& out);
  /// Appends the rest.
  void finish(std::vector<float>& out);

 private:
  struct Delete {
    void operator()(soxr* handle) const;
  };

  std::unique_ptr<soxr, Delete> handle_;
  std::vector<float> block_;
};

}  // namespace trine::detail
