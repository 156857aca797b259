#include "trine/encoders/classifier.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/text_network.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "Classifier";
constexpr std::size_t kMostLabels = 100'000;

struct Family {
  const char* name;  ///< transformers' model_type
  detail::TextNetwork (*network)(const fs::path& directory);
};
constexpr std::array<Family, 6> kFamilies{{{"bert", detail::bert_network},
                                           {"distilbert", detail::distilbert_network},
                                           {"modernbert", detail::modernbert_network},
                                           {"mpnet", detail::mpnet_network},
                                           {"roberta", detail::roberta_network},
                                           {"xlm-roberta", detail::roberta_network}}};

detail::TextNetwork make_network(const fs::path& directory, const Json& config) {
  const auto name = detail::get<std::string>(kWho, config, "model_type");
  const auto family = std::ranges::find_if(kFamilies, [&](const Family& f) { return name == f.name; });
  if (family == kFamilies.end()) {
    std::string known;
    for (const Family& f : kFamilies) known += std::string(known.empty() ? "" : ", ") + f.name;
    detail::failure(kWho, directory, ": \"model_type\" is ", detail::shown(name), ", known are ", known);
  }
  // heads for other tasks have keys of the same names
  const auto heads = detail::get_or(kWho, config, "architectures", std::vector<std::string>{});
  if (!heads.empty() && !heads.front().ends_with("ForSequenceClassification")) {
    detail::failure(kWho, directory, ": \"architectures\" is ", detail::shown(heads.front()),
                    ", known are those of ...ForSequenceClassification");
  }
  return family->network(directory);
}

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
  std::set<std::string> names;
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
    if (!names.insert(labels[id]).second) {
      detail::failure(kWho, "\"id2label\" has the label ", detail::shown(labels[id]), " twice");
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

  detail::HeadOptions options;
  Linear dense;
  LayerNorm norm{nullptr};
  Linear out;
};

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
  Impl(const fs::path& path, const Json& config)
      : directory(path),
        labels(read_labels(config)),
        function(read_function(config, labels.size())),
        model(kWho, directory, make_network(directory, config)),
        head(model.network().head, Checkpoint::open(directory), model.network().hidden_size, std::ssize(labels)) {}

  fs::path directory;
  std::vector<std::string> labels;
  ScoreFunction function;
  detail::TextModel model;
  Head head;
};

Classifier::Classifier(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Classifier Classifier::load(const fs::path& directory) {
  const Json config = detail::read_json(kWho, directory / "config.json");
  return Classifier(std::make_shared<const Impl>(directory, config));
}

const std::vector<std::string>& Classifier::labels() const { return impl_->labels; }
ScoreFunction Classifier::function() const { return impl_->function; }
std::int64_t Classifier::max_tokens() const { return impl_->model.max_tokens(); }
std::int64_t Classifier::count_tokens(const std::string& text) const { return impl_->model.count_tokens(text); }
const fs::path& Classifier::directory() const { return impl_->directory; }

Tensor Classifier::logits(const std::vector<std::string>& texts) const {
  return impl_->model.run(texts, std::ssize(labels()), [this](const Tensor& hidden, const Tensor& mask) {
    return impl_->head.forward(hidden, mask);
  });
}

Tensor Classifier::scores(const std::vector<std::string>& texts) const {
  const Tensor found = logits(texts);
  switch (function()) {
    case ScoreFunction::softmax:
      return found.softmax(-1);
    case ScoreFunction::sigmoid:
      return found.sigmoid();
    case ScoreFunction::none:
      return found;
  }
  detail::bad_argument(kWho, "unknown score function");
}

std::vector<std::map<std::string, float>> Classifier::predict(const std::vector<std::string>& texts) const {
  const Tensor found = scores(texts);
  const float* score = found.const_data_ptr<float>();
  std::vector<std::map<std::string, float>> named(texts.size());
  for (auto& row : named) {
    for (const std::string& label : labels()) row[label] = *score++;
  }
  return named;
}

Description Classifier::describe() const {
  Description lines = impl_->model.describe();
  const Head& head = impl_->head;
  std::string all;
  for (const std::string& label : labels()) all += (all.empty() ? "" : ", ") + label;
  const std::int64_t parameters = impl_->model.count_parameters() + detail::count_parameters(*head.dense) +
                                  detail::count_parameters(*head.out) +
                                  (head.norm.is_empty() ? 0 : detail::count_parameters(*head.norm));
  lines.emplace_back("head", std::string(head.options.mean ? "mean over all tokens" : "the first token") +
                                 ", linear, " + std::string(to_string(head.options.activation)) +
                                 (head.norm.is_empty() ? "" : ", layer norm") + ", linear");
  lines.emplace_back("scores", to_string(function()));
  lines.emplace_back("labels", all);
  lines.emplace_back("parameters", std::to_string(parameters));
  return lines;
}

}  // namespace trine
