#pragma once

#include <c10/core/Device.h>

#include <string_view>

#include "trine/export.h"

/// Where the networks of encoders compute. What they are given and what they give lies on the CPU, whatever the device;
/// decoding, preprocessing, tokenizing and search happen there too. Fusion and other modules without a folder of an
/// encoder follow `module->to(device)`, as any of torch's.

namespace trine {

/// "cpu", "cuda" (torch's current one), "cuda:1", "meta", or "auto": "cuda" where there is one, else "cpu".
/// Errors: std::invalid_argument for another name; std::runtime_error for a device that this machine or LibTorch lacks.
TRINE_API c10::Device device(std::string_view name);

/// While one lives, whatever this thread loads computes there: an Embedder, a Classifier, a Transcriber, a search, an
/// agent. Without one it is the CPU. They may be nested. A LoadPrecision of what the device computes in comes after it.
///
///     const LoadDevice there(device("cuda"));
///     const LoadPrecision precision(Precision::bf16);
///     const Embedder model = Embedder::load("models/default");
///
/// On torch's meta device, which has shapes and no values, all results are NaN: it tells whether a model would run.
/// C++ alone lacks kernels for it that Python's torch brings.
class TRINE_API LoadDevice {
 public:
  /// Errors: std::runtime_error for a device that is not there; std::invalid_argument where the LoadPrecision that
  /// lives is nothing for it.
  explicit LoadDevice(c10::Device device);
  ~LoadDevice();
  LoadDevice(const LoadDevice&) = delete;
  LoadDevice& operator=(const LoadDevice&) = delete;

 private:
  c10::Device previous_;
};

}  // namespace trine
