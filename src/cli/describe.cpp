#include <cstdint>
#include <filesystem>

#include "command.h"
#include "trine/apps/product_search.h"

namespace trine::cli {

namespace {

const char* name_of(VectorType type) {
  switch (type) {
    case VectorType::fp32:
      return "fp32";
    case VectorType::fp16:
      return "fp16";
    case VectorType::int8:
      return "int8";
  }
  return "unknown";
}

void print_model(const CommonOptions& options) {
  const Embedder model = load_model(options);
  Json json{{"directory", model.directory().string()}};
  std::vector<std::vector<std::string>> rows{{"directory", model.directory().string()}};
  for (const auto& [key, value] : model.describe()) {
    json[key] = value;
    if (key == rows.back().front() + ".source") {
      rows.back().back() += "  [" + value + "]";
    } else {
      rows.push_back({key, value});
    }
  }
  if (options.json) return print(json);
  for (const std::string& line : aligned(rows)) print(line + "\n");
}

/// What an index file holds, in the order in which one asks.
Json facts_of(const std::string& path) {
  const IndexSummary summary = describe_index(path);
  Json facts{{"index", path}, {"bytes", summary.bytes}, {"records", summary.records}, {"dimensions", summary.dim}};
  facts["precision"] = name_of(summary.form.precision);
  if (summary.form.rescore) facts["rescore"] = name_of(*summary.form.rescore);
  facts["graph"] = nullptr;
  if (summary.graph) facts["graph"] = {{"m", summary.graph->m}, {"ef_construction", summary.graph->ef_construction}};
  if (summary.products >= 0) {
    facts["products"] = summary.products;
    facts["vectors"] = summary.shows;
    facts["draft"] = summary.draft;
  }
  if (!summary.model.empty()) facts["model"] = summary.model;
  if (!summary.fingerprint.empty()) facts["fingerprint"] = summary.fingerprint;
  facts["metadata"] = summary.metadata;
  return facts;
}

/// {"m": 16, "ef_construction": 200} -> "m 16, ef_construction 200"
std::string plain(const Json& fact) {
  if (fact.is_string()) return one_line(fact.get<std::string>(), 200);
  if (fact.is_null() || (fact.is_object() && fact.empty())) return "none";
  if (fact.is_boolean()) return fact.get<bool>() ? "yes" : "no";
  if (!fact.is_object()) return fact.dump();
  std::string text;
  for (const auto& [key, value] : fact.items()) text += (text.empty() ? "" : ", ") + one_line(key) + " " + value.dump();
  return text;
}

void print_index(const std::string& path, bool as_json) {
  const Json facts = facts_of(path);
  if (as_json) return print(facts);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, fact] : facts.items()) {
    rows.push_back({name == "metadata" ? "metadata, bytes" : name, plain(fact)});
  }
  for (const std::string& line : aligned(rows)) print(line + "\n");
}

}  // namespace

void add_describe(CLI::App& app) {
  auto options = std::make_shared<CommonOptions>();
  CLI::App* command =
      add_command(app, "describe", "What a model does to an input, step by step, or what an index file holds",
                  "trine describe models/default; trine describe products.trine", *options);
  command->add_option("directory", options->model, "A model, the same as --model, or an index file")
      ->type_name("DIR|INDEX")
      ->excludes("--model");
  command->callback([options] {
    if (std::filesystem::is_regular_file(options->model)) {
      print_index(options->model, options->json);
    } else {
      print_model(*options);
    }
  });
}

}  // namespace trine::cli
