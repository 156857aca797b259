#include "evaluate.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <tuple>

#include "detail/error.h"
#include "detail/json.h"
#include "detail/sentence.h"
#include "load_features.h"
#include "reliability.h"
#include "tally.h"
#include "trine/apps/hearing.h"
#include "trine/apps/product_search.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kDeepest = 20;  ///< ranks behind count as not found; `trine search` re-ranks as many
constexpr const char* kOverall = "all";

struct Options : CommonOptions {
  std::string manifest;
  std::string retrieval;
  std::string lacking;
  std::string index;
  std::string reliability;
  bool compare = false;
  bool hear = false;
  TrainedOptions trained;
  AdaptiveEvaluation adaptive;
  TaskEvaluation task;
};

struct Item {
  std::string id;                          ///< the right product
  std::string set;                         ///< the group it is counted in
  std::map<Modality, std::string> inputs;  ///< files or text
};

std::vector<Item> read_items(const fs::path& path, bool with_id) {
  std::vector<Item> items;
  for (const train::Sample& sample : read_queries(path, with_id)) {
    Item item{.id = sample.id, .set = sample.set.empty() ? kOverall : sample.set, .inputs = {}};
    for (const auto& [modality, inputs] : sample.inputs) item.inputs[modality] = inputs.front();
    if (!with_id && item.inputs.size() != 2) {
      refuse(path, sample, "\"audio\" (or \"image\") and \"text\" are wanted");
    }
    items.push_back(std::move(item));
  }
  return items;
}

using Vectors = std::map<Modality, std::map<std::string, torch::Tensor>>;

/// Every clip by speech tower and transcript, once.
std::map<std::string, Heard> hear_items(const Embedder& model, const std::vector<Item>& items) {
  std::map<std::string, Heard> heard;
  for (const Item& item : items) {
    if (const auto clip = item.inputs.find(Modality::audio); clip != item.inputs.end()) heard[clip->second];
  }
  const Hearing hearing = Hearing::load(model);
  train::ProgressBar bar("hearing", std::ssize(heard));
  std::int64_t done = 0;
  for (auto& [clip, what] : heard) {
    what = hearing.hear(fs::path(clip));
    bar.show(++done);
  }
  return heard;
}

/// Every distinct input, embedded once; the store has it for the next manifest. `hear`: clips by their transcript too.
Vectors embed_items(const Embedder& model, const std::vector<Item>& items, bool hear) {
  Vectors vectors;
  if (hear) {
    for (const auto& [clip, heard] : hear_items(model, items)) vectors[Modality::audio][clip] = heard.vector;
  }
  std::vector<train::Sample> samples;  // one input each
  for (const Item& item : items) {
    for (const auto& [modality, input] : item.inputs) {
      if (vectors[modality].try_emplace(input).second) samples.push_back({.inputs = {{modality, {input}}}});
    }
  }
  if (samples.empty()) return vectors;
  train::FeatureStore store(model);
  const train::Dataset data = load_features(store, samples, "embedding");
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto& [modality, inputs] = *samples[i].inputs.begin();
    const auto row = static_cast<std::int64_t>(i);
    vectors[modality][inputs.front()] = data.features.at(std::string(to_string(modality)))[row][0].clone();
  }
  return vectors;
}

/// A way to search for several modalities; `name` says whether the hits are ranked again, and what differs from the
/// default.
struct Way {
  std::string name;
  SearchOptions options;
};

std::vector<Way> ways_of(bool compare) {
  std::vector<Way> ways{{"no", {.rerank = false}}, {"yes", {}}};
  if (compare) {
    for (const Mixing mixing : {Mixing::early, Mixing::late}) {
      const std::string how = mixing == Mixing::early ? "early" : "late";
      ways.push_back({"no, " + how, {.rerank = false, .mixing = mixing}});
      ways.push_back({"yes, " + how, {.mixing = mixing}});
      ways.push_back({"no, " + how + ", uncalibrated", {.rerank = false, .mixing = mixing, .calibrate = false}});
    }
  }
  for (Way& way : ways) way.options.k = way.options.candidates = kDeepest;
  return ways;
}

