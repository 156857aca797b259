#pragma once

#include <memory>

#include "trine/embedder.h"
#include "trine/encoders/transcriber.h"
#include "trine/export.h"

namespace trine {

/// A spoken clip by two paths.
struct Heard {
  Transcript transcript;
  torch::Tensor direct;   ///< (D) of the speech tower
  torch::Tensor written;  ///< (D) of the transcript through the text tower; undefined where nothing was said
  float trust = 0;        ///< weight of the transcript, in [0, 1]; 0 where nothing was said
  torch::Tensor vector;   ///< (D) both, weighted by trust, of unit length
};

/// Speech by two paths: the speech tower, which knows the phrases of its training and stands noise, and a transcript
/// through the text tower, which knows any sentence. Their vectors are mixed by a trust in the transcript that was
/// fitted on validation clips.
///
///     trine::Hearing hearing = trine::Hearing::load();
///     trine::Heard heard = hearing.hear("question.wav");
///     std::cout << heard.transcript.text << " (" << heard.trust << ")\n";
///
/// trust = sigmoid(bias + sum of weights times facts), the facts being the logit of the decoder's confidence, its
/// probability that nothing is said, whether a loop was cut, the cosine between the two vectors and the logarithm of
/// the number of words. The weights lie in the model's config.json (audio.hearing), by
/// `models/default/train/fit_hearing.py`.
///
/// Cost of a clip of 3 s on one core with the default model: direct path 40 ms, transcript 150 ms.
/// Calls from several threads are safe. Errors: those of Embedder and Transcriber.
class TRINE_API Hearing {
 public:
  /// The embedder needs audio and text, and fitted weights: else std::invalid_argument.
  Hearing(Embedder embedder, Transcriber transcriber);
  /// With the decoder of the embedder's own audio encoder.
  static Hearing load(const Embedder& embedder);
  static Hearing load();  ///< that of the default model, see Embedder::load()
  /// Whether the model has what `load` needs.
  static bool available(const Embedder& embedder);

  Heard hear(const AudioInput& audio) const;

  const Embedder& embedder() const;
  const Transcriber& transcriber() const;
  Description describe() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
