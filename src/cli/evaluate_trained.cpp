#include <algorithm>
#include <bit>
#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>

#include "evaluate.h"
#include "load_features.h"
#include "tally.h"
#include "trine/train/fit.h"

namespace trine::cli {

namespace {

using torch::Tensor;
using train::Dataset;
using train::Task;
using train::TaskModel;

constexpr std::size_t kMostSubsets = 6;  ///< modalities, of which all subsets are measured

/// The samples that have one of these modalities, with these only.
Dataset with_only(const Dataset& data, const std::vector<std::string>& names) {
  Dataset part = data;
  Tensor some = torch::zeros({data.size()}, torch::kBool);
  for (const auto& [name, there] : data.present()) {
    if (std::ranges::find(names, name) == names.end()) {
      part.features.erase(name);
      part.masks.erase(name);
    } else {
      some = some | there;
    }
  }
  const Tensor rows = some.nonzero().squeeze(1).contiguous();
  const auto* first = rows.const_data_ptr<std::int64_t>();
  return part.at({first, first + rows.numel()});
}

struct Row {
  std::string name;
  Tally tally;
  double chance = 0;
  double macro_f1 = -1;  ///< below 0: of no meaning
};

void add_all(Tally& tally, const Tensor& ranks) {
  for (std::int64_t i = 0; i < ranks.size(0); ++i) tally.add(ranks[i].item<std::int64_t>());
}

Row labelled_row(TaskModel& model, const Dataset& data, const std::string& name) {
  const auto labels = std::ssize(model->options().labels);
  const Tensor wanted = data.numbers(model->options().labels);
  const Tensor scores = train::predict(model, data).scores;
  Row row{.name = name, .tally = {}, .chance = 1.0 / static_cast<double>(labels)};
  add_all(row.tally, train::ranks(scores, torch::one_hot(wanted, labels).to(torch::kBool)));
  row.macro_f1 = train::macro_f1(scores.argmax(1), wanted, labels);
  return row;
}

/// Each modality searched among the vectors of each other.
std::vector<Row> aligned_rows(TaskModel& model, const Dataset& data) {
  std::vector<Row> rows;
  const Features vectors = train::predict(model, data).vectors, there = data.present();
  const Tensor ids = train::id_numbers(data);
  for (const auto& [first, a] : vectors) {
    for (const auto& [second, b] : vectors) {
      const Tensor both = (there.at(first) & there.at(second)).nonzero().squeeze(1);
      if (first == second || both.size(0) == 0) continue;
      const Tensor own = ids.index_select(0, both), right = own.unsqueeze(1) == own.unsqueeze(0);
      Row row{.name = first + " -> " + second, .tally = {}, .chance = right.to(torch::kFloat64).mean().item<double>()};
      add_all(row.tally, train::ranks(a.index_select(0, both).matmul(b.index_select(0, both).t()), right));
      rows.push_back(row);
    }
  }
  return rows;
}

std::vector<Row> labelled_rows(TaskModel& model, const Dataset& data) {
  std::vector<std::string> names;
  for (const auto& [name, x] : data.features) names.push_back(name);
  if (names.size() > kMostSubsets) throw std::runtime_error("[evaluate] there are too many modalities");
  std::vector<Row> rows;
  std::vector<std::uint32_t> subsets;
  for (std::uint32_t subset = 1; subset < 1u << names.size(); ++subset) subsets.push_back(subset);
  std::ranges::stable_sort(subsets, std::greater<>(), [](std::uint32_t subset) { return std::popcount(subset); });
  for (const std::uint32_t subset : subsets) {
    std::vector<std::string> chosen;
    std::string title;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if ((subset >> i & 1u) == 0) continue;
      chosen.push_back(names[i]);
      title += (title.empty() ? "" : " + ") + names[i];
    }
    const Dataset part = with_only(data, chosen);
    if (part.size() > 0) rows.push_back(labelled_row(model, part, title));
  }
  return rows;
}

void print_rows(const std::vector<Row>& rows, Json head, bool json) {
  Json results = Json::array();
  std::vector<std::vector<std::string>> table{
      {"query", "count", "top-1", "95 % interval", "chance", "top-5", "top-10", "MRR", "macro-F1"}};
  for (const auto& [name, tally, chance, f1] : rows) {
    const auto [low, high] = tally.interval();
    const auto share = [&tally](std::int64_t found) { return tally.share(static_cast<double>(found)); };
    Json row{{"query", name},
             {"count", tally.count},
             {"top1", share(tally.top1)},
             {"interval", {low, high}},
             {"chance", chance},
             {"top5", share(tally.top5)},
             {"top10", share(tally.top10)},
             {"mrr", tally.share(tally.reciprocal)}};
    if (f1 >= 0) row["macro_f1"] = f1;
    results.push_back(row);
    table.push_back({name, std::to_string(tally.count), fixed(share(tally.top1), 3),
                     fixed(low, 3) + " to " + fixed(high, 3), fixed(chance, 4), fixed(share(tally.top5), 3),
                     fixed(share(tally.top10), 3), fixed(tally.share(tally.reciprocal), 3),
                     f1 < 0 ? "" : fixed(f1, 3)});
  }
  if (json) {
    head["results"] = results;
    return print(head);
  }
  std::string text;
  for (const std::string& line : aligned(table)) text += line + "\n";
  print(text);
}

}  // namespace

void evaluate_trained(const CommonOptions& common, const TrainedOptions& options) {
  TaskModel model = train::TaskModelImpl::load(options.trained);
  const std::filesystem::path tuned = std::filesystem::path(options.trained) / "embedder";
  const bool has_own = common.model.empty() && std::filesystem::is_directory(tuned);
  const Embedder embedder = has_own ? Embedder::load(tuned) : load_model(common);
  if (const std::string& wanted = model->options().embedder; !wanted.empty() && wanted != embedder.fingerprint()) {
    throw std::runtime_error("[evaluate] " + options.trained + " was trained on the vectors of another model than " +
                             embedder.name() + ": name it by --model");
  }
  std::vector<train::Sample> samples;
  for (train::Sample& sample : train::read_manifest(options.manifest)) {
    if (sample.split != train::split(options.split)) continue;
    for (const std::string& name : options.without) sample.inputs.erase(modality(name));
    std::erase_if(sample.inputs, [&](const auto& input) {
      return !model->options().inputs.contains(std::string(to_string(input.first)));
    });
    const auto& labels = model->options().labels;
    if (model->options().task != Task::align && std::ranges::find(labels, sample.label) == labels.end()) {
      throw std::runtime_error("[evaluate] " + options.manifest + ", line " + std::to_string(sample.line) +
                               ": the model has no label \"" + one_line(sample.label) + "\"");
    }
    if (!sample.inputs.empty()) samples.push_back(std::move(sample));
  }
  if (samples.empty()) {
    throw std::runtime_error("[evaluate] " + options.manifest + " has no sample of the split " + options.split +
                             " with a modality that the model knows");
  }
  train::FeatureStore store(embedder, options.features);
  std::vector<train::SkippedInput> skipped;
  const Dataset data = load_features(store, samples, "embedding", &skipped);
  const bool aligns = model->options().task == Task::align;
  print_rows(aligns ? aligned_rows(model, data) : labelled_rows(model, data),
             {{"trained", options.trained},
              {"model", embedder.name()},
              {"manifest", options.manifest},
              {"split", options.split},
              {"task", train::to_string(model->options().task)},
              {"samples", data.size()},
              {"skipped", skipped.size()}},
             common.json);
}

}  // namespace trine::cli
