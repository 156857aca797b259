#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trine/apps/score.h"
#include "trine/embedder.h"
#include "trine/export.h"

namespace trine {

/// What a text is meant to bring about.
struct Intent {
  std::vector<Score> scores;  ///< of every intent, likeliest first; they sum to 1
  bool in_scope;              ///< whether the text is about any of them at all
};

struct IntentOptions {
  std::int64_t folds = 5;  ///< of the cross-validation that chooses strength, temperature and threshold; at least 2
  double kept = 0.97;      ///< share of the held-out examples of intents that the threshold leaves in scope
};

/// Intents by examples: a linear head on the vectors of a text encoder, fitted in a second for a few hundred sentences.
///
///     const trine::Embedder model = trine::Embedder::load();
///     const trine::IntentClassifier intents = trine::IntentClassifier::load(model);
///     const trine::Intent intent = intents.understand("the milk carton leaked over everything");
///     std::cout << intent.scores[0].label;                                                 // damaged
///
/// The examples are a JSON object {intent: [sentences]}; 15 sentences for an intent are a good beginning, 2 the least.
/// Sentences under the name "out_of_scope" belong to none of the intents. Fitting is deterministic.
/// Errors: std::invalid_argument for examples that do not do, invalid UTF-8 and vectors of another size;
/// std::runtime_error for files.
class TRINE_API IntentClassifier {
 public:
  /// `examples`: the file; by default intents.json of the model's folder.
  static IntentClassifier load(const Embedder& embedder, const std::filesystem::path& examples = {});
  static IntentClassifier fit(const Embedder& embedder, const std::map<std::string, std::vector<std::string>>& examples,
                              const IntentOptions& options = {});

  Intent understand(const std::string& text) const;
  /// The same from the text's vector (D), or another one of the shared space that stands for it.
  Intent understand(const torch::Tensor& text_vector) const;
  std::vector<Intent> understand(const std::vector<std::string>& texts) const;

  const std::vector<std::string>& labels() const;  ///< sorted
  /// What was fitted: examples, strength, temperature, threshold, and accuracy in cross-validation.
  Description describe() const;

 private:
  struct Impl;
  explicit IntentClassifier(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
