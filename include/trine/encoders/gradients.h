#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

#include "trine/export.h"

/// Encoders that learn: with these, their weights are ordinary tensors for any optimiser.

namespace trine {

/// While one lives, `encode` of every encoder and embed_* of an Embedder record gradients in this thread, which they
/// otherwise never do. They may be nested.
///
///     model.weights(Modality::text);                        // once, before
///     const RecordGradients record;
///     loss_of(model.embed_texts(batch)).backward();
class TRINE_API RecordGradients {
 public:
  RecordGradients();
  ~RecordGradients();
  RecordGradients(const RecordGradients&) = delete;
  RecordGradients& operator=(const RecordGradients&) = delete;

  /// Whether one lives in this thread.
  static bool on();
};

/// A part of an encoder whose parameters and buffers are those of its checkpoint, under `prefix` + their own names.
struct TrainablePart {
  std::string prefix;
  std::shared_ptr<torch::nn::Module> module;
};

/// An encoder whose weights in use are those of its checkpoint, so that changed ones can be written back.
class TRINE_API Trainable {
 public:
  virtual ~Trainable() = default;
  /// From the input to the vector; empty: this encoder cannot be trained. Where it works with other weights than its
  /// checkpoint has (norms merged into convolutions), it goes back to the checkpoint's, now and for good. A parameter
  /// that does not require gradients is not for training. No other call may run meanwhile.
  virtual std::vector<TrainablePart> trainable() = 0;
};

}  // namespace trine
