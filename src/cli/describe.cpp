#include "command.h"

namespace trine::cli {

namespace {

void run(const CommonOptions& options) {
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

}  // namespace

void add_describe(CLI::App& app) {
  auto options = std::make_shared<CommonOptions>();
  CLI::App* command = add_command(app, "describe", "What a model does to an input, step by step",
                                  "trine describe models/default", *options);
  command->add_option("directory", options->model, "The same as --model")->type_name("DIR")->excludes("--model");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
