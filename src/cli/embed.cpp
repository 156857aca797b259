#include <map>

#include "command.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::map<Modality, std::vector<std::string>> inputs;
  bool together = false;
  QueryWeights weights;
  LongInput long_input = LongInput::window;
  bool draft = false;
};

Json json_of(Modality modality, const Coverage& coverage) {
  Json windows = Json::array();
  for (const auto& [first, last] : coverage.windows) {
    if (modality == Modality::text) {  // characters are whole
      windows.push_back({static_cast<std::int64_t>(first), static_cast<std::int64_t>(last)});
    } else {
      windows.push_back({first, last});
    }
  }
  return {{"total", coverage.total}, {"used", coverage.used}, {"windows", windows}};
}

Json json_of(const torch::Tensor& vector) {
  Json values = Json::array();
  for (std::int64_t i = 0; i < vector.size(0); ++i) values.push_back(number(vector[i].item<float>()));
  return values;
}

std::string first_values(const torch::Tensor& vector) {
  std::string text;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(4, vector.size(0)); ++i) {
    text += fixed(vector[i].item<float>(), 4) + ", ";
  }
  return "[" + text + "... " + std::to_string(vector.size(0)) + " values]";
}

void run(Options options) {
  std::size_t count = 0;
  for (auto& [modality, inputs] : options.inputs) {
    count += inputs.size();
    if (options.together && inputs.size() > 1) {
      throw CLI::ValidationError(
          "--together", "takes one " + std::string(to_string(modality)) + ", got " + std::to_string(inputs.size()));
    }
  }
  if (count == 0) throw CLI::ValidationError("Nothing to embed: give --image FILE, --text TEXT or --audio FILE");
  for (std::string& text : options.inputs[Modality::text]) text = text_argument(text);

  std::vector<Modality> needed;
  for (const auto& [modality, inputs] : options.inputs) {
    if (!inputs.empty()) needed.push_back(modality);
  }
  const Embedder model = load_model(options, needed);
  std::map<Modality, torch::Tensor> together;
  Json lines = Json::array();
  Json parts = Json::object(), covered = Json::object();
  std::vector<std::vector<std::string>> table;
  for (const auto& [modality, inputs] : options.inputs) {
    if (inputs.empty()) continue;
    const std::string name(to_string(modality));
    std::vector<Coverage> coverage;
    const torch::Tensor vectors = model.embed_inputs(
        modality, inputs, {.long_input = options.long_input, .coverage = &coverage, .draft = options.draft});
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const torch::Tensor vector = vectors[static_cast<std::int64_t>(i)];
      say_coverage(modality, inputs[i], coverage[i]);
      parts[name] = inputs[i];
      covered[name] = json_of(modality, coverage[i]);
      lines.push_back(
          {{"modality", name}, {"input", inputs[i]}, {"vector", json_of(vector)}, {"coverage", covered[name]}});
      table.push_back({name, one_line(inputs[i]), first_values(vector)});
      together[modality] = vector;
    }
  }
  if (options.together) {
    const torch::Tensor vector = combine_query(together, options.weights);
    lines = {Json{{"modality", "together"}, {"input", parts}, {"vector", json_of(vector)}, {"coverage", covered}}};
    table = {{"together", first_values(vector)}};
  }
  if (options.json) {
    for (const Json& line : lines) print(line);
  } else {
    for (const std::string& line : aligned(table)) print(line + "\n");
  }
}

}  // namespace

void add_embed(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "embed", "Vectors of pictures, texts and spoken clips",
                                  "trine embed --image photo.jpg --text \"a ripe banana\" --json", *options);
  const auto add = [&](const std::string& name, Modality modality, const std::string& what, const std::string& type) {
    command->add_option(name, options->inputs[modality], what)->type_name(type)->allow_extra_args(false);
  };
  add("--image", Modality::image, "A picture; may be repeated", "FILE");
  add("--text", Modality::text, "Words; - reads them from stdin; may be repeated", "TEXT");
  add("--audio", Modality::audio, "A spoken clip; may be repeated", "FILE");
  command->add_flag("--together", options->together, "One vector of all: their weighted mean");
  command->add_flag("--draft", options->draft,
                    "Decode large JPEGs at a part of their size: much faster, a little different");
  add_weights(*command, options->weights);
  command
      ->add_option_function<std::string>(
          "--long-input", [options](const std::string& name) { options->long_input = long_input(name); },
          "Of a text or clip that is too long for the model: all of it in overlapping windows (the default), its "
          "beginning, or an error")
      ->check(CLI::IsMember({"window", "truncate", "error"}))
      ->type_name("window|truncate|error");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
