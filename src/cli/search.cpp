#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>

#include "command.h"
#include "trine/apps/product_search.h"
#include "trine/layers.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::string index;
  std::map<Modality, std::vector<std::string>> inputs;
  SearchOptions search;
  std::string filter;
  std::string mixing = "fitted";
  bool no_rerank = false;
  bool no_calibration = false;
  bool skip_unreadable = false;
};

/// What the query says, and what it cost to find out.
struct Asked {
  std::map<Modality, torch::Tensor> vectors;
  std::vector<std::pair<Modality, std::string>> skipped;  ///< why
  std::vector<std::string> heard;                         ///< what was said in each clip
};

Query query_of(Modality modality, const std::string& input) {
  Query query;
  if (modality == Modality::image) query.images.emplace_back(std::filesystem::path(input));
  if (modality == Modality::text) query.texts.push_back(input);
  if (modality == Modality::audio) query.audio.emplace_back(std::filesystem::path(input));
  return query;
}

/// A transcript and what shall not be found are texts.
std::vector<Modality> needed_towers(const Options& options) {
  std::set<Modality> needed;
  for (const auto& [modality, inputs] : options.inputs) needed.insert(modality);
  const bool heard = needed.contains(Modality::audio) && options.search.hearing;
  if (heard || !options.search.without.empty()) needed.insert(Modality::text);
  return {needed.begin(), needed.end()};
}

