#include "evaluate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "chart.h"
#include "load_features.h"
#include "tower_times.h"
#include "trine/adaptive.h"

namespace trine::cli {

namespace {

namespace fs = std::filesystem;

std::vector<LabelledQuery> embed_queries(train::FeatureStore& store, const std::vector<train::Sample>& samples,
                                         const std::string& title, const std::map<Modality, double>& times) {
  const train::Dataset data = load_features(store, samples, title);
  std::vector<LabelledQuery> queries;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    LabelledQuery query{.id = samples[i].id, .vectors = {}, .milliseconds = {}, .set = samples[i].set};
    for (const auto& [modality, inputs] : samples[i].inputs) {
      const std::string name(to_string(modality));
      if (!data.masks.at(name)[row][0].item<bool>()) continue;  // it could not be read
      query.vectors[modality] = data.features.at(name)[row][0];
      query.milliseconds[modality] = times.at(modality);
    }
    queries.push_back(std::move(query));
  }
  return queries;
}

/// A choice of thresholds, on the sample they were chosen on and on the queries that are measured.
struct Row {
  std::string name;
  OperatingPoint sample;
  OperatingPoint measured;
};

std::string threshold(double value) { return value >= 1 ? "never" : value <= 0 ? "always" : fixed(value, 3); }

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::vector<std::vector<std::string>> table_of(const std::vector<Row>& rows, const OperatingPoint& complex) {
  std::vector<std::vector<std::string>> table{{"point", "sure from", "agree from", "sample top-1", "top-1", "kept",
                                               "ms", "of complex", "towers", "simple", "moderate", "complex"}};
  for (const Row& row : rows) {
    const OperatingPoint& p = row.measured;
    table.push_back({row.name, threshold(p.confidence), threshold(p.agreement), fixed(row.sample.quality, 4),
                     fixed(p.quality, 4), percent(p.quality / complex.quality), fixed(p.milliseconds, 1),
                     percent(p.milliseconds / complex.milliseconds), percent(p.towers), percent(p.simple),
                     percent(p.moderate), percent(p.complex)});
  }
  return table;
}

std::string markdown(const std::vector<std::vector<std::string>>& table) {
  std::string text;
  for (std::size_t i = 0; i < table.size(); ++i) {
    for (const std::string& cell : table[i]) text += "| " + cell + " ";
    text += "|\n";
    if (i > 0) continue;
    for (std::size_t j = 0; j < table[i].size(); ++j) text += "|---";
    text += "|\n";
  }
  return text;
}

Json json_of(const OperatingPoint& p) {
  return {{"confidence", p.confidence}, {"agreement", p.agreement},       {"right", p.right},
          {"quality", p.quality},       {"milliseconds", p.milliseconds}, {"towers", p.towers},
          {"simple", p.simple},         {"moderate", p.moderate},         {"complex", p.complex}};
}

std::string plot(const std::vector<Row>& rows) {
  Series curve{.name = "all thresholds", .points = {}};
  std::vector<Series> marks;
  for (const Row& row : rows) {
    const std::pair<double, double> point{row.measured.milliseconds, row.measured.quality};
    if (row.name.empty()) {
      curve.points.push_back(point);
    } else {
      marks.push_back({.name = row.name, .points = {point}, .line = false});
    }
  }
  std::ranges::sort(curve.points);
  Chart chart{.title = "Quality against cost", .x_label = "mean ms of a query", .y_label = "top-1", .series = {curve}};
  chart.series.insert(chart.series.end(), marks.begin(), marks.end());
  return chart_svg(chart);
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << text).flush()) throw std::runtime_error("[evaluate] cannot write " + path.string());
}

}  // namespace

