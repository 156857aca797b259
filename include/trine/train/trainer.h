#pragma once

#include <torch/torch.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trine/export.h"

namespace trine::train {

struct TrainerOptions {
  std::int64_t steps = 0;      ///< of the whole training; the learning rate falls to zero at its end
  double warmup = 0.05;        ///< share of the steps over which the learning rate rises
  double weight_decay = 0.01;  ///< AdamW's, on matrices only
  double max_gradient_norm = 1.0;
  double averaging = 0.0;             ///< decay of the moving average of the weights; 0 keeps none
  std::filesystem::path folder = {};  ///< checkpoints are kept here; empty: none are written
};

/// Parameters that share a learning rate (its highest value).
struct ParameterGroup {
  std::vector<torch::Tensor> parameters;
  double learning_rate = 1e-3;
};

/// What a caller keeps in the checkpoint beside the trainer's own state.
struct TrainerExtra {
  std::map<std::string, torch::Tensor> tensors = {};
  std::map<std::string, std::string> metadata = {};
};

/// AdamW with warm-up and cosine decay, gradient clipping, averaged weights and checkpoints.
///
///     Trainer trainer(module, {{module->parameters(), 1e-3}}, {.steps = 1000, .folder = "run"});
///     for (trainer.resume(); trainer.step_count() < 1000;) trainer.step(loss_of(next_batch(trainer.step_count())));
///
/// A run that was killed goes on from its last checkpoint with the same result, provided that the batch and what is
/// random in it depend on the step number alone.
class TRINE_API Trainer {
 public:
  Trainer(std::shared_ptr<torch::nn::Module> module, std::vector<ParameterGroup> groups, const TrainerOptions& options);

  /// Goes back to the checkpoint in `folder`, if there is one. Errors: std::runtime_error for one of another training.
  /// `extra` receives what it was saved with.
  bool resume(TrainerExtra* extra = nullptr);
  /// One update from a loss; std::runtime_error if it is not finite.
  void step(const torch::Tensor& loss);
  /// Writes a checkpoint (beside, synced, renamed).
  void save(const TrainerExtra& extra = {}) const;

  std::int64_t step_count() const { return step_; }
  /// Of the first group in the next step.
  double learning_rate() const;
  /// Mean loss since the last call.
  double take_mean_loss();

  /// The weights to keep: averaged where averaging is on. By name, detached copies.
  std::map<std::string, torch::Tensor> result() const;

 private:
  double rate() const;

  std::shared_ptr<torch::nn::Module> module_;
  std::vector<double> highest_;
  TrainerOptions options_;
  std::unique_ptr<torch::optim::AdamW> optimiser_;
  std::map<std::string, torch::Tensor> average_;
  std::int64_t step_ = 0;
  double loss_sum_ = 0;
  std::int64_t loss_count_ = 0;
};

/// "[#####.....] 120/1000 epoch 3, loss 0.68  2 min left" on stderr: one line that is rewritten on a terminal, a line a
/// minute elsewhere.
class TRINE_API ProgressBar {
 public:
  explicit ProgressBar(std::string title, std::int64_t total, std::int64_t done = 0);
  ~ProgressBar();
  void show(std::int64_t done, const std::string& note = {});

 private:
  std::string title_;
  std::int64_t total_;
  std::int64_t first_;
  bool terminal_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_;
};

}  // namespace trine::train
