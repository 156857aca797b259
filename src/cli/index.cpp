#include <filesystem>

#include "command.h"
#include "trine/apps/product_search.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

namespace fs = std::filesystem;

struct Options : CommonOptions {
  std::string catalogue;
  std::string out;
};

void run(const Options& options) {
  const std::vector<Product> catalogue = read_catalogue(options.catalogue);
  const fs::path folder = fs::absolute(options.out).parent_path();
  if (!fs::is_directory(folder)) throw std::runtime_error("[index] there is no folder " + folder.string());

  Stopwatch watch;
  const Embedder model = load_model(options);
  IndexReport report;
  {
    train::ProgressBar bar("embedding products", static_cast<std::int64_t>(catalogue.size()));
    ProductSearch::build(model, catalogue, &report, [&](std::int64_t done, std::int64_t) {
      bar.show(done);
    }).save(options.out);
  }
  Json skipped = Json::array();
  for (const auto& [picture, why] : report.skipped) {
    say("Skipped: " + why);
    skipped.push_back({{"picture", picture.string()}, {"why", why}});
  }
  if (options.json) {
    print(Json{{"index", options.out},
               {"model", model.name()},
               {"products", report.products},
               {"vectors", report.vectors},
               {"skipped", skipped},
               {"milliseconds", std::round(watch.lap())}});
  } else {
    print(options.out + ": " + std::to_string(report.products) + " products, " + std::to_string(report.vectors) +
          " vectors" + (skipped.empty() ? "" : ", " + std::to_string(skipped.size()) + " pictures skipped") + "\n");
  }
}

}  // namespace

void add_index(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "index", "Makes a catalogue searchable",
                                  "trine index catalogue.jsonl --out products.trine", *options);
  command
      ->add_option("catalogue", options->catalogue,
                   "JSON lines with id and title, and if wanted description, attributes, keywords, images (paths)")
      ->type_name("CATALOGUE")
      ->required();
  command->add_option("--out", options->out, "The index to write")->type_name("INDEX")->required();
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