/// Whether a reason of the first hit speaks against it.
bool names_conflict(const SearchResult& found) {
  return !found.empty() && std::ranges::any_of(found[0].reasons, [](const Reason& reason) {
    return reason.verdict == Verdict::contradicts;
  });
}

/// What is counted of the searches of one row.
struct Counts {
  Tally ranks;
  std::int64_t conflicts = 0;  ///< a reason of the first hit speaks against it
  std::int64_t nothing = 0;    ///< nothing was said to match
};

/// Counts by set, query and how was searched, those over all sets last.
class Report {
 public:
  void add(const std::string& set, const std::string& query, const std::string& how, std::int64_t rank,
           const SearchResult& found = {}) {
    for (const int overall : {0, 1}) {
      if (overall == 0 && set == kOverall) continue;
      Counts& counts = counts_[{overall, overall == 1 ? kOverall : set, query, how}];
      counts.ranks.add(rank);
      counts.conflicts += names_conflict(found);
      counts.nothing += found.nothing_matches;
    }
  }

  /// `answers`: how many there are to choose from.
  void print(std::int64_t answers, const Json& head, bool json) const {
    Json results = Json::array();
    std::vector<std::vector<std::string>> table{{"set", "query", "re-rank", "count", "top-1", "95 % interval", "top-5",
                                                 "top-10", "MRR", "conflict", "nothing"}};
    for (const auto& [key, counts] : counts_) {
      const auto& [overall, set, query, how] = key;
      const Tally& tally = counts.ranks;
      const auto [low, high] = tally.interval();
      const double top1 = tally.share(static_cast<double>(tally.top1));
      const double top5 = tally.share(static_cast<double>(tally.top5));
      const double top10 = tally.share(static_cast<double>(tally.top10));
      const double mrr = tally.share(tally.reciprocal);
      const double conflicts = tally.share(static_cast<double>(counts.conflicts));
      const double nothing = tally.share(static_cast<double>(counts.nothing));
      results.push_back({{"set", set},
                         {"query", query},
                         {"rerank", how},
                         {"count", tally.count},
                         {"top1", top1},
                         {"interval", {low, high}},
                         {"top5", top5},
                         {"top10", top10},
                         {"mrr", mrr},
                         {"conflict", conflicts},
                         {"nothing", nothing}});
      table.push_back({one_line(set), query, how, std::to_string(tally.count), fixed(top1, 3),
                       fixed(low, 3) + " to " + fixed(high, 3), fixed(top5, 3), fixed(top10, 3), fixed(mrr, 3),
                       fixed(conflicts, 3), fixed(nothing, 3)});
    }
    const double chance = 1.0 / static_cast<double>(answers);
    if (json) {
      Json whole = head;
      whole["chance"] = chance;
      whole["results"] = results;
      return cli::print(whole);
    }
    std::string text;
    for (const std::string& line : aligned(table)) text += line + "\n";
    cli::print(text + "Chance: top-1 " + fixed(chance, 4) + ", one of " + std::to_string(answers) + ".\n");
  }

 private:
  std::map<std::tuple<int, std::string, std::string, std::string>, Counts> counts_;
};

std::int64_t rank_of(const std::string& id, const SearchResult& hits) {
  for (std::size_t i = 0; i < hits.size(); ++i) {
    if (hits[i].id == id) return static_cast<std::int64_t>(i) + 1;
  }
  return 0;
}

ProductSearch open_index(const Options& options, const Embedder& model) {
  return {model, options.index.empty() ? model.directory() / "catalogue.trine" : fs::path(options.index)};
}

std::map<Modality, torch::Tensor> vectors_of(const Item& item, const Vectors& vectors) {
  std::map<Modality, torch::Tensor> query;
  for (const auto& [modality, input] : item.inputs) query[modality] = vectors.at(modality).at(input);
  return query;
}

std::string names_of(const std::map<Modality, torch::Tensor>& query) {
  std::string names;
  for (const auto& [modality, vector] : query) names += (names.empty() ? "" : " + ") + std::string(to_string(modality));
  return names;
}

