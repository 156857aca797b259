#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <string_view>

#include "command.h"
#include "trine/encoders/classifier.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::map<Modality, std::vector<std::string>> inputs;
  std::vector<std::string> videos;
  std::string pattern = "{}";
};

/// What was found of one input: the labels from the best to the worst.
struct Found {
  std::string_view kind;  ///< "image", "audio", "text" or "video"
  std::string input;
  std::vector<std::pair<std::string, float>> scores;
};

std::vector<Found> sorted(std::string_view kind, const std::vector<std::string>& inputs,
                          const std::vector<std::string>& labels, const torch::Tensor& scores) {
  std::vector<Found> all;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Found& found = all.emplace_back(Found{kind, inputs[i], {}});
    const torch::Tensor row = scores[static_cast<std::int64_t>(i)];
    for (std::size_t j = 0; j < labels.size(); ++j) {
      found.scores.emplace_back(labels[j], row[static_cast<std::int64_t>(j)].item<float>());
    }
    std::ranges::stable_sort(found.scores, [](const auto& a, const auto& b) { return a.second > b.second; });
  }
  return all;
}

/// Pictures, clips and videos against the texts. `function`: what makes the scores
std::vector<Found> by_texts(const Options& options, std::string& function) {
  const Embedder model = load_model(options);
  const std::vector<std::string>& labels = options.inputs.at(Modality::text);
  std::vector<std::string> sentences = labels;
  for (std::string& sentence : sentences) {
    std::string filled = options.pattern;
    sentence = filled.replace(filled.find("{}"), 2, sentence);
  }
  std::vector<Found> all;
  /// `probabilities` of files of one kind, of a modality of the model
  const auto score = [&](std::string_view kind, Modality modality, const std::vector<std::string>& inputs,
                         const auto& probabilities) {
    if (inputs.empty()) return;
    function = model.scoring_kind(modality) == SimilarityKind::softmax ? "softmax" : "sigmoid";
    const std::vector<std::filesystem::path> files(inputs.begin(), inputs.end());
    std::ranges::move(sorted(kind, inputs, labels, probabilities(files)), std::back_inserter(all));
  };
  score("image", Modality::image, options.inputs.at(Modality::image),
        [&](const auto& files) { return model.image_probabilities({files.begin(), files.end()}, sentences); });
  score("audio", Modality::audio, options.inputs.at(Modality::audio),
        [&](const auto& files) { return model.audio_probabilities({files.begin(), files.end()}, sentences); });
  score("video", Modality::image, options.videos,
        [&](const auto& files) { return model.video_probabilities({files.begin(), files.end()}, sentences); });
  return all;
}

/// Texts, by the labels of a checkpoint.
std::vector<Found> by_head(const Options& options, std::string& function) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  const Classifier model = Classifier::load(options.model);
  function = to_string(model.function());
  const std::vector<std::string>& texts = options.inputs.at(Modality::text);
  return sorted("text", texts, model.labels(), model.scores(texts));
}

void run(Options options) {
  std::vector<std::string>& texts = options.inputs[Modality::text];
  const bool others =
      !options.inputs[Modality::image].empty() || !options.inputs[Modality::audio].empty() || !options.videos.empty();
  if (texts.empty()) {
    throw CLI::ValidationError(others ? "What may it be? Give --text for each label"
                                      : "Nothing to classify: give --image, --audio or --video FILE, and --text TEXT");
  }
  if (!others && options.model.empty()) {
    throw CLI::ValidationError("Texts are classified by a ...ForSequenceClassification folder: give it as DIR");
  }
  if (options.pattern.find("{}") == std::string::npos) {
    throw CLI::ValidationError("--template", "has no {} for the label: " + options.pattern);
  }
  for (std::string& text : texts) text = text_argument(text);

  std::string function;
  for (const Found& found : others ? by_texts(options, function) : by_head(options, function)) {
    if (options.json) {
      Json scores = Json::array();
      for (const auto& [label, score] : found.scores) scores.push_back({{"label", label}, {"score", number(score)}});
      print(Json{{"modality", found.kind},
                 {"input", found.input},
                 {"label", found.scores.front().first},
                 {"function", function},
                 {"scores", scores}});
      continue;
    }
    print(one_line(found.input) + "\n");
    for (const auto& [label, score] : found.scores) print("  " + fixed(score, 4) + "  " + one_line(label) + "\n");
  }
}

}  // namespace

void add_classify(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "classify", "What a picture, clip, video or text is, of given labels or a head's own",
                  "trine classify clip-vit-base-patch32 --image photo.jpg --text \"a cat\" --text \"a dog\"", *options);
  command->add_option("directory", options->model, "The same as --model")->type_name("DIR")->excludes("--model");
  const auto add = [&](const std::string& name, Modality modality, const std::string& what, const std::string& type) {
    command->add_option(name, options->inputs[modality], what)->type_name(type)->allow_extra_args(false);
  };
  add("--image", Modality::image, "A picture; may be repeated", "FILE");
  add("--audio", Modality::audio, "A clip; may be repeated", "FILE");
  command->add_option("--video", options->videos, "A video; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  add("--text", Modality::text,
      "With pictures or clips a label that they may have, else a text for a ...ForSequenceClassification folder; - "
      "reads "
      "stdin; may be repeated",
      "TEXT");
  command->add_option("--template", options->pattern, "What a label is put into: \"a photo of a {}\"")
      ->type_name("TEXT");
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
