#include <filesystem>
#include <optional>
#include <stdexcept>

#include "command.h"
#include "trine/apps/product_search.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

namespace fs = std::filesystem;

struct Options : CommonOptions {
  std::string catalogue;
  std::string out;
  std::string into;
  std::vector<std::string> removed;
  bool draft = false;
  bool hnsw = false;
  GraphOptions graph;
};

/// Beside the index; killed work goes on from it.
fs::path partial_of(const fs::path& index) { return index.string() + ".part"; }

void check_folder(const fs::path& index) {
  const fs::path folder = fs::absolute(index).parent_path();
  if (!fs::is_directory(folder)) throw std::runtime_error("[index] there is no folder " + folder.string());
}

void say_skipped(const IndexReport& report, Json& skipped) {
  for (const SkippedMedia& one : report.skipped) {
    say("Skipped: " + (one.file.empty() ? "" : "product " + one.product + ": ") + one.why);
    skipped.push_back({{"product", one.product}, {"file", one.file.string()}, {"why", one.why}});
  }
}

void run(const Options& options) {
  const fs::path out = options.into.empty() ? options.out : options.into;
  check_folder(out);
  const std::vector<Product> catalogue =
      options.catalogue.empty() ? std::vector<Product>() : read_catalogue(options.catalogue);
  Stopwatch watch;
  const Embedder model = load_model(options);
  IndexReport report;
  std::optional<ProductSearch> search;
  if (!options.into.empty()) {
    search.emplace(model, out);
    search->remove(options.removed);
  }
  {
    std::optional<train::ProgressBar> bar;
    if (!catalogue.empty()) bar.emplace("embedding products", std::ssize(catalogue));
    const IndexOptions how{.progress = [&](std::int64_t done, std::int64_t) { bar->show(done); },
                           .partial = partial_of(out),
                           .draft = options.draft};
    if (search) {
      report = search->update(catalogue, how);
    } else {
      search.emplace(ProductSearch::build(model, catalogue, &report, how));
    }
  }
  if (options.hnsw) search->build_graph(options.graph);
  search->save(out);
  fs::remove(partial_of(out));

  Json skipped = Json::array();
  say_skipped(report, skipped);
  if (options.json) {
    return print(Json{{"index", out.string()},
                      {"model", model.name()},
                      {"products", report.products},
                      {"vectors", report.vectors},
                      {"embedded", report.embedded},
                      {"removed", options.removed.size()},
                      {"graph", search->graph().has_value()},
                      {"skipped", skipped},
                      {"milliseconds", std::round(watch.lap())}});
  }
  print(out.string() + ": " + std::to_string(report.products) + " products, " + std::to_string(report.vectors) +
        " vectors, " + std::to_string(report.embedded) + " products embedded" +
        (options.removed.empty() ? "" : ", " + std::to_string(options.removed.size()) + " removed") +
        (skipped.empty() ? "" : ", " + std::to_string(skipped.size()) + " files skipped") + "\n");
}

}  // namespace

void add_index(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "index", "Makes a catalogue searchable, or changes an index",
                                  "trine index catalogue.jsonl --out products.trine", *options);
  command
      ->add_option(
          "catalogue", options->catalogue,
          "JSON lines, or a table (.csv, .tsv), with id and title, and if wanted description, keywords, images, "
          "audio, videos (paths); all else are attributes")
      ->type_name("CATALOGUE");
  CLI::Option* out =
      command
          ->add_option("--out", options->out, "The index to write; work that was killed goes on when it is run again")
          ->type_name("INDEX");
  CLI::Option* into = command
                          ->add_option("--into", options->into,
                                       "The index to change: new products are added, those that changed embedded again")
                          ->type_name("INDEX")
                          ->excludes(out);
  command->add_option("--remove", options->removed, "Ids of products that leave the index")
      ->type_name("ID")
      ->needs(into);
  command
      ->add_flag("--draft", options->draft,
                 "Decode large JPEGs at a part of their size: much faster, a little different; the index remembers it")
      ->excludes(into);
  CLI::Option* hnsw =
      command->add_flag("--hnsw", options->hnsw,
                        "Link neighbouring vectors, so that a search looks at a part of them: for large catalogues");
  command->add_option("--m", options->graph.m, "Links of a vector in the graph, 16 if not said")
      ->type_name("N")
      ->check(CLI::Range(2, 512))
      ->needs(hnsw);
  command
      ->add_option("--ef-construction", options->graph.ef_construction,
                   "Candidates among which links are chosen, 200 if not said")
      ->type_name("N")
      ->check(CLI::Range(1, 65'536))
      ->needs(hnsw);
  command->callback([options] {
    if (options->out.empty() == options->into.empty()) {
      throw CLI::ValidationError("Where to: give --out INDEX for a new index or --into INDEX to change one");
    }
    if (options->catalogue.empty() && options->removed.empty() && (options->into.empty() || !options->hnsw)) {
      throw CLI::ValidationError("Nothing to do: give CATALOGUE, or --into INDEX with --remove ID or --hnsw");
    }
    run(*options);
  });
}

}  // namespace trine::cli
