#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>

#include "command.h"
#include "trine/apps/product_search.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::string index;
  std::map<Modality, std::string> inputs;
  SearchOptions search;
  bool no_rerank = false;
  bool skip_unreadable = false;
};

/// What the query says, and what it cost to find out.
struct Query {
  std::map<Modality, torch::Tensor> vectors;
  std::map<Modality, std::string> skipped;  ///< why
};

Query embed_query(const Embedder& model, const Options& options, Json& milliseconds) {
  Query query;
  Stopwatch watch;
  for (const auto& [modality, input] : options.inputs) {
    try {
      std::vector<Coverage> coverage;
      query.vectors[modality] = model.embed_inputs(modality, {input}, {.coverage = &coverage})[0];
      say_coverage(modality, input, coverage[0]);
    } catch (const std::runtime_error& error) {
      if (!options.skip_unreadable) throw;
      query.vectors.erase(modality);
      query.skipped[modality] = error.what();
      say("Skipped the " + std::string(to_string(modality)) + ": " + error.what());
    }
    milliseconds[std::string(to_string(modality))] = std::round(watch.lap() * 10) / 10;
  }
  if (query.vectors.empty()) throw std::runtime_error("[search] nothing of the query could be read");
  return query;
}

/// The attributes of a product with their JSON types.
Json attributes_of(const Product& product) {
  Json attributes = Json::object();
  for (const auto& [key, value] : product.attributes) attributes[key] = Json::parse(value, nullptr, false);
  return attributes;
}

Json json_of(const Hit& hit) {
  Json reasons = Json::array();
  for (const Reason& reason : hit.reasons) {
    reasons.push_back({{"modality", to_string(reason.modality)},
                       {"similarity", number(reason.similarity)},
                       {"support", number(reason.support)},
                       {"nearest", reason.nearest}});
  }
  return {{"id", hit.id},
          {"title", hit.title},
          {"score", number(hit.score)},
          {"similarity", number(hit.similarity)},
          {"consistency", number(hit.consistency)},
          {"disagreement", number(hit.disagreement)},
          {"sentence", hit.sentence()},
          {"reasons", reasons},
          {"attributes", attributes_of(hit.product)}};
}

/// An attribute as a person reads it: text without quotes; empty where there is none.
std::string plain(const Json& attributes, const std::string& key) {
  if (!attributes.contains(key)) return "";
  const Json& value = attributes.at(key);
  return value.is_string() ? one_line(value.get<std::string>(), 24) : one_line(value.dump(), 24);
}

std::string price_of(const Json& attributes) {
  std::string price = plain(attributes, "price");
  if (price.empty()) return price;
  if (const std::string currency = plain(attributes, "currency"); !currency.empty()) price += " " + currency;
  if (const std::string unit = plain(attributes, "unit"); !unit.empty()) price += "/" + unit;
  return price;
}

void print_table(const std::vector<Hit>& hits) {
  std::vector<std::vector<std::string>> rows{{"#", "product", "category", "price", "score"}};
  for (const Hit& hit : hits) {
    const Json attributes = attributes_of(hit.product);
    rows.push_back({std::to_string(rows.size()), one_line(hit.title), plain(attributes, "category"),
                    price_of(attributes), fixed(hit.score, 3)});
  }
  const std::vector<std::string> lines = aligned(rows);
  std::string text = lines[0] + "\n";
  for (std::size_t i = 0; i < hits.size(); ++i) text += lines[i + 1] + "\n     " + hits[i].sentence() + "\n";
  print(text);
}

void run(Options options) {
  if (options.inputs.empty()) {
    throw CLI::ValidationError("Nothing to search for: give --image FILE, --text TEXT or --audio FILE, or several");
  }
  if (const auto text = options.inputs.find(Modality::text); text != options.inputs.end()) {
    text->second = text_argument(text->second);
  }
  options.search.rerank = !options.no_rerank;

  Json milliseconds = Json::object();
  Stopwatch watch;
  const Embedder model = load_model(options);
  const std::filesystem::path index =
      options.index.empty() ? model.directory() / "catalogue.trine" : std::filesystem::path(options.index);
  const ProductSearch search(model, index);
  milliseconds["load"] = std::round(watch.lap());
  const Query query = embed_query(model, options, milliseconds);
  watch.lap();
  const std::vector<Hit> hits = search.search(query.vectors, options.search);
  milliseconds["search"] = std::round(watch.lap() * 10) / 10;

  if (!options.json) {
    print_table(hits);
    std::string times;
    for (const auto& [stage, time] : milliseconds.items()) times += ", " + stage + " " + fixed(time, 0) + " ms";
    return say("Time: " + times.substr(2) + ".");
  }
  Json asked = Json::object(), skipped = Json::object(), found = Json::array();
  for (const auto& [modality, input] : options.inputs) asked[std::string(to_string(modality))] = input;
  for (const auto& [modality, why] : query.skipped) skipped[std::string(to_string(modality))] = why;
  for (const Hit& hit : hits) found.push_back(json_of(hit));
  print(Json{{"query", asked}, {"skipped", skipped}, {"hits", found}, {"milliseconds", milliseconds}});
}

}  // namespace

void add_search(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "search", "Ranks products by a photo, words, a spoken question, in any combination",
                  "trine search --image photo.jpg --text \"a ripe one\" --audio question.wav -k 3", *options);
  command->add_option("index", options->index, "Made by `trine index`; without it catalogue.trine of the model")
      ->type_name("INDEX");
  const auto add = [&](const std::string& name, Modality modality, const std::string& what, const std::string& type) {
    const auto set = [options, modality](const std::string& value) { options->inputs[modality] = value; };
    command->add_option_function<std::string>(name, set, what)->type_name(type);
  };
  add("--image", Modality::image, "A photo", "FILE");
  add("--text", Modality::text, "Words; - reads them from stdin", "TEXT");
  add("--audio", Modality::audio, "A spoken question", "FILE");
  command->add_option("-k", options->search.k, "Products wanted, 10 if not said")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  add_weights(*command, options->search.weights);
  command->add_flag("--no-rerank", options->no_rerank, "Leave out the ranking by how well the modalities agree");
  command->add_flag("--skip-unreadable", options->skip_unreadable,
                    "Go on without a picture or clip that cannot be read or is silent");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