/// Products by each modality alone, and by all of an item together.
void evaluate_products(const Options& options) {
  const std::vector<Item> items = read_items(options.manifest, true);
  const Embedder model = load_model(options);
  const ProductSearch search = open_index(options, model);
  for (const Item& item : items) search.product(item.id);  // an unknown id is an error now, not after an hour
  const Vectors vectors = embed_items(model, items, options.hear);

  Report report;
  Reliability reliability;
  train::ProgressBar bar("searching", static_cast<std::int64_t>(items.size()));
  std::int64_t done = 0;
  for (const Item& item : items) {
    const std::map<Modality, torch::Tensor> together = vectors_of(item, vectors);
    const auto count = [&](const std::map<Modality, torch::Tensor>& query, const Way& way) {
      const SearchResult found = search.search(query, way.options);
      const std::int64_t rank = rank_of(item.id, found);
      report.add(item.set, names_of(query), query.size() > 1 ? way.name : "", rank, found);
      if (query.size() == together.size() && way.options.rerank && way.options.mixing == SearchOptions{}.mixing) {
        reliability.add(found.confidence, rank == 1);
      }
    };
    for (const auto& [modality, vector] : together) count({{modality, vector}}, ways_of(false)[1]);
    if (together.size() > 1) {
      for (const Way& way : ways_of(options.compare)) count(together, way);
    }
    bar.show(++done);
  }
  if (!options.reliability.empty()) {
    std::ofstream file(options.reliability, std::ios::binary);
    if (!(file << reliability.svg()).flush())
      throw std::runtime_error("[evaluate] cannot write " + options.reliability);
  }
  report.print(search.size(),
               {{"model", model.name()},
                {"manifest", options.manifest},
                {"products", search.size()},
                {"confidence", reliability.json()}},
               options.json);
  if (!options.json) {
    say("The confidence in whole queries is off by " + fixed(reliability.error(), 3) + " on the mean.");
  }
}

/// How often nothing is said to match, for queries of what the catalogue lacks; the product of an id is taken out.
void evaluate_lacking(const Options& options) {
  std::vector<Item> items;
  for (const train::Sample& sample : read_queries(options.lacking, false)) {
    Item item{.id = sample.id, .set = sample.set.empty() ? kOverall : sample.set, .inputs = {}};
    for (const auto& [modality, inputs] : sample.inputs) item.inputs[modality] = inputs.front();
    items.push_back(std::move(item));
  }
  const Embedder model = load_model(options);
  const ProductSearch search = open_index(options, model);
  const Vectors vectors = embed_items(model, items, options.hear);
  std::map<std::pair<std::string, std::string>, std::pair<std::int64_t, std::int64_t>> counts;  // said, all
  for (const Item& item : items) {
    const std::map<Modality, torch::Tensor> query = vectors_of(item, vectors);
    SearchOptions how{.k = 1};
    if (!item.id.empty()) how.filter = "id != " + Json(search.product(item.id).id).dump();
    auto& [said, all] = counts[{item.set, names_of(query)}];
    said += search.search(query, how).nothing_matches;
    ++all;
  }
  Json results = Json::array();
  std::vector<std::vector<std::string>> table{{"set", "query", "count", "nothing matches", "95 % interval"}};
  for (const auto& [key, count] : counts) {
    const double share = static_cast<double>(count.first) / static_cast<double>(count.second);
    const auto [low, high] = train::wilson_interval(share, static_cast<double>(count.second));
    results.push_back({{"set", key.first},
                       {"query", key.second},
                       {"count", count.second},
                       {"nothing", share},
                       {"interval", {low, high}}});
    table.push_back({one_line(key.first), key.second, std::to_string(count.second), fixed(share, 3),
                     fixed(low, 3) + " to " + fixed(high, 3)});
  }
  if (options.json) return print(Json{{"model", model.name()}, {"manifest", options.lacking}, {"results", results}});
  std::string text;
  for (const std::string& line : aligned(table)) text += line + "\n";
  print(text);
}

