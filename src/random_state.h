#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

namespace trine::detail {

/// torch's random numbers are the caller's: they go on afterwards as if nothing had drawn from them.
class RandomState {
 public:
  RandomState() : generator_(at::detail::getDefaultCPUGenerator()), state_(generator_.get_state()) {}
  ~RandomState() { generator_.set_state(state_); }
  RandomState(const RandomState&) = delete;
  RandomState& operator=(const RandomState&) = delete;

 private:
  at::Generator generator_;
  torch::Tensor state_;
};

}  // namespace trine::detail
