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

namespace trine {

/// What makes scores of a head's outputs: shares that sum to 1, each label on its own in 0 to 1, or nothing.
enum class ScoreFunction { softmax, sigmoid, none };

TRINE_API std::string_view to_string(ScoreFunction function);

/// Labels with scores, from a checkpoint that has a head for them: `*ForSequenceClassification` of BERT, RoBERTa,
/// XLM-RoBERTa, MPNet, DistilBERT and ModernBERT.
///
///     trine::Classifier model = trine::Classifier::load("roberta-base-go_emotions");
///     float joy = model.predict({"what a day!"})[0].at("joy");
///
/// The function is transformers' choice: none for `problem_type` "regression", sigmoid for "multi_label_classification"
/// or a single label, else softmax. Texts are cut at `max_tokens`; scores do not depend on the batch (differences of at
/// most 1e-5). Calls from several threads are safe.
/// Errors: std::runtime_error for files, naming the key, wanted and got; std::invalid_argument for invalid UTF-8.
/// Reference: transformers' text-classification pipeline.
class TRINE_API Classifier {
 public:
  static Classifier load(const std::filesystem::path& directory);

  /// In the order of their ids (`id2label`).
  const std::vector<std::string>& labels() const;
  ScoreFunction function() const;

  /// {label: score} of each text.
  std::vector<std::map<std::string, float>> predict(const std::vector<std::string>& texts) const;
  /// The same as a tensor -> (N, labels)
  torch::Tensor scores(const std::vector<std::string>& texts) const;
  /// What the head gives, before the function -> (N, labels)
  torch::Tensor logits(const std::vector<std::string>& texts) const;

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
