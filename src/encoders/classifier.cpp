#include "trine/encoders/classifier.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <span>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/classifier_network.h"
#include "encoders/inputs.h"
#include "encoders/text_network.h"
#include "linear/choose.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "Classifier";
constexpr std::size_t kMostLabels = 100'000;
constexpr std::size_t kMostImages = 32;  ///< that are decoded and go through a network together

std::vector<std::string> read_labels(const Json& config) {
  std::vector<std::string> labels;
  const auto found = config.find("id2label");
  if (found == config.end() || found->is_null()) {
    const auto count = detail::get_or<std::int64_t>(kWho, config, "num_labels", 2);
    if (count < 1 || count > static_cast<std::int64_t>(kMostLabels)) {
      detail::failure(kWho, "\"num_labels\" is ", count, ", wanted 1 to ", kMostLabels);
    }
    for (std::int64_t i = 0; i < count; ++i) labels.push_back("LABEL_" + std::to_string(i));
    return labels;
  }
  if (!found->is_object() || found->empty() || found->size() > kMostLabels) {
    detail::failure(kWho, "\"id2label\" is not an object of 1 to ", kMostLabels, " labels");
  }
  labels.resize(found->size());
  std::vector<bool> known(found->size());
  for (const auto& [key, label] : found->items()) {
    std::size_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id >= labels.size() || known[id]) {
      detail::failure(kWho, "\"id2label\" has the id ", detail::shown(key), ", wanted each of 0 to ", labels.size() - 1,
                      " once");
    }
    if (!label.is_string()) detail::failure(kWho, "\"id2label\" has no text for the id ", detail::shown(key));
    known[id] = true;
    labels[id] = label;
  }
  std::set<std::string> names;
  for (std::size_t id = 0; id < labels.size(); ++id) {
    if (names.insert(labels[id]).second) continue;
    labels[id] += " (" + std::to_string(id) + ")";  // ImageNet has two kinds of "crane"
    if (!names.insert(labels[id]).second) {
      detail::failure(kWho, "\"id2label\" has the label ", detail::shown(labels[id]), " more than once");
    }
  }
  return labels;
}

/// As transformers' text-classification pipeline decides it.
ScoreFunction read_function(const Json& config, std::size_t labels) {
  const auto type = detail::get_or<std::string>(kWho, config, "problem_type", "");
  if (type == "regression") return ScoreFunction::none;
  if (type == "multi_label_classification") return ScoreFunction::sigmoid;
  if (!type.empty() && (type != "single_label_classification" || labels == 1)) {
    detail::failure(kWho, "\"problem_type\" is ", detail::shown(type), " for ", labels,
                    " labels, known are regression, multi_label_classification and, for more than one label, "
                    "single_label_classification");
  }
  return labels == 1 ? ScoreFunction::sigmoid : ScoreFunction::softmax;
}

/// out(norm(activation(dense(token or mean)))).
struct Head {
  Head(const detail::HeadOptions& given, const Checkpoint& checkpoint, std::int64_t dim, std::int64_t labels)
      : options(given), dense(dim, dim, given.dense_bias), out(dim, labels) {
    load_weights(*dense, checkpoint, std::string(options.dense) + ".");
    load_weights(*out, checkpoint, std::string(options.out) + ".");
    if (options.norm == nullptr) return;
    norm = LayerNorm(dim, options.norm_eps, options.norm_bias);
    load_weights(*norm, checkpoint, std::string(options.norm) + ".");
  }

  /// (N, T, dim), mask (N, T) -> (N, labels)
  Tensor forward(const Tensor& hidden, const Tensor& mask) const {
    const Tensor pooled = options.mean ? masked_mean(hidden, mask) : hidden.select(1, 0);
    const Tensor x = activate(dense->forward(pooled), options.activation);
    return out->forward(norm.is_empty() ? x : norm->forward(x));
  }

  std::int64_t count_parameters() const {
    return detail::count_parameters(*dense) + detail::count_parameters(*out) +
           (norm.is_empty() ? 0 : detail::count_parameters(*norm));
  }

  detail::HeadOptions options;
  Linear dense;
  LayerNorm norm{nullptr};
  Linear out;
};

/// A family's network with its tokenizer and its head.
class TextClassifier : public TextEncoder {
 public:
  TextClassifier(const detail::ModelFiles& files, detail::TextNetwork network, std::int64_t labels)
      : model_(kWho, files, std::move(network)),
        head_(model_.network().head, files.checkpoint, model_.network().hidden_size, labels),
        labels_(labels) {}

  std::int64_t dim() const override { return labels_; }
  std::int64_t max_tokens() const override { return model_.max_tokens(); }
  const Tokenizer& tokenizer() const override { return model_.tokenizer(); }