/// Every clip against all distinct texts of the manifest.
void evaluate_retrieval(const Options& options) {
  const std::vector<Item> items = read_items(options.retrieval, false);
  const Embedder model = load_model(options);
  const std::map<std::string, Heard> heard = options.hear ? hear_items(model, items) : std::map<std::string, Heard>{};
  const Vectors vectors = embed_items(model, items, /*hear=*/false);
  std::map<std::string, std::int64_t> row;
  std::vector<torch::Tensor> rows;
  for (const auto& [text, vector] : vectors.at(Modality::text)) {
    row[text] = static_cast<std::int64_t>(rows.size());
    rows.push_back(vector);
  }
  const torch::Tensor texts = torch::stack(rows);
  Report report;
  for (const Item& item : items) {
    for (const auto& [modality, input] : item.inputs) {
      if (modality == Modality::text) continue;
      const auto count = [&](const std::string& query, const torch::Tensor& vector) {
        const torch::Tensor scores = vector.defined() ? texts.mv(vector) : torch::zeros({texts.size(0)});
        const torch::Tensor right = scores[row.at(item.inputs.at(Modality::text))];
        const auto before = (vector.defined() ? scores > right : scores >= right).sum().item<std::int64_t>();
        report.add(item.set, query, "", before + 1);
      };
      count(std::string(to_string(modality)), vectors.at(modality).at(input));
      if (!heard.contains(input)) continue;
      count("audio: transcript", heard.at(input).written);
      count("audio: both", heard.at(input).vector);
    }
  }
  report.print(texts.size(0), {{"model", model.name()}, {"manifest", options.retrieval}, {"texts", texts.size(0)}},
               options.json);
}

}  // namespace

void refuse(const fs::path& path, const train::Sample& sample, const std::string& why) {
  throw std::runtime_error("[evaluate] " + path.string() + ", line " + std::to_string(sample.line) + ": " + why);
}

void read_lines(const fs::path& path, const std::function<void(const Json& line)>& take) {
  constexpr std::uint64_t kMostBytes = 1u << 30;
  bool any = false;
  detail::read_json_lines(kWho, path, kMostBytes, [&](const Json& line, const std::string& place, std::size_t) {
    any = true;
    try {
      take(line);
    } catch (const std::exception& error) {
      detail::failure(kWho, place, ": ", detail::without_function(error.what()));
    }
  });
  if (!any) detail::failure(kWho, path.string(), " holds no line");
}

std::vector<train::Sample> read_queries(const fs::path& path, bool with_id) {
  std::vector<train::Sample> samples = train::read_manifest(path);
  for (const train::Sample& sample : samples) {
    if (with_id && sample.id.empty()) refuse(path, sample, "\"id\" is missing, the id of the right product");
    for (const auto& [modality, inputs] : sample.inputs) {
      if (inputs.size() == 1) continue;
      refuse(path, sample, "one " + std::string(to_string(modality)) + " is wanted, there are several");
    }
  }
  return samples;
}

