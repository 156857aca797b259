#pragma once

#include <string_view>

#include "trine/export.h"

/// What the linear layers of encoders compute with. Weights are packed when a layer is first used, and again where
/// training has changed them; whatever records gradients uses the plain weights, in fp32.
///
/// On another device than the CPU (`device.h`) the layers are torch's own: bf16 and fp16 are its autocast, automatic is
/// bf16 where that is faster and accurate enough, else fp32, and int8 is refused.

namespace trine {

enum class Precision {
  automatic,  ///< the fastest on this machine, layer shape by layer shape, within the accuracy asked for
  fp32,       ///< as the checkpoint; a vector is the same bit for bit whatever shares its batch
  bf16,       ///< weights and inputs of layers rounded to 8 bits of mantissa, sums in fp32
  int8,       ///< weights of one scale per output, inputs of one per token, sums exact; on the CPU only
  fp16        ///< layers in half precision, with 10 bits of mantissa and a range up to 65504; on CUDA only
};

TRINE_API std::string_view to_string(Precision precision);
/// "auto", "fp32", "bf16", "int8" or "fp16"; another name is std::invalid_argument.
TRINE_API Precision precision(std::string_view name);

/// Whether this machine's LibTorch computes in it on the device of this thread's LoadDevice. fp32 and automatic always
/// do.
TRINE_API bool supports(Precision precision);

/// While one lives, whatever this thread loads computes with it: an Embedder, a Classifier, a search, an agent. Without
/// one it is fp32. They may be nested.
///
///     const LoadPrecision precision(Precision::int8);
///     const Embedder model = Embedder::load("models/default");
class TRINE_API LoadPrecision {
 public:
  /// `accuracy`: the least cosine to fp32 of a layer's outputs, on inputs drawn from a normal distribution, that
  /// automatic accepts. What it measures of a shape stays in the cache folder and holds for this CPU, this LibTorch and
  /// this number of threads. Errors: std::invalid_argument for an accuracy outside 0 to 1 and for a precision that is
  /// nothing for the device; std::runtime_error where this machine does not support the precision.
  explicit LoadPrecision(Precision precision, double accuracy = 0.999);
  ~LoadPrecision();
  LoadPrecision(const LoadPrecision&) = delete;
  LoadPrecision& operator=(const LoadPrecision&) = delete;

 private:
  Precision previous_;
  double previous_accuracy_;
};

}  // namespace trine