  Tensor encode(const std::vector<std::string>& texts) const override {
    return model_.run(texts, labels_,
                      [this](const Tensor& hidden, const Tensor& mask) { return head_.forward(hidden, mask); });
  }

  Description describe() const override {
    Description lines = model_.describe();
    lines.emplace_back("head", std::string(head_.options.mean ? "mean over all tokens" : "the first token") +
                                   ", linear, " + std::string(to_string(head_.options.activation)) +
                                   (head_.norm.is_empty() ? "" : ", layer norm") + ", linear");
    lines.emplace_back("parameters", std::to_string(model_.count_parameters() + head_.count_parameters()));
    return lines;
  }

 private:
  detail::TextModel model_;
  Head head_;
  std::int64_t labels_;
};

using MakeNetwork = AnyEncoder (*)(const detail::ModelFiles& files, std::int64_t labels);

template <detail::MakeTextNetwork kMake>
AnyEncoder text(const detail::ModelFiles& files, std::int64_t labels) {
  return {.text = std::make_unique<TextClassifier>(files, kMake(files.config), labels)};
}

template <std::unique_ptr<ImageEncoder> (*kMake)(const detail::ModelFiles&, std::int64_t)>
AnyEncoder image(const detail::ModelFiles& files, std::int64_t labels) {
  return {.image = kMake(files, labels)};
}

template <std::unique_ptr<AudioEncoder> (*kMake)(const detail::ModelFiles&, std::int64_t)>
AnyEncoder audio(const detail::ModelFiles& files, std::int64_t labels) {
  return {.audio = kMake(files, labels)};
}

struct Family {
  const char* name;  ///< transformers' model_type
  const char* head;  ///< how the names of its classes with such a head end
  MakeNetwork make;
};
constexpr const char* kSequence = "ForSequenceClassification";
constexpr const char* kImage = "ForImageClassification";
constexpr const char* kAudio = "ForAudioClassification";
constexpr auto kFamilies =
    std::to_array<Family>({{"bert", kSequence, text<detail::bert_network>},
                           {"distilbert", kSequence, text<detail::distilbert_network>},
                           {"modernbert", kSequence, text<detail::modernbert_network>},
                           {"mpnet", kSequence, text<detail::mpnet_network>},
                           {"roberta", kSequence, text<detail::roberta_network>},
                           {"xlm-roberta", kSequence, text<detail::roberta_network>},
                           {"vit", kImage, image<detail::vit_classifier>},
                           {"dinov2", kImage, image<detail::dinov2_classifier>},
                           {"dinov2_with_registers", kImage, image<detail::dinov2_classifier>},
                           {"audio-spectrogram-transformer", kAudio, audio<detail::ast_classifier>},
                           {"hubert", kSequence, audio<detail::wav2vec2_classifier>},
                           {"wav2vec2", kSequence, audio<detail::wav2vec2_classifier>},
                           {"wavlm", kSequence, audio<detail::wav2vec2_classifier>}});

AnyEncoder make_network(const detail::ModelFiles& files, std::int64_t labels) {
  const auto name = detail::get<std::string>(kWho, files.config, "model_type");
  const auto family = std::ranges::find_if(kFamilies, [&](const Family& f) { return name == f.name; });
  if (family == kFamilies.end()) {
    std::string known;
    for (const Family& f : kFamilies) known += std::string(known.empty() ? "" : ", ") + f.name;
    detail::failure(kWho, files.directory, ": \"model_type\" is ", detail::shown(name), ", known are ", known);
  }
  // heads for other tasks have keys of the same names
  const auto heads = detail::get_or(kWho, files.config, "architectures", std::vector<std::string>{});
  if (!heads.empty() && !heads.front().ends_with(family->head)) {
    detail::failure(kWho, files.directory, ": \"architectures\" is ", detail::shown(heads.front()),
                    ", known are those of ...", family->head);
  }
  return family->make(files, labels);
}

}  // namespace

std::string_view to_string(ScoreFunction function) {
  switch (function) {
    case ScoreFunction::softmax:
      return "softmax";
    case ScoreFunction::sigmoid:
      return "sigmoid";
    case ScoreFunction::none:
      return "none";
  }
  detail::bad_argument(kWho, "unknown score function");
}

struct Classifier::Impl {
  explicit Impl(const detail::ModelFiles& files)
      : directory(files.directory),
        labels(read_labels(files.config)),
        function(read_function(files.config, labels.size())),
        network(make_network(files, std::ssize(labels))) {}

  Modality modality() const {
    return network.image ? Modality::image : network.text ? Modality::text : Modality::audio;
  }

