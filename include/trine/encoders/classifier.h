#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/input/modality.h"

namespace trine {

/// What makes scores of a head's outputs: shares that sum to 1, each label on its own in 0 to 1, or nothing.
enum class ScoreFunction { softmax, sigmoid, none };

TRINE_API std::string_view to_string(ScoreFunction function);

/// Labels with scores, from a checkpoint that has a head for them:
/// - of texts, `*ForSequenceClassification` of BERT, RoBERTa, XLM-RoBERTa, MPNet, DistilBERT and ModernBERT;
/// - of pictures, `*ForImageClassification` of ViT and DINOv2, with registers too;
/// - of clips, `*ForSequenceClassification` of wav2vec 2.0, HuBERT and WavLM, `ASTForAudioClassification`.
///
///     trine::Classifier model = trine::Classifier::load("roberta-base-go_emotions");
///     float joy = model.predict({"what a day!"})[0].at("joy");
///
/// The function is transformers' choice: none for `problem_type` "regression", sigmoid for "multi_label_classification"
/// or a single label, else softmax. (Its audio-classification pipeline takes softmax whatever the checkpoint says.)
/// Texts are cut at `max_tokens`, clips are taken whole; scores do not depend on the batch (differences of at most
/// 1e-5). Calls from several threads are safe.
/// Errors: std::runtime_error for files, naming the key, wanted and got; std::invalid_argument for inputs of another
/// modality, invalid UTF-8, clips that are too short or too long for the network.
/// Reference: transformers' pipelines text-classification, image-classification and audio-classification.
class TRINE_API Classifier {
 public:
  static Classifier load(const std::filesystem::path& directory);

  /// What it takes.
  Modality modality() const;
  /// In the order of their ids (`id2label`); a name that comes again has its id behind it, "crane (517)".
  const std::vector<std::string>& labels() const;
  ScoreFunction function() const;

  /// {label: score} of each input.
  std::vector<std::map<std::string, float>> predict(const std::vector<std::string>& texts) const;
  std::vector<std::map<std::string, float>> predict_images(const std::vector<ImageInput>& images) const;
  std::vector<std::map<std::string, float>> predict_audios(const std::vector<AudioInput>& audios) const;
  /// The same as a tensor -> (N, labels)
  torch::Tensor scores(const std::vector<std::string>& texts) const;
  torch::Tensor image_scores(const std::vector<ImageInput>& images) const;
  torch::Tensor audio_scores(const std::vector<AudioInput>& audios) const;
  /// What the head gives, before the function -> (N, labels)
  torch::Tensor logits(const std::vector<std::string>& texts) const;
  torch::Tensor image_logits(const std::vector<ImageInput>& images) const;
  torch::Tensor audio_logits(const std::vector<AudioInput>& audios) const;

  // Of a classifier of texts.
  std::int64_t max_tokens() const;  ///< special tokens included
  std::int64_t count_tokens(const std::string& text) const;

  /// Where the model was loaded from.
  const std::filesystem::path& directory() const;
  Description describe() const;

 private:
  struct Impl;
  explicit Classifier(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
