#pragma once

#include <memory>
#include <vector>

#include "trine/apps/score.h"
#include "trine/embedder.h"
#include "trine/export.h"

namespace trine {

/// What makes the noise in a clip: one of the ten classes of ESC-10 (dog bark, rain, baby cry ...).
///
///     trine::SoundRecognizer sounds = trine::SoundRecognizer::load(trine::Embedder::load());
///     std::cout << sounds.recognize("outside.wav").front().label << "\n";      // rain
///
/// It knows these ten alone: any clip lands on one of them. The head lies in the model's folder (config.json: "sound").
/// Calls from several threads are safe.
/// Errors: std::invalid_argument for samples that are not finite, std::runtime_error for files (no head, damaged,
/// silent or shorter than 0.1 s).
class TRINE_API SoundRecognizer {
 public:
  /// The head of the embedder's model.
  static SoundRecognizer load(const Embedder& embedder);

  /// Likeliest first; the probabilities sum to 1.
  std::vector<Score> recognize(const AudioInput& audio) const;

  /// What the head was trained on, and what happens to a clip.
  Description describe() const;

 private:
  struct Impl;
  explicit SoundRecognizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
