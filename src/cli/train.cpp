#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "chart.h"
#include "command.h"
#include "load_features.h"
#include "trine/train/fit.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

namespace fs = std::filesystem;

struct Options : CommonOptions {
  std::string manifest;
  std::string task = "classify";
  std::string fusion = "attention";
  std::string balance = "none";
  std::string out;
  std::string features;
  std::vector<std::string> tune;
  train::FitOptions fit;
};

/// curves.svg: the losses, and beside them the validation.
void draw(const fs::path& path, const train::FitResult& result) {
  Series loss{"train", {}}, val_loss{"validation", {}}, top1{"top-1", {}}, kept{"kept", {}, false};
  for (const train::EpochLog& log : result.history) {
    const auto epoch = static_cast<double>(log.epoch);
    loss.points.emplace_back(epoch, log.loss);
    if (log.val_loss) val_loss.points.emplace_back(epoch, *log.val_loss);
    if (log.val_top1) top1.points.emplace_back(epoch, *log.val_top1);
    if (log.val_top1 && log.epoch == result.best_epoch) kept.points.emplace_back(epoch, *log.val_top1);
  }
  std::vector<Chart> charts{{"Loss", "epoch", "loss", {loss}}};
  if (!top1.points.empty()) {
    charts[0].series.push_back(val_loss);
    charts.push_back({"Validation", "epoch", "share of first places", {top1, kept}});
  }
  const fs::path beside = path.string() + ".new";
  std::ofstream(beside) << chart_svg(charts);
  fs::rename(beside, path);
}

void run(const Options& options) {
  train::FitOptions fit = options.fit;
  fit.task = train::task(options.task);
  fit.fusion = fusion_type(options.fusion);
  fit.balance = train::balance(options.balance);
  fit.folder = options.out;
  for (const std::string& name : options.tune) fit.tune.push_back(modality(name));
  const std::vector<train::Sample> samples = train::read_manifest(options.manifest);
  train::FeatureStore store(load_model(options), options.features);
  std::vector<train::SkippedInput> skipped;

  std::optional<train::ProgressBar> bar;
  const auto embedding = [&bar](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace("embedding", total);
    bar->show(done);
    if (done == total) bar.reset();
  };
  fit.progress = [&bar](const train::FitProgress& now) {
    if (!bar) bar.emplace("training", now.steps, now.step - 1);
    bar->show(now.step, "epoch " + std::to_string(now.epoch) + ", loss " + fixed(now.loss, 3) + ", rate " +
                            fixed(now.learning_rate, 5) +
                            (now.val_top1 ? ", val top-1 " + fixed(*now.val_top1, 3) : ""));
  };
  const train::FitResult result = train::fit(store, samples, fit, &skipped, embedding);
  bar.reset();
  say_skipped(skipped);
  draw(fs::path(options.out) / "curves.svg", result);

  const train::EpochLog& best = result.history.at(static_cast<std::size_t>(result.best_epoch - 1));
  if (options.json) {
    Json history = Json::array();
    for (const train::EpochLog& log : result.history) {
      Json line{{"epoch", log.epoch}, {"loss", log.loss}};
      if (log.val_loss) line["val_loss"] = *log.val_loss;
      if (log.val_top1) line["val_top1"] = *log.val_top1;
      history.push_back(line);
    }
    Json whole{{"out", options.out},
               {"task", options.task},
               {"samples", samples.size()},
               {"skipped", skipped.size()},
               {"epochs", result.history.size()},
               {"best_epoch", result.best_epoch},
               {"stopped_early", result.stopped_early}};
    if (result.embedder) whole["embedder"] = result.embedder->directory().string();
    if (best.val_top1) whole["val_top1"] = *best.val_top1;
    whole["history"] = history;
    return print(whole);
  }
  print(options.out + ": " + std::to_string(result.history.size()) + " epochs" +
        (result.stopped_early ? ", stopped early" : "") + "; kept epoch " + std::to_string(result.best_epoch) +
        " with loss " + fixed(best.loss, 3) + (best.val_top1 ? ", validation top-1 " + fixed(*best.val_top1, 3) : "") +
        (result.embedder ? "; the tuned model is " + result.embedder->directory().string() : "") + "\n");
}

}  // namespace

void add_train(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "train", "Trains a fusion or projections on labelled samples",
                                  "trine train samples.jsonl --task classify --fusion attention --out run", *options);
  train::FitOptions& fit = options->fit;
  command
      ->add_option("manifest", options->manifest,
                   "JSON lines with image, text, audio (any of them; one or a list), label, id and split (train, val, "
                   "test)")
      ->type_name("MANIFEST")
      ->required();
  command
      ->add_option("--out", options->out,
                   "Folder for the model, log.jsonl, curves.svg and checkpoints; a killed run goes on from there")
      ->type_name("DIR")
      ->required();
  command->add_option("--task", options->task, "classify: labels; rank: labels by their texts; align: by ids")
      ->check(CLI::IsMember({"classify", "rank", "align"}))
      ->capture_default_str();
  command->add_option("--fusion", options->fusion, "How modalities are combined")
      ->check(CLI::IsMember({"early", "late", "hybrid", "attention"}))
      ->capture_default_str();
  command
      ->add_option("--tune", options->tune,
                   "Towers that are trained too; the changed model is written to the folder \"embedder\" in DIR")
      ->check(CLI::IsMember({"image", "text", "audio"}))
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--features", options->features, "Where vectors are kept for all runs; without it the cache")
      ->type_name("DIR");
  const auto number = [&](const char* name, auto& value, const char* what) {
    command->add_option(name, value, what)->capture_default_str();
  };
  number("--epochs", fit.epochs, "Passes over the train split");
  number("--batch-size", fit.batch_size, "Samples of a step");
  number("--rate", fit.learning_rate, "Highest learning rate");
  number("--tower-rate", fit.tower_learning_rate, "--tune: highest learning rate of the towers");
  number("--tune-blocks", fit.tune_blocks, "--tune: only so many blocks, the last, and what follows them; 0: all");
  number("--tower-batch", fit.tower_batch,
         "--tune: inputs whose activations are held; of more they are computed twice");
  number("--weight-decay", fit.weight_decay, "AdamW's, on matrices");
  number("--warmup", fit.warmup, "Share of the steps over which the rate rises");
  number("--max-gradient-norm", fit.max_gradient_norm, "Longer gradients are shortened to it");
  number("--modality-dropout", fit.modality_dropout, "Chance that a sample lacks a modality in training");
  number("--label-smoothing", fit.label_smoothing, "Share of the target spread over all labels");
  number("--temperature", fit.temperature, "rank: of the softmax over the labels");
  number("--hidden-dim", fit.network.hidden_dim, "Width of the fusion");
  number("--heads", fit.network.num_heads, "Attention heads of the fusion");
  number("--ff-dim", fit.network.ff_dim, "Width inside the layers of the fusion");
  number("--out-dim", fit.out_dim, "align: dimensions of the shared space");
  command->add_option("--balance", options->balance, "Draw combinations of modalities equally often")
      ->check(CLI::IsMember({"none", "up", "down"}))
      ->capture_default_str();
  number("--patience", fit.patience, "Stop after so many epochs without a better validation; 0: never");
  number("--seed", fit.seed, "Of everything random");
  number("--checkpoint-seconds", fit.checkpoint_seconds, "Between checkpoints within an epoch");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
