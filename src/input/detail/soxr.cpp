#include "input/detail/soxr.h"

#include <soxr.h>

#include "detail/error.h"

namespace trine::detail {

namespace {

constexpr std::size_t kBlock = 16'384;  // output samples asked for at once

void check(const char* error) {
  if (error != nullptr) failure("resample", "soxr failed: ", error);
}

}  // namespace

void Resampler::Delete::operator()(soxr* handle) const { soxr_delete(handle); }

Resampler::Resampler(int from, int to) : block_(kBlock) {
  const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
  soxr_error_t error = nullptr;
  handle_.reset(soxr_create(from, to, 1, &error, &io, &quality, &runtime));
  check(error);
}

void Resampler::push(std::span<const float> samples, std::vector<float>& out) {
  while (!samples.empty()) {
    std::size_t used = 0;
    std::size_t made = 0;
    check(soxr_process(handle_.get(), samples.data(), samples.size(), &used, block_.data(), block_.size(), &made));
    out.insert(out.end(), block_.begin(), block_.begin() + static_cast<std::ptrdiff_t>(made));
    if (used == 0 && made == 0) failure("resample", "soxr takes no more samples");
    samples = samples.subspan(used);
  }
}

void Resampler::finish(std::vector<float>& out) {
  for (std::size_t made = 1; made > 0;) {
    check(soxr_process(handle_.get(), nullptr, 0, nullptr, block_.data(), block_.size(), &made));
    out.insert(out.end(), block_.begin(), block_.begin() + static_cast<std::ptrdiff_t>(made));
  }
}

}  // namespace trine::detail
