#include "trine/train/advise.h"

#include <memory>
#include <optional>
#include <stdexcept>

#include "command.h"
#include "load_features.h"
#include "tower_times.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::string manifest;
  std::string split;
  std::string features;
  std::int64_t folds = 5;
  std::uint64_t seed = 1;
  double worth = 0.01;
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " + ") + name;
  return text;
}

std::string signed_points(double share) { return (share < 0 ? "" : "+") + fixed(100 * share, 1); }

Json json_of(const train::Advice& advice) {
  Json subsets = Json::array(), comparisons = Json::array(), worst = Json::array(), learning = Json::array();
  for (const train::SubsetResult& r : advice.subsets) {
    subsets.push_back({{"modalities", r.modalities},
                       {"right", r.right},
                       {"accuracy", r.accuracy},
                       {"interval", {r.interval.first, r.interval.second}},
                       {"macro_f1", r.macro_f1},
                       {"covered", r.covered},
                       {"milliseconds", r.milliseconds}});
  }
  for (const train::Comparison& c : advice.comparisons) {
    comparisons.push_back({{"without", c.without},
                           {"added", c.added},
                           {"gain", c.gain},
                           {"interval", {c.interval.first, c.interval.second}},
                           {"p_value", c.p_value},
                           {"won", c.won},
                           {"lost", c.lost},
                           {"milliseconds", c.milliseconds},
                           {"verdict", to_string(c.verdict)}});
  }
  for (const train::ClassResult& c : advice.worst) {
    worst.push_back({{"label", c.label}, {"count", c.count}, {"wrong", c.wrong}, {"taken_for", c.taken_for}});
  }
  for (const train::LearningPoint& p : advice.learning) {
    learning.push_back({{"share", p.share}, {"samples", p.samples}, {"accuracy", p.accuracy}});
  }
  return {{"samples", advice.samples},
          {"classes", advice.classes},
          {"chance", advice.chance},
          {"subsets", subsets},
          {"comparisons", comparisons},
          {"recommended", advice.recommended},
          {"worst", worst},
          {"missing", advice.missing},
          {"learning", learning},
          {"more_data", {advice.more_data.first, advice.more_data.second}},
          {"sentences", advice.sentences}};
}

void print_tables(const train::Advice& advice) {
  std::vector<std::vector<std::string>> subsets{
      {"modalities", "accuracy", "95 % interval", "macro F1", "covered", "ms"}};
  for (const train::SubsetResult& r : advice.subsets) {
    subsets.push_back({joined(r.modalities), fixed(r.accuracy, 3),
                       fixed(r.interval.first, 3) + " to " + fixed(r.interval.second, 3), fixed(r.macro_f1, 3),
                       fixed(r.covered, 3), fixed(r.milliseconds, 1)});
  }
  std::vector<std::vector<std::string>> comparisons{
      {"beside", "added", "gain", "95 % interval", "p", "won", "lost", "ms", "verdict"}};
  for (const train::Comparison& c : advice.comparisons) {
    comparisons.push_back({joined(c.without), c.added, signed_points(c.gain),
                           signed_points(c.interval.first) + " to " + signed_points(c.interval.second),
                           fixed(c.p_value, 4), std::to_string(c.won), std::to_string(c.lost), fixed(c.milliseconds, 1),
                           std::string(to_string(c.verdict))});
  }
  std::string text;
  for (const std::string& line : aligned(subsets)) text += line + "\n";
  text += "\n";
  for (const std::string& line : aligned(comparisons)) text += line + "\n";
  text += "\n";
  for (const std::string& sentence : advice.sentences) text += sentence + "\n";
  print(text);
}

void run(const Options& options) {
  std::vector<train::Sample> samples = train::read_manifest(options.manifest);
  if (!options.split.empty()) {
    const train::Split wanted = train::split(options.split);
    std::erase_if(samples, [&](const train::Sample& sample) { return sample.split != wanted; });
    if (samples.empty()) {
      throw std::runtime_error("[advise] " + options.manifest + " has no sample of the split " + options.split);
    }
  }
  for (const train::Sample& sample : samples) {
    if (!sample.label.empty()) continue;
    throw std::runtime_error("[advise] " + options.manifest + ", line " + std::to_string(sample.line) +
                             ": \"label\" is missing, the class that is to be told");
  }
  const Embedder model = load_model(options);
  train::AdviseOptions how{.folds = options.folds, .seed = options.seed, .worth = options.worth};
  for (const auto& [modality, passed] : tower_times(model, samples)) {
    how.milliseconds[std::string(to_string(modality))] = passed;
  }
  train::FeatureStore store(model, options.features);
  const train::Dataset data = load_features(store, samples, "embedding");
  std::optional<train::ProgressBar> fitting;
  how.ids = data.ids;
  how.progress = [&](std::int64_t done, std::int64_t total) {
    if (!fitting) fitting.emplace("training", total);
    fitting->show(done);
  };
  const train::Advice advice = train::advise(data.features, data.masks, data.labels, how);
  fitting.reset();
  options.json ? print(json_of(advice)) : print_tables(advice);
}

}  // namespace

void add_advise(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "advise", "Says on your own labelled sample whether a second or third modality pays",
                  "trine advise sample.jsonl --folds 5", *options);
  command
      ->add_option(
          "manifest", options->manifest,
          "JSON lines with label and image, text, audio (any of them); lines of one id show one thing and stay "
          "together")
      ->required()
      ->type_name("MANIFEST");
  command->add_option("--split", options->split, "Only the lines of this split; without it all of them")
      ->type_name("SPLIT")
      ->check(CLI::IsMember({"train", "val", "test"}));
  command->add_option("--folds", options->folds, "Parts of the cross-validation")
      ->type_name("N")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the folds")->type_name("N")->capture_default_str();
  command->add_option("--worth", options->worth, "Gain in accuracy that would be worth a modality")
      ->type_name("SHARE")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str();
  command->add_option("--features", options->features, "Where vectors are kept; without it the cache")
      ->type_name("DIR");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
