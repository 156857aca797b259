#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "command.h"
#include "figures.h"
#include "trine/train/dataset.h"

namespace trine::cli {

inline constexpr const char* kWho = "evaluate";  ///< in errors

/// `trine evaluate MANIFEST --trained DIR`
struct TrainedOptions {
  std::string manifest;
  std::string trained;
  std::string split = "test";
  std::vector<std::string> without;  ///< modalities to leave out
  std::string features;              ///< folder of the feature store; empty: the default one
};

/// Measures what `trine train` made, for every subset of the modalities.
void evaluate_trained(const CommonOptions& common, const TrainedOptions& options);

/// `trine evaluate MANIFEST --adaptive SAMPLE`
struct AdaptiveEvaluation {
  std::string manifest;
  std::string sample;  ///< labelled queries that the thresholds are fitted on
  std::string index;
  std::string fusion;
  std::string out;  ///< folder for what was fitted, the table and the plot; empty: none
  double wanted = 0.99;
};

/// Quality against cost of adaptive inference, fitted on one manifest and measured on another.
void evaluate_adaptive(const CommonOptions& common, const AdaptiveEvaluation& options);

/// `trine evaluate MANIFEST --task NAME`
struct TaskEvaluation {
  std::string manifest;
  std::string name;          ///< damage, emotion, emotion-labels, intent, sound, transcript, video or voice-emotion
  std::string fit;           ///< labelled lines that intents, or thresholds of emotions, are fitted on; empty: none
  std::string head;          ///< a file of DamageDetector; empty: the model's
  bool leave_out = false;    ///< clips of each set by a head that learned from the other sets
  bool no_temporal = false;  ///< videos without the model that looks at frames in their order
};

/// Measures a head of the model on labelled texts, photos, clips or videos.
void evaluate_task(const CommonOptions& common, const TaskEvaluation& task);

Found evaluate_damage(const Embedder& model, const TaskEvaluation& task);
Found evaluate_video(const Embedder& model, const TaskEvaluation& task);

/// Throws std::runtime_error that names the manifest and the sample's line.
[[noreturn]] void refuse(const std::filesystem::path& path, const train::Sample& sample, const std::string& why);

/// Calls `take` with every line of a manifest, as JSON. What it throws is said with the line.
void read_lines(const std::filesystem::path& path, const std::function<void(const Json& line)>& take);

/// The samples of a manifest with one input of a modality at most; `with_id`: each names the right product.
std::vector<train::Sample> read_queries(const std::filesystem::path& path, bool with_id);

}  // namespace trine::cli
