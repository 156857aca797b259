#include "trine/apps/emotion.h"

#include <algorithm>

#include "apps/clip_head.h"
#include "apps/model_heads.h"
#include "detail/error.h"
#include "encoders/config.h"
#include "place.h"
#include "trine/device.h"
#include "trine/encoders/bert.h"
#include "trine/layers.h"

namespace trine {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr const char* kWho = "EmotionRecognizer";
constexpr std::int64_t kMostHeads = 1'024;

/// The text tower's network, whose blocks may have learned, attention pooling, a table of what each token alone says,
/// and one linear layer for labels and groups.
class TextHead {
 public:
  TextHead(const Embedder& embedder, const detail::Json& entry)
      : folder_(detail::encoder_folder(kWho, embedder, Modality::text, "bert")),
        tokenizer_(Tokenizer::load(folder_)),
        labels_(detail::get<std::vector<std::string>>(kWho, entry, "labels")),
        groups_(detail::get<std::vector<std::string>>(kWho, entry, "groups")),
        trained_on_(detail::get<std::string>(kWho, entry, "trained_on")) {
    const BertConfig config = BertConfig::load(folder_ / "config.json");
    max_tokens_ = detail::read_size(kWho, entry, "max_tokens", config.max_position_embeddings);
    const std::int64_t num_heads = detail::read_size(kWho, entry, "num_heads", kMostHeads);
    detail::check_heads(kWho, "num_heads", num_heads, "hidden_size", config.hidden_size);
    const std::int64_t outputs = std::ssize(labels_) + std::ssize(groups_);
    network_ = Bert(config);
    pooling_ = AttentionPooling(config.hidden_size, num_heads);
    words_ = Embedding(config.vocab_size, outputs);
    out_ = Linear(config.hidden_size, outputs);
    const LoadDevice there(embedder.device());
    place_ = detail::Place();
    const Checkpoint encoder = Checkpoint::open(folder_), weights = detail::heads_file(kWho, embedder, entry);
    load_weights(*network_, encoder, encoder.contains("bert.embeddings.word_embeddings.weight") ? "bert." : "");
    copy_weights(*network_, weights, "encoder.");  // the blocks that have learned
    load_weights(*pooling_, weights, "pooling.");
    load_weights(*words_, weights, "words.");
    load_weights(*out_, weights, "out.");
  }

  /// -> probabilities (labels), (groups)
  std::pair<Tensor, Tensor> predict(const std::string& text) const {
    const torch::NoGradGuard no_grad;
    if (text.find_first_not_of(" \t\n\r") == std::string::npos)
      detail::bad_argument(kWho, "a text is wanted, got none");
    const std::vector<std::int32_t> tokens = tokenizer_.encode(text, max_tokens_).ids;
    const Tensor ids = torch::tensor(std::vector<std::int64_t>(tokens.begin(), tokens.end())).unsqueeze(0);
    const auto logits = [this](const Tensor& x) {
      const Tensor mask = torch::ones_like(x, torch::kBool);
      const Tensor pooled = AttentionPooling(pooling_)->forward(network_->forward(x, mask), mask);
      return out_->forward(pooled) + words_->forward(x).sum(1);
    };
    const Tensor probabilities = place_.run(logits, ids)[0].sigmoid();
    const std::int64_t labels = std::ssize(labels_);
    return {probabilities.slice(0, 0, labels), probabilities.slice(0, labels)};
  }

  const std::vector<std::string>& labels() const { return labels_; }
  const std::vector<std::string>& groups() const { return groups_; }

  Description describe() const {
    return {{"tokens", "at most " + std::to_string(max_tokens_) + ", what follows is cut"},
            {"features", "token vectors of the text tower's network, attention pooling, and a table of tokens"},
            {"head", "linear, sigmoid of " + std::to_string(labels_.size()) + " labels and " +
                         std::to_string(groups_.size()) + " groups"},
            {"trained_on", trained_on_}};
  }

 private:
  fs::path folder_;
  Tokenizer tokenizer_;
  std::vector<std::string> labels_, groups_;
  std::string trained_on_;
  std::int64_t max_tokens_ = 0;
  detail::Place place_;
  Bert network_{nullptr};
  AttentionPooling pooling_{nullptr};
  Embedding words_{nullptr};
  Linear out_{nullptr};
};

}  // namespace

struct EmotionRecognizer::Impl {
  fs::path directory;
  std::optional<TextHead> text;
  std::optional<detail::ClipHead> voice;

  template <typename Head>
  const Head& head(const std::optional<Head>& wanted, const char* what) const {
    if (!wanted) detail::bad_argument(kWho, "the model in ", directory, " has no emotion head for ", what);
    return *wanted;
  }
};

EmotionRecognizer::EmotionRecognizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

EmotionRecognizer EmotionRecognizer::load(const Embedder& embedder) {
  const torch::NoGradGuard no_grad;
  const detail::Json entry = detail::heads_entry(kWho, embedder, "emotion");
  auto impl = std::make_shared<Impl>();
  impl->directory = embedder.directory();
  if (entry.contains("text")) impl->text.emplace(embedder, entry.at("text"));
  if (entry.contains("voice")) impl->voice.emplace(kWho, embedder, entry.at("voice"));
  return EmotionRecognizer(std::move(impl));
}

std::vector<Score> EmotionRecognizer::text(const std::string& text) const {
  const TextHead& head = impl_->head(impl_->text, "texts");
  return detail::scores_of(head.groups(), head.predict(text).second);
}

std::vector<Score> EmotionRecognizer::text_labels(const std::string& text) const {
  const TextHead& head = impl_->head(impl_->text, "texts");
  return detail::scores_of(head.labels(), head.predict(text).first);
}

std::vector<Score> EmotionRecognizer::voice(const AudioInput& audio) const {
  return impl_->head(impl_->voice, "clips").predict(audio);
}

bool EmotionRecognizer::supports(Modality modality) const {
  return modality == Modality::text ? impl_->text.has_value() : modality == Modality::audio && impl_->voice.has_value();
}

Description EmotionRecognizer::describe() const {
  Description lines;
  const auto add = [&](const std::string& prefix, const Description& parts) {
    for (const auto& [key, value] : parts) lines.emplace_back(prefix + key, value);
  };
  if (impl_->text) add("text.", impl_->text->describe());
  if (impl_->voice) add("voice.", impl_->voice->describe());
  return lines;
}

}  // namespace trine