Asked embed_query(const ProductSearch& search, const Options& options, Json& milliseconds) {
  Asked asked;
  Stopwatch watch;
  for (const auto& [modality, inputs] : options.inputs) {
    std::vector<torch::Tensor> rows;
    for (const std::string& input : inputs) {
      try {
        const EmbeddedQuery embedded = search.embed(query_of(modality, input), options.search.hearing);
        rows.push_back(embedded.vectors.at(modality));
        std::ranges::copy(embedded.heard, std::back_inserter(asked.heard));
        for (const Coverage& coverage : embedded.coverage) say_coverage(modality, input, coverage);
      } catch (const std::runtime_error& error) {
        if (!options.skip_unreadable) throw;
        asked.skipped.emplace_back(modality, error.what());
        say("Skipped the " + std::string(to_string(modality)) + ": " + error.what());
      }
    }
    if (!rows.empty()) asked.vectors[modality] = rows.size() == 1 ? rows[0] : normalise(torch::stack(rows).mean(0));
    milliseconds[std::string(to_string(modality))] = std::round(watch.lap() * 10) / 10;
  }
  if (asked.vectors.empty()) throw std::runtime_error("[search] nothing of the query could be read");
  return asked;
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
                       {"verdict", to_string(reason.verdict)},
                       {"nearest", reason.nearest}});
  }
  return {{"id", hit.id},
          {"title", hit.title},
          {"score", number(hit.score)},
          {"similarity", number(hit.similarity)},
          {"consistency", number(hit.consistency)},
          {"disagreement", number(hit.disagreement)},
          {"avoided", number(hit.avoided)},
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

/// "photo +, spoken words -"
std::string verdicts_of(const Hit& hit) {
  std::string text;
  for (const Reason& reason : hit.reasons) {
    const char* sign = reason.verdict == Verdict::supports  ? "yes"
                       : reason.verdict == Verdict::neutral ? "may be"
                                                            : "no";
    text += (text.empty() ? "" : ", ") + std::string(to_string(reason.modality)) + ": " + sign;
  }
  return text;
}

void print_table(const SearchResult& found) {
  std::vector<std::vector<std::string>> rows{{"#", "product", "category", "price", "score", "verdicts"}};
  for (const Hit& hit : found) {
    const Json attributes = attributes_of(hit.product);
    rows.push_back({std::to_string(rows.size()), one_line(hit.title), plain(attributes, "category"),
                    price_of(attributes), fixed(hit.score, 3), verdicts_of(hit)});
  }
  const std::vector<std::string> lines = aligned(rows);
  std::string text = lines[0] + "\n";
  for (std::size_t i = 0; i < found.size(); ++i) text += lines[i + 1] + "\n     " + found[i].sentence() + "\n";
  print(text);
}

/// A name that no product has is a slip of the pen more often than not.
void say_unknown_names(const ProductSearch& search, const Filter& filter) {
  for (const std::string& name : filter.names()) {
    const bool known = name == "id" || name == "title" || name == "description" ||
                       std::ranges::any_of(search.products(), [&](const Product& product) {
                         return std::ranges::find(product.attributes, name, &Attributes::value_type::first) !=
                                product.attributes.end();
                       });
    if (!known) say("No product has the attribute \"" + one_line(name) + "\".");
  }
}

void say_how_sure(const SearchResult& found) {
  if (found.empty()) return say("No product fits the filter.");
  if (found.nothing_matches) say("Nothing here matches; these are the nearest products.");
  say("The first is right with a chance of " + fixed(100 * found.confidence, 0) + " %.");
}

void run(Options options) {
  if (options.inputs.empty()) {
    throw CLI::ValidationError("Nothing to search for: give --image FILE, --text TEXT or --audio FILE, or several");
  }
  for (std::string& text : options.inputs[Modality::text]) text = text_argument(text);
  if (options.inputs[Modality::text].empty()) options.inputs.erase(Modality::text);
  if (!options.filter.empty()) options.search.filter = options.filter;
  options.search.rerank = !options.no_rerank;
  options.search.calibrate = !options.no_calibration;
  if (options.mixing != "fitted") options.search.mixing = options.mixing == "late" ? Mixing::late : Mixing::early;

  Json milliseconds = Json::object();
  if (const auto start = since_start()) milliseconds["start"] = std::round(*start);
  Stopwatch watch;
  const Embedder model = load_model(options, needed_towers(options));
  const std::filesystem::path index =
      options.index.empty() ? model.directory() / "catalogue.trine" : std::filesystem::path(options.index);
  const ProductSearch search(model, index);
  say_unknown_names(search, options.search.filter);
  milliseconds["load"] = std::round(watch.lap());
  const Asked asked = embed_query(search, options, milliseconds);
  watch.lap();
  const SearchResult found = search.search(asked.vectors, options.search);
  milliseconds["search"] = std::round(watch.lap() * 10) / 10;

  if (!options.json) {
    for (const std::string& heard : asked.heard) {
      say(heard.empty() ? "Nothing was heard in the clip." : "Heard: \"" + one_line(heard, 200) + "\".");
    }
    print_table(found);
    say_how_sure(found);
    std::string times;
    for (const auto& [stage, time] : milliseconds.items()) times += ", " + stage + " " + fixed(time, 0) + " ms";
    return say("Time: " + times.substr(2) + ".");
  }
  Json query = Json::object(), skipped = Json::object(), hits = Json::array();
  for (const auto& [modality, inputs] : options.inputs) {
    query[std::string(to_string(modality))] = inputs.size() == 1 ? Json(inputs[0]) : Json(inputs);
  }
  if (!options.search.without.empty()) query["not"] = options.search.without;
  if (!options.filter.empty()) query["filter"] = options.filter;
  for (const auto& [modality, why] : asked.skipped) skipped[std::string(to_string(modality))] = why;
  for (const Hit& hit : found) hits.push_back(json_of(hit));
  print(Json{{"query", query},
             {"heard", asked.heard.size() == 1 ? Json(asked.heard[0]) : Json(asked.heard)},
             {"skipped", skipped},
             {"confidence", found.confidence},
             {"nothing_matches", found.nothing_matches},
             {"hits", hits},
             {"milliseconds", milliseconds}});
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
    const auto take = [options, modality](const std::vector<std::string>& values) {
      options->inputs[modality] = values;
    };
    command->add_option_function<std::vector<std::string>>(name, take, what + "; may be repeated")
        ->type_name(type)
        ->allow_extra_args(false);
  };
  add("--image", Modality::image, "A photo", "FILE");
  add("--text", Modality::text, "Words, - reads them from stdin", "TEXT");
  add("--audio", Modality::audio, "A spoken question", "FILE");
  command->add_option("--not", options->search.without, "Words for what shall not be found; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command
      ->add_option("--filter", options->filter,
                   "Only products whose attributes are so: price < 30 and category in (\"fruit\", \"milk\")")
      ->type_name("CONDITION");
  command->add_option("-k", options->search.k, "Products wanted, 10 if not said")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  add_weights(*command, options->search.weights);
  command
      ->add_option(
          "--mixing", options->mixing,
          "Combine the modalities' vectors (early), their scores (late), or as the model is calibrated (fitted)")
      ->type_name("HOW")
      ->check(CLI::IsMember({"fitted", "early", "late"}));
  command->add_option("--ef", options->search.ef, "Breadth of a walk along an index's graph, 200 if not said")
      ->type_name("N")
      ->check(CLI::Range(1, 65'536));
  command->add_flag("--exact", options->search.exact, "Look at all products, also where the index has a graph");
  command->add_flag("--no-calibration", options->no_calibration, "Take the weights as they are, for plain cosines");
  command->add_flag("--direct{false}", options->search.hearing,
                    "Hear clips by the speech tower alone, without a transcript");
  command->add_flag("--no-rerank", options->no_rerank, "Leave out the ranking by how well the modalities agree");
  command->add_flag("--skip-unreadable", options->skip_unreadable,
                    "Go on without a picture or clip that cannot be read or is silent");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
