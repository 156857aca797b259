#pragma once

#include <torch/torch.h>

#include "trine/device.h"
#include "trine/precision.h"

/// How a network is called that lies on some device: what it is given and what it gives lies on the CPU.

namespace trine::detail {

/// Of this thread's LoadDevice.
torch::Device load_device();

/// A device, and what networks there compute with.
class Place {
 public:
  /// Of the LoadDevice and the LoadPrecision that live in this thread.
  Place();

  bool is_cpu() const { return device_.is_cpu(); }
  const torch::Device& device() const { return device_; }
  Precision precision() const { return precision_; }  ///< never automatic on another device than the CPU

  /// The tensor on the device, an undefined one as it is. To CUDA it goes from pinned memory, without waiting.
  torch::Tensor there(const torch::Tensor& x) const;
  /// A result from there on the CPU, in fp32; NaN from the meta device.
  torch::Tensor here(const torch::Tensor& x) const;

  /// What `network` makes of inputs that lie here, here again.
  template <typename Network, typename... Inputs>
  torch::Tensor run(const Network& network, const Inputs&... inputs) const;

 private:
  torch::Device device_;
  Precision precision_;
};

/// While one lives, torch's operators on CUDA compute as the place says in this thread: in bf16 or fp16 where nothing
/// records gradients, else in fp32.
class PlaceScope {
 public:
  explicit PlaceScope(const Place& place);
  ~PlaceScope();
  PlaceScope(const PlaceScope&) = delete;
  PlaceScope& operator=(const PlaceScope&) = delete;

 private:
  const bool on_cuda_;
  bool previous_ = false, previous_cache_ = false;
  torch::ScalarType previous_type_ = torch::kFloat32;
};

template <typename Network, typename... Inputs>
torch::Tensor Place::run(const Network& network, const Inputs&... inputs) const {
  if (is_cpu()) return network(inputs...);
  const PlaceScope scope(*this);
  return here(network(there(inputs)...));
}

}  // namespace trine::detail