void evaluate_adaptive(const CommonOptions& common, const AdaptiveEvaluation& options) {
  const Embedder model = load_model(common);
  const fs::path index = options.index.empty() ? model.directory() / "catalogue.trine" : fs::path(options.index);
  const auto search = std::make_shared<const ProductSearch>(model, index);
  const std::vector<train::Sample> sample = read_queries(options.sample, /*with_id=*/true);
  const std::vector<train::Sample> queries = read_queries(options.manifest, /*with_id=*/true);
  for (const auto* asked : {&sample, &queries}) {
    for (const train::Sample& query : *asked) search->product(query.id);  // an unknown id is an error now
  }
  Fusion fusion{nullptr};
  if (!options.fusion.empty()) fusion = Fusion(FusionImpl::load(options.fusion));

  std::map<Modality, double> times = tower_times(model, sample);
  for (const auto& [modality, passed] : tower_times(model, queries)) times.emplace(modality, passed);
  train::FeatureStore store(model);
  const std::vector<LabelledQuery> fitted_on = embed_queries(store, sample, "embedding the sample", times);
  const std::vector<LabelledQuery> measured_on = embed_queries(store, queries, "embedding the queries", times);

  AdaptiveInference adaptive(search, {}, fusion);
  const AdaptiveCurve curve = adaptive.fit(fitted_on, {.wanted = options.wanted});
  std::vector<Row> rows;
  for (const OperatingPoint& point : curve.points) rows.push_back({"", point, {}});
  rows.push_back({"always simple", curve.always_simple, {}});
  rows.push_back({"fitted", curve.chosen, {}});
  rows.push_back({"always complex", curve.always_complex, {}});
  std::vector<std::pair<double, double>> thresholds;
  for (const Row& row : rows) thresholds.emplace_back(row.sample.confidence, row.sample.agreement);
  const std::vector<OperatingPoint> points = adaptive.measure(measured_on, thresholds);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].measured = points[i];
  const OperatingPoint& complex = rows.back().measured;
  const OperatingPoint& chosen = rows[rows.size() - 2].measured;

  const auto table = table_of(rows, complex);
  std::string costs;
  for (const auto& [modality, passed] : adaptive.policy().towers) {
    if (times.contains(modality)) costs += ", " + std::string(to_string(modality)) + " " + fixed(passed, 1);
  }
  for (const auto& [route, passed] : adaptive.policy().searches) {
    costs += ", " + std::string(to_string(route)) + " search " + fixed(passed, 2);
  }
  std::string order;
  for (const Modality modality : adaptive.policy().order) {
    if (!order.empty()) order += ", ";
    order += to_string(modality);
  }
  const std::string summary =
      "Fitted on " + std::to_string(sample.size()) + " queries for " + percent(options.wanted) +
      " of the complex route's right answers in each set; measured on " + std::to_string(queries.size()) +
      ": the fitted point keeps " + percent(chosen.quality / complex.quality) + " at " +
      percent(chosen.milliseconds / complex.milliseconds) + " of its mean cost and " + percent(chosen.towers) +
      " of the towers, in the order " + order + "." +
      (adaptive.policy().confidence < 1
           ? ""
           : " The sample, or a set of it, is too small to show that a saving keeps so much.") +
      " Chance: " + fixed(1.0 / static_cast<double>(search->size()), 4) + ". Milliseconds: " + costs.substr(2) + ".";
  Json json{
      {"model", model.name()},     {"sample", options.sample}, {"manifest", options.manifest},
      {"wanted", options.wanted},  {"order", order},           {"chance", 1.0 / static_cast<double>(search->size())},
      {"queries", queries.size()}, {"rows", Json::array()}};
  for (const Row& row : rows) {
    json["rows"].push_back({{"name", row.name}, {"sample", json_of(row.sample)}, {"measured", json_of(row.measured)}});
  }
  if (!options.out.empty()) {
    adaptive.save(options.out);
    write(fs::path(options.out) / "curve.md", summary + "\n\n" + markdown(table));
    write(fs::path(options.out) / "curve.svg", plot(rows));
    say("Wrote config.json, curve.md and curve.svg to " + options.out + ".");
  }
  if (common.json) return print(json);
  std::string text;
  for (const std::string& line : aligned(table)) text += line + "\n";
  print(text + summary + "\n");
}

}  // namespace trine::cli
