#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trine/apps/score.h"
#include "trine/embedder.h"
#include "trine/export.h"

namespace trine {

/// What a text or a voice sounds like: angry, glad, sad ...
///
///     trine::EmotionRecognizer emotion = trine::EmotionRecognizer::load(trine::Embedder::load());
///     std::cout << emotion.text("It arrived broken again!").front().label << "\n";      // anger
///
/// Texts: English, trained on online comments (GoEmotions); several labels may hold at once, so the probabilities do
/// not sum to 1. Voices: trained on German acted speech (EmoDB), one of four; they sum to 1. It carries badly to other
/// languages and to people who do not act: take it for a hint.
///
/// The heads lie in the model's folder (config.json: "emotion"). Calls from several threads are safe.
/// Errors: std::invalid_argument for the caller's mistakes (a blank text, invalid UTF-8, a kind of input without head),
/// std::runtime_error for files (no heads, damaged, silent or shorter than 0.1 s).
class TRINE_API EmotionRecognizer {
 public:
  /// The heads of the embedder's model.
  static EmotionRecognizer load(const Embedder& embedder);

  /// Seven groups of emotions and neutral: anger, disgust, fear, joy, sadness, surprise, neutral. Likeliest first.
  std::vector<Score> text(const std::string& text) const;
  /// The 27 labels of GoEmotions and neutral. Likeliest first.
  std::vector<Score> text_labels(const std::string& text) const;
  /// Angry, happy, neutral, sad. Likeliest first.
  std::vector<Score> voice(const AudioInput& audio) const;

  /// Whether the model has a head for texts, or for clips.
  bool supports(Modality modality) const;
  /// What the heads were trained on, and what happens to an input.
  Description describe() const;

 private:
  struct Impl;
  explicit EmotionRecognizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