  void require(Modality wanted) const {
    if (wanted == modality()) return;
    detail::bad_argument(kWho, "the model in ", directory, " takes ", to_string(modality()), ", not ",
                         to_string(wanted));
  }

  const TextEncoder& text() const {
    require(Modality::text);
    return *network.text;
  }

  Tensor score(const Tensor& logits) const {
    switch (function) {
      case ScoreFunction::softmax:
        return logits.softmax(-1);
      case ScoreFunction::sigmoid:
        return logits.sigmoid();
      case ScoreFunction::none:
        return logits;
    }
    detail::bad_argument(kWho, "unknown score function");
  }

  /// (N, labels) -> {label: score} of each row
  std::vector<std::map<std::string, float>> name(const Tensor& scores) const {
    const float* score = scores.const_data_ptr<float>();
    std::vector<std::map<std::string, float>> named(static_cast<std::size_t>(scores.size(0)));
    for (auto& row : named) {
      for (const std::string& label : labels) row[label] = *score++;
    }
    return named;
  }

  fs::path directory;
  std::vector<std::string> labels;
  ScoreFunction function;
  AnyEncoder network;  ///< one encoder, whose features are what the head gives
  detail::Place place = {};
  std::string precision = {};
};

Classifier::Classifier(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Classifier Classifier::load(const fs::path& directory) {
  const detail::PrecisionLog log;
  const auto impl = std::make_shared<Impl>(detail::open_model(kWho, directory));
  impl->precision = log.describe();
  return Classifier(impl);
}

Modality Classifier::modality() const { return impl_->modality(); }
const std::vector<std::string>& Classifier::labels() const { return impl_->labels; }
ScoreFunction Classifier::function() const { return impl_->function; }
std::int64_t Classifier::max_tokens() const { return impl_->text().max_tokens(); }
std::int64_t Classifier::count_tokens(const std::string& text) const { return impl_->text().count_tokens(text); }
const fs::path& Classifier::directory() const { return impl_->directory; }

Tensor Classifier::logits(const std::vector<std::string>& texts) const { return impl_->text().encode(texts); }

Tensor Classifier::image_logits(const std::vector<ImageInput>& images) const {
  impl_->require(Modality::image);
  const torch::NoGradGuard no_grad;
  Tensor logits = torch::empty({std::ssize(images), std::ssize(labels())});
  for (std::size_t first = 0; first < images.size(); first += kMostImages) {
    const auto batch = std::span(images).subspan(first, std::min(kMostImages, images.size() - first));
    logits.narrow(0, static_cast<std::int64_t>(first), std::ssize(batch)) =
        detail::encode_images(kWho, *impl_->network.image, batch);
  }
  return logits;
}

Tensor Classifier::audio_logits(const std::vector<AudioInput>& audios) const {
  impl_->require(Modality::audio);
  const torch::NoGradGuard no_grad;
  const AudioEncoder& network = *impl_->network.audio;
  Tensor logits = torch::empty({std::ssize(audios), std::ssize(labels())});
  for (std::size_t i = 0; i < audios.size(); ++i) {  // each on its own length: no padding, no batch to depend on
    logits[static_cast<std::int64_t>(i)] =
        network.encode(samples_of(audios[i], {.sample_rate = network.sample_rate()}))[0];
  }
  return logits;
}

Tensor Classifier::scores(const std::vector<std::string>& texts) const { return impl_->score(logits(texts)); }
Tensor Classifier::image_scores(const std::vector<ImageInput>& images) const {
  return impl_->score(image_logits(images));
}
Tensor Classifier::audio_scores(const std::vector<AudioInput>& audios) const {
  return impl_->score(audio_logits(audios));
}

std::vector<std::map<std::string, float>> Classifier::predict(const std::vector<std::string>& texts) const {
  return impl_->name(scores(texts));
}
std::vector<std::map<std::string, float>> Classifier::predict_images(const std::vector<ImageInput>& images) const {
  return impl_->name(image_scores(images));
}
std::vector<std::map<std::string, float>> Classifier::predict_audios(const std::vector<AudioInput>& audios) const {
  return impl_->name(audio_scores(audios));
}

Description Classifier::describe() const {
  const AnyEncoder& network = impl_->network;
  Description lines = network.image  ? network.image->describe()
                      : network.text ? network.text->describe()
                                     : network.audio->describe();
  lines.emplace_back("device", impl_->place.device().str());
  lines.emplace_back("precision", impl_->precision);
  std::string all;
  for (const std::string& label : labels()) all += (all.empty() ? "" : ", ") + label;
  lines.emplace_back("scores", to_string(function()));
  lines.emplace_back("labels", all);
  return lines;
}

}  // namespace trine