void add_evaluate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "evaluate", "Measures a model on labelled queries",
                                  "trine evaluate queries.jsonl --index products.trine", *options);
  CLI::Option* manifest =
      command
          ->add_option("manifest", options->manifest,
                       "JSON lines with id (the right product), image, text, audio (any of them) and, if wanted, set "
                       "(a group to count apart)")
          ->type_name("MANIFEST");
  command->add_option("--index", options->index, "Made by `trine index`; without it catalogue.trine of the model")
      ->type_name("INDEX");
  command
      ->add_option("--retrieval", options->retrieval,
                   "Instead: JSON lines with audio and text; every clip is searched among all these texts")
      ->type_name("MANIFEST")
      ->excludes(manifest);
  command->add_flag("--compare", options->compare, "Also without calibration, and with the modalities' scores combined")
      ->needs(manifest);
  command->add_flag("--hear", options->hear, "Clips by their transcript too, as `trine search` takes them; slower");
  command->add_option("--reliability", options->reliability, "A picture of how far the confidence can be believed")
      ->type_name("SVG")
      ->needs(manifest);
  command
      ->add_option("--lacking", options->lacking,
                   "Instead: queries for what the catalogue lacks; a product whose id stands there is taken out")
      ->type_name("MANIFEST")
      ->excludes(manifest);
  TrainedOptions& trained = options->trained;
  CLI::Option* folder =
      command
          ->add_option("--trained", trained.trained,
                       "Instead: measure what `trine train` made in this folder, on the labels or ids of MANIFEST")
          ->type_name("DIR");
  command->add_option("--split", trained.split, "The split of MANIFEST that --trained is measured on")
      ->type_name("SPLIT")
      ->check(CLI::IsMember({"train", "val", "test"}))
      ->capture_default_str()
      ->needs(folder);
  command->add_option("--without", trained.without, "A modality that --trained shall do without; may be repeated")
      ->type_name("MODALITY")
      ->check(CLI::IsMember({"image", "text", "audio"}))
      ->allow_extra_args(false)
      ->needs(folder);
  command->add_option("--features", trained.features, "Where vectors of --trained are kept; without it the cache")
      ->type_name("DIR")
      ->needs(folder);
  AdaptiveEvaluation& adaptive = options->adaptive;
  CLI::Option* sample =
      command
          ->add_option(
              "--adaptive", adaptive.sample,
              "Quality against cost of adaptive inference on MANIFEST, with thresholds fitted on these queries")
          ->type_name("SAMPLE")
          ->needs(manifest);
  command->add_option("--wanted", adaptive.wanted, "Share of the right answers that --adaptive has to keep")
      ->type_name("SHARE")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str()
      ->needs(sample);
  command->add_option("--fusion", adaptive.fusion, "A trained fusion for the complex route of --adaptive")
      ->type_name("DIR")
      ->needs(sample);
  command->add_option("--out", adaptive.out, "Where --adaptive writes what it fitted, its table and its plot")
      ->type_name("DIR")
      ->needs(sample);
  TaskEvaluation& task = options->task;
  CLI::Option* named =
      command
          ->add_option("--task", task.name,
                       "Instead: measure a head, on lines with label (text says it for transcript) and text, image or "
                       "audio; \"joy, surprise\" where two labels hold. damage: intact or the kind, and severity, 0 to "
                       "1. video: video and text, unlike (what it is not: {\"reversed\": TEXT}), shows (moments: "
                       "[{\"text\", \"start\", \"end\"}])")
          ->type_name("NAME")
          ->check(CLI::IsMember(
              {"damage", "emotion", "emotion-labels", "intent", "sound", "transcript", "video", "voice-emotion"}))
          ->needs(manifest)
          ->excludes(folder)
          ->excludes(sample);
  command
      ->add_option("--fit", task.fit,
                   "Lines that --task learns from: examples of intents instead of the model's own, or texts that the "
                   "thresholds of emotions are chosen on (0.5 without)")
      ->type_name("MANIFEST")
      ->needs(named);
  command->add_option("--head", task.head, "A head for --task damage that DamageDetector saved, not the model's own")
      ->type_name("FILE")
      ->needs(named);
  command
      ->add_flag("--leave-out", task.leave_out,
                 "Clips of each set (a speaker) by a head of --task sound or voice-emotion that is fitted on the other "
                 "sets, not by the model's own")
      ->needs(named);
  command->add_flag("--no-temporal", task.no_temporal, "Videos of --task without the model of their frames' order")
      ->needs(named);
  command->callback([options] {
    const auto given = {options->manifest.empty(), options->retrieval.empty(), options->lacking.empty()};
    if (std::ranges::count(given, false) != 1) {
      throw CLI::ValidationError("Give one of MANIFEST, --retrieval MANIFEST and --lacking MANIFEST");
    }
    options->trained.manifest = options->adaptive.manifest = options->task.manifest = options->manifest;
    if (!options->task.name.empty()) return evaluate_task(*options, options->task);
    if (!options->trained.trained.empty()) return evaluate_trained(*options, options->trained);
    if (!options->adaptive.sample.empty()) {
      options->adaptive.index = options->index;
      return evaluate_adaptive(*options, options->adaptive);
    }
    if (!options->lacking.empty()) return evaluate_lacking(*options);
    options->retrieval.empty() ? evaluate_products(*options) : evaluate_retrieval(*options);
  });
}

}  // namespace trine::cli
