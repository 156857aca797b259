#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trine/export.h"
#include "trine/fusion.h"
#include "trine/train/loss.h"

namespace trine::train {

/// classify: one of the labels, by a linear layer over a fusion. rank: the labels by their distance from the fusion's
/// vector in the space of their own vectors. align: each modality into one shared space.
enum class Task { classify, rank, align };

TRINE_API std::string_view to_string(Task task);
/// "classify", "rank" or "align"; another name is std::invalid_argument.
TRINE_API Task task(std::string_view name);

struct TaskModelOptions {
  Task task = Task::classify;
  std::map<std::string, std::int64_t> inputs = {};  ///< D of the features by modality
  std::vector<std::string> labels = {};             ///< classify and rank
  std::int64_t out_dim = 0;                         ///< of the label vectors (rank) or of the shared space (align)
  FusionType fusion = FusionType::attention;        ///< classify and rank
  FusionOptions network = {.modalities = {}, .hidden_dim = 128, .num_heads = 4, .ff_dim = 256};  ///< modalities: inputs
  std::string embedder = {};  ///< fingerprint of the embedder that the features come from; empty: they are the caller's
};

struct Prediction {
  torch::Tensor scores;  ///< (B, labels): logits (classify) or cosines (rank)
  torch::Tensor vector;  ///< (B, hidden_dim), or of unit length (B, out_dim) (rank)
  Features weights;      ///< (B) by modality: what each counts, see Fused
  Features vectors;      ///< align: (B, out_dim) by modality, of unit length; of no meaning for who lacks it
};

/// What `fit` trains: a layer norm and a linear layer for each modality; on these a fusion and a head, or nothing more.
///
/// Features and masks are those of a fusion. Parameters: inputs.M.norm, inputs.M.linear, fusion (the fusion's own
/// keys), head, label_vectors (rank: fixed), contrast.logit_scale (align).
class TRINE_API TaskModelImpl : public torch::nn::Module {
 public:
  explicit TaskModelImpl(const TaskModelOptions& options);
  Prediction forward(const Features& features, const Features& masks = {});
  /// rank: (labels, out_dim), made unit.
  void set_label_vectors(const torch::Tensor& vectors);
  /// align: the loss of `vectors`, with its learned temperature.
  ContrastiveLossImpl& contrast();

  const TaskModelOptions& options() const { return options_; }
  void save(const std::filesystem::path& directory) const;  ///< config.json and model.safetensors
  static std::shared_ptr<TaskModelImpl> load(const std::filesystem::path& directory);

 private:
  struct Input {
    LayerNorm norm{nullptr};
    Linear linear{nullptr};
  };

  TaskModelOptions options_;
  std::map<std::string, Input> inputs_;
  std::shared_ptr<FusionImpl> fusion_;
  Linear head_{nullptr};
  torch::Tensor label_vectors_;
  ContrastiveLoss contrast_{nullptr};
};
TORCH_MODULE(TaskModel);

}  // namespace trine::train
