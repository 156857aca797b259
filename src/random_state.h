#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include <mutex>
#include <utility>
#include <vector>

namespace trine::detail {

/// torch's random numbers, of all devices, are the caller's: they go on afterwards as if nothing had drawn from them.
class RandomState {
 public:
  RandomState() {
    keep(at::detail::getDefaultCPUGenerator());
    for (torch::DeviceIndex i = 0; i < torch::cuda::device_count(); ++i) {
      keep(at::globalContext().defaultGenerator({torch::kCUDA, i}));
    }
  }
  ~RandomState() {
    for (auto& [generator, state] : kept_) {
      const std::lock_guard lock(generator.mutex());
      generator.set_state(state);
    }
  }
  RandomState(const RandomState&) = delete;
  RandomState& operator=(const RandomState&) = delete;

 private:
  void keep(at::Generator generator) {
    const std::lock_guard lock(generator.mutex());
    kept_.emplace_back(generator, generator.get_state());
  }

  std::vector<std::pair<at::Generator, torch::Tensor>> kept_;
};

}  // namespace trine::detail
