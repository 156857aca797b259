#include "evaluate.h"

#include <filesystem>
#include <map>
#include <stdexcept>
#include <tuple>

#include "tally.h"
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
  std::string index;
  TrainedOptions trained;
  AdaptiveEvaluation adaptive;
};

struct Item {
  std::string id;                          ///< the right product
  std::string set;                         ///< the group it is counted in
  std::map<Modality, std::string> inputs;  ///< files or text
};

[[noreturn]] void refuse(const fs::path& path, const train::Sample& sample, const std::string& why) {
  throw std::runtime_error("[evaluate] " + path.string() + ", line " + std::to_string(sample.line) + ": " + why);
}

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

/// Every distinct input, embedded once.
Vectors embed_items(const Embedder& model, const std::vector<Item>& items) {
  Vectors vectors;
  for (const Item& item : items) {
    for (const auto& [modality, input] : item.inputs) vectors[modality][input];
  }
  std::int64_t total = 0, done = 0;
  for (const auto& [modality, inputs] : vectors) {
    if (!model.supports(modality)) {
      throw std::runtime_error("[evaluate] the manifest has " + std::string(to_string(modality)) +
                               " inputs and the model " + model.name() + " has no such tower");
    }
    total += static_cast<std::int64_t>(inputs.size());
  }
  train::ProgressBar bar("embedding", total);
  for (auto& [modality, inputs] : vectors) {
    constexpr std::size_t kBatch = 32;
    for (auto next = inputs.begin(); next != inputs.end();) {
      const auto first = next;
      std::vector<std::string> batch;
      for (; next != inputs.end() && batch.size() < kBatch; ++next) batch.push_back(next->first);
      const torch::Tensor rows = model.embed_inputs(modality, batch);
      std::int64_t row = 0;
      for (auto entry = first; entry != next; ++entry) entry->second = rows[row++];
      done += row;
      bar.show(done, std::string(to_string(modality)));
    }
  }
  return vectors;
}

/// Tallies by set, query and whether the hits were ranked again, those over all sets last.
class Report {
 public:
  void add(const std::string& set, const std::string& query, const std::string& rerank, std::int64_t rank) {
    if (set != kOverall) tallies_[{0, set, query, rerank}].add(rank);
    tallies_[{1, kOverall, query, rerank}].add(rank);
  }

  /// `answers`: how many there are to choose from.
  void print(std::int64_t answers, const Json& head, bool json) const {
    Json results = Json::array();
    std::vector<std::vector<std::string>> table{
        {"set", "query", "re-rank", "count", "top-1", "95 % interval", "top-5", "top-10", "MRR"}};
    for (const auto& [key, tally] : tallies_) {
      const auto& [overall, set, query, rerank] = key;
      const auto [low, high] = tally.interval();
      const double top1 = tally.share(static_cast<double>(tally.top1));
      const double top5 = tally.share(static_cast<double>(tally.top5));
      const double top10 = tally.share(static_cast<double>(tally.top10));
      const double mrr = tally.share(tally.reciprocal);
      results.push_back({{"set", set},
                         {"query", query},
                         {"rerank", rerank},
                         {"count", tally.count},
                         {"top1", top1},
                         {"interval", {low, high}},
                         {"top5", top5},
                         {"top10", top10},
                         {"mrr", mrr}});
      table.push_back({one_line(set), query, rerank, std::to_string(tally.count), fixed(top1, 3),
                       fixed(low, 3) + " to " + fixed(high, 3), fixed(top5, 3), fixed(top10, 3), fixed(mrr, 3)});
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
  std::map<std::tuple<int, std::string, std::string, std::string>, Tally> tallies_;
};

std::int64_t rank_of(const std::string& id, const std::vector<Hit>& hits) {
  for (std::size_t i = 0; i < hits.size(); ++i) {
    if (hits[i].id == id) return static_cast<std::int64_t>(i) + 1;
  }
  return 0;
}

/// Products by each modality alone, and by all of an item together.
void evaluate_products(const Options& options) {
  const std::vector<Item> items = read_items(options.manifest, true);
  const Embedder model = load_model(options);
  const fs::path index = options.index.empty() ? model.directory() / "catalogue.trine" : fs::path(options.index);
  const ProductSearch search(model, index);
  for (const Item& item : items) search.product(item.id);  // an unknown id is an error now, not after an hour
  const Vectors vectors = embed_items(model, items);

  Report report;
  train::ProgressBar bar("searching", static_cast<std::int64_t>(items.size()));
  std::int64_t done = 0;
  for (const Item& item : items) {
    std::map<Modality, torch::Tensor> together;
    std::string names;
    const auto search_for = [&](const std::map<Modality, torch::Tensor>& query, bool rerank) {
      return rank_of(item.id,
                     search.search(query, {.k = kDeepest, .candidates = kDeepest, .weights = {}, .rerank = rerank}));
    };
    for (const auto& [modality, input] : item.inputs) {
      const std::string name(to_string(modality));
      together[modality] = vectors.at(modality).at(input);
      names += (names.empty() ? "" : " + ") + name;
      report.add(item.set, name, "", search_for({{modality, together[modality]}}, false));
    }
    if (together.size() > 1) {
      for (const bool rerank : {false, true}) {
        report.add(item.set, names, rerank ? "yes" : "no", search_for(together, rerank));
      }
    }
    bar.show(++done);
  }
  report.print(search.size(), {{"model", model.name()}, {"manifest", options.manifest}, {"products", search.size()}},
               options.json);
}

/// Every clip against all distinct texts of the manifest.
void evaluate_retrieval(const Options& options) {
  const std::vector<Item> items = read_items(options.retrieval, false);
  const Embedder model = load_model(options);
  const Vectors vectors = embed_items(model, items);
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
      const torch::Tensor scores = texts.mv(vectors.at(modality).at(input));
      const torch::Tensor right = scores[row.at(item.inputs.at(Modality::text))];
      report.add(item.set, std::string(to_string(modality)), "", (scores > right).sum().item<std::int64_t>() + 1);
    }
  }
  report.print(texts.size(0), {{"model", model.name()}, {"manifest", options.retrieval}, {"texts", texts.size(0)}},
               options.json);
}

}  // namespace

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
  command->callback([options] {
    if (options->manifest.empty() == options->retrieval.empty()) {
      throw CLI::ValidationError("Nothing to measure: give MANIFEST or --retrieval MANIFEST");
    }
    options->trained.manifest = options->adaptive.manifest = options->manifest;
    if (!options->trained.trained.empty()) return evaluate_trained(*options, options->trained);
    if (!options->adaptive.sample.empty()) {
      options->adaptive.index = options->index;
      return evaluate_adaptive(*options, options->adaptive);
    }
    options->retrieval.empty() ? evaluate_products(*options) : evaluate_retrieval(*options);
  });
}

}  // namespace trine::cli
