#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trine/export.h"
#include "trine/train/dataset.h"
#include "trine/train/task_model.h"

/// Training on the vectors of encoders, which are frozen unless `tune` names them.
///
///     FeatureStore store(Embedder::load());
///     FitResult result = fit(store, read_manifest("train.jsonl"), {.task = Task::classify, .folder = "run"});
///     result.model->save("model");
///     fit(store, read_manifest("train.jsonl"), {.tune = {Modality::image}, .folder = "tuned"}).embedder->directory();

namespace trine::train {

/// Draws of an epoch: every sample once, or as BalancedSampler over the combinations of modalities.
enum class Balance { none, up, down };

TRINE_API std::string_view to_string(Balance balance);
/// "none", "up" or "down"; another name is std::invalid_argument.
TRINE_API Balance balance(std::string_view name);

/// One epoch.
struct EpochLog {
  std::int64_t epoch = 0;               ///< from 1
  double loss = 0;                      ///< mean over the steps
  std::optional<double> val_loss = {};  ///< of the validation split, if there is one
  /// Share of first places: of the right label, or (align) of a sample of the same id, meaned over the ordered pairs of
  /// modalities.
  std::optional<double> val_top1 = {};
  double learning_rate = 0;  ///< of the last step
  double seconds = 0;
};

/// After each step.
struct FitProgress {
  std::int64_t step = 0;   ///< done
  std::int64_t steps = 0;  ///< of all epochs
  std::int64_t epoch = 0;  ///< from 1
  double loss = 0;         ///< of the step
  double learning_rate = 0;
  std::optional<double> val_top1 = {};  ///< of the last epoch that was measured
};

struct FitOptions {
  Task task = Task::classify;
  FusionType fusion = FusionType::attention;
  FusionOptions network = TaskModelOptions().network;  ///< modalities are those of the data
  std::int64_t out_dim = 128;                          ///< align: of the shared space
  torch::Tensor label_vectors = {};  ///< rank: (labels, D), a row for each of the data's classes() in their order
  double temperature = 0.05;         ///< rank: of the softmax over the labels
  double label_smoothing = 0.0;      ///< classify and rank

  std::int64_t epochs = 30;
  std::int64_t batch_size = 64;
  double learning_rate = 1e-3;
  double weight_decay = 0.01;
  double warmup = 0.05;  ///< share of the steps over which the learning rate rises
  double max_gradient_norm = 1.0;
  double modality_dropout = 0.1;  ///< see ModalityDropout
  Balance balance = Balance::none;
  std::int64_t patience = 0;  ///< epochs without a better validation after which to stop; 0: all are run
  std::uint64_t seed = 0;
  /// Where it learns; without one the embedder's, of vectors the LoadDevice's.
  std::optional<torch::Device> device = {};

  std::vector<Modality> tune = {};    ///< towers that are trained too; only of samples, and with a folder
  double tower_learning_rate = 2e-5;  ///< theirs, in place of learning_rate
  std::int64_t tune_blocks = 0;       ///< of a tower only so many blocks, the last, and what follows; 0: all of it
  std::int64_t tower_batch = 16;      ///< inputs whose activations are held; of more they are computed a second time

  std::filesystem::path folder = {};  ///< checkpoint, log.jsonl and the model go there; empty: nothing is written
  double checkpoint_seconds = 20;     ///< between checkpoints within an epoch; each epoch ends with one
  std::function<void(const FitProgress&)> progress = {};  ///< what it throws ends the training
};

struct FitResult {
  /// Of the best epoch on the validation split, without one of the last; on the CPU, in evaluation mode.
  TaskModel model{nullptr};
  std::vector<EpochLog> history;
  std::int64_t best_epoch = 0;
  bool stopped_early = false;
  std::optional<Embedder> embedder = {};  ///< with the tuned towers, from "embedder" in the folder
};

/// Trains on the train split, chooses by the val split and leaves the test split alone.
///
/// Everything random depends on the seed and the number of the step, so a run that was killed and is started again with
/// the same data, options, folder and number of threads ends in the same weights, bit for bit; one that had ended is
/// not run again. A checkpoint lies on no device: a run that began on one may go on on another, and then ends in
/// weights that differ by what the devices' arithmetic does. Errors: std::invalid_argument for options out of range,
/// data that do not fit (see Dataset::check), no train sample, a modality that none of these has; classify: a sample
/// without a label, fewer than two labels, a label that train lacks; rank: the first two; align: fewer than two
/// modalities or than two samples that have them. std::runtime_error for files, for a folder that holds another
/// training and for a device that is not there. `tune` here is std::invalid_argument.
TRINE_API FitResult fit(const Dataset& data, const FitOptions& options = {});

/// The same on the vectors of samples, with the vectors of the labels' own texts for `rank`. `skipped` and `embedding`:
/// see FeatureStore::load.
///
/// `tune`: a copy of the store's embedder is trained with the model, by batches of the samples' inputs; the best
/// epoch's is written to "embedder" in the folder, and the model names its fingerprint. The store's own embedder stays
/// as it is, and so do the labels' vectors for `rank`. Errors: std::invalid_argument also for a modality that the model
/// or the samples lack and for an encoder that cannot be trained, see Embedder::weights.
TRINE_API FitResult fit(FeatureStore& store, const std::vector<Sample>& samples, FitOptions options = {},
                        std::vector<SkippedInput>* skipped = nullptr,
                        const std::function<void(std::int64_t done, std::int64_t total)>& embedding = {});

/// Places, from 1, of the best right answer of each row; wrong answers with the same score count as better.
/// scores (B, K), right (B, K) bool -> (B) int64
TRINE_API torch::Tensor ranks(const torch::Tensor& scores, const torch::Tensor& right);

/// What a model says of all samples, in evaluation mode and without gradients. It computes where it lies; the samples
/// lie on the CPU, and so does the prediction.
TRINE_API Prediction predict(TaskModel& model, const Dataset& data);

/// Of each sample a number that those of the same id share: its id, else its label, else its own. -> (N) int64
TRINE_API torch::Tensor id_numbers(const Dataset& data);

}  // namespace trine::train
