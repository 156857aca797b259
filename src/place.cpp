#include "place.h"

#include <ATen/autocast_mode.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"
#include "linear/choose.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kWho = "LoadDevice";
constexpr std::int64_t kSide = 1'024;  ///< of the matrices of a trial
constexpr int kTrials = 3;
constexpr double kLeastGain = 1.05;  ///< over fp32, for which its accuracy is given up

thread_local torch::Device loading{torch::kCPU};

/// std::runtime_error for a CUDA device that is not there.
void check_there(torch::Device device) {
  if (!device.is_cuda()) return;
  if (!torch::cuda::is_available()) {
    detail::failure(kWho, "wanted a device that is here, got ", device.str(),
                    ": this LibTorch finds no CUDA device, use cpu or auto");
  }
  if (const int count = torch::cuda::device_count(); device.has_index() && device.index() >= count) {
    detail::failure(kWho, "wanted a device from cuda:0 to cuda:", count - 1, ", got ", device.str());
  }
}

torch::Device with_index(torch::Device device) {
  return device.is_cuda() && !device.has_index() ? c10::impl::getDeviceGuardImpl(torch::kCUDA)->getDevice() : device;
}

torch::ScalarType type_of(Precision precision) {
  return precision == Precision::fp16 ? torch::kFloat16 : torch::kBFloat16;
}

/// bf16 where a product of matrices takes less time in it than in fp32 and is as near to that as asked for, else fp32.
Precision fastest(torch::Device device, double accuracy) {
  using Clock = std::chrono::steady_clock;
  static std::mutex mutex;
  static std::map<torch::DeviceIndex, std::pair<double, double>> known;  // gain and cosine of bf16
  const std::lock_guard lock(mutex);
  if (!known.contains(device.index())) {
    const torch::NoGradGuard no_grad;
    const auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
    const Tensor a = torch::randn({kSide, kSide}, generator).to(device);
    const Tensor b = torch::randn({kSide, kSide}, generator).to(device);
    const auto seconds = [&](const Tensor& x, const Tensor& y) {
      x.mm(y);  // the library's own choices come with the first call
      double least = std::numeric_limits<double>::infinity();
      for (int i = 0; i < kTrials; ++i) {
        torch::cuda::synchronize(device.index());
        const auto begin = Clock::now();
        x.mm(y);
        torch::cuda::synchronize(device.index());
        least = std::min(least, std::chrono::duration<double>(Clock::now() - begin).count());
      }
      return least;
    };
    const Tensor x = a.to(torch::kBFloat16), y = b.to(torch::kBFloat16);
    const Tensor exact = a.mm(b).to(torch::kFloat64), rounded = x.mm(y).to(torch::kFloat64);
    const double cosine = (exact * rounded).sum().div(exact.norm() * rounded.norm()).item<double>();
    known[device.index()] = {seconds(a, b) / seconds(x, y), cosine};
  }
  const auto& [gain, cosine] = known.at(device.index());
  return gain >= kLeastGain && cosine >= accuracy ? Precision::bf16 : Precision::fp32;
}

}  // namespace

torch::Device device(std::string_view name) {
  if (name == "auto") return device(torch::cuda::is_available() ? "cuda" : "cpu");
  if (name == "cpu") return torch::kCPU;
  if (name == "meta") return torch::kMeta;
  constexpr std::string_view kCuda = "cuda", kNumbered = "cuda:";
  torch::Device found(torch::kCUDA);
  if (name != kCuda) {
    const std::string_view digits = name.substr(std::min(kNumbered.size(), name.size()));
    torch::DeviceIndex index = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (!name.starts_with(kNumbered) || error != std::errc() || end != digits.data() + digits.size() || index < 0) {
      detail::bad_argument(kWho, "wanted auto, cpu, cuda or cuda: and a number, got ", detail::shown(name));
    }
    found.set_index(index);
  }
  check_there(found);
  return with_index(found);
}

LoadDevice::LoadDevice(torch::Device device) : previous_(loading) {
  check_there(device);
  detail::check_precision(kWho, detail::asked_precision(), device);
  loading = with_index(device);
}

LoadDevice::~LoadDevice() { loading = previous_; }

namespace detail {

torch::Device load_device() { return loading; }

Place::Place() : device_(loading), precision_(asked_precision()) {
  if (is_cpu() || precision_ != Precision::automatic) return;
  precision_ = device_.is_cuda() ? fastest(device_, asked_accuracy()) : Precision::fp32;
}

Tensor Place::there(const Tensor& x) const {
  if (!x.defined() || x.device() == device_) return x;
  return x.is_cpu() && device_.is_cuda() ? x.pin_memory().to(device_, /*non_blocking=*/true) : x.to(device_);
}

Tensor Place::here(const Tensor& x) const {
  if (is_cpu()) return x;
  if (x.is_meta()) return torch::full(x.sizes(), std::nan(""));
  return x.to(torch::kCPU, x.is_floating_point() ? torch::kFloat32 : x.scalar_type());
}

PlaceScope::PlaceScope(const Place& place) : on_cuda_(place.device().is_cuda()) {
  if (!on_cuda_) return;
  previous_ = at::autocast::is_autocast_enabled(torch::kCUDA);
  previous_type_ = at::autocast::get_autocast_dtype(torch::kCUDA);
  previous_cache_ = at::autocast::is_autocast_cache_enabled();
  const bool casts = place.precision() != Precision::fp32 && !torch::GradMode::is_enabled();
  at::autocast::set_autocast_enabled(torch::kCUDA, casts);
  if (casts) at::autocast::set_autocast_dtype(torch::kCUDA, type_of(place.precision()));
  at::autocast::set_autocast_cache_enabled(false);  // it is one for all threads, and a weight is used once in a call
}

PlaceScope::~PlaceScope() {
  if (!on_cuda_) return;
  at::autocast::set_autocast_cache_enabled(previous_cache_);
  at::autocast::set_autocast_dtype(torch::kCUDA, previous_type_);
  at::autocast::set_autocast_enabled(torch::kCUDA, previous_);
}

}  // namespace detail

}  // namespace trine
