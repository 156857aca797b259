#include "trine/encoders/bert.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/config.h"
#include "trine/input/text.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "BertConfig";
constexpr const char* kLoad = "load_bert";

enum class Pooling { mean, cls, max };

struct PoolingName {
  const char* key;  ///< in 1_Pooling/config.json
  std::optional<Pooling> pooling;
};
constexpr std::array<PoolingName, 6> kPoolings{{{"pooling_mode_mean_tokens", Pooling::mean},
                                                {"pooling_mode_cls_token", Pooling::cls},
                                                {"pooling_mode_max_tokens", Pooling::max},
                                                {"pooling_mode_mean_sqrt_len_tokens", std::nullopt},
                                                {"pooling_mode_weightedmean_tokens", std::nullopt},
                                                {"pooling_mode_lasttoken", std::nullopt}}};

Pooling read_pooling(const std::filesystem::path& config_json, std::int64_t hidden_size) {
  const detail::Json json = detail::read_json(kLoad, config_json);
  const auto dim = detail::get_or(kLoad, json, "word_embedding_dimension", hidden_size);
  if (dim != hidden_size) {
    detail::failure(kLoad, config_json, ": \"word_embedding_dimension\" is ", dim, ", the hidden_size is ",
                    hidden_size);
  }
  std::optional<Pooling> found;
  for (const auto& [key, pooling] : kPoolings) {
    if (!detail::get_or(kLoad, json, key, false)) continue;
    if (!pooling) detail::failure(kLoad, config_json, ": \"", key, "\" is not supported, mean, cls and max are");
    if (found) detail::failure(kLoad, config_json, ": \"", key, "\" beside another pooling_mode is not supported");
    found = pooling;
  }
  if (!found) {
    detail::failure(kLoad, config_json, " sets none of \"pooling_mode_mean_tokens\", \"pooling_mode_cls_token\" and ",
                    "\"pooling_mode_max_tokens\"");
  }
  return *found;
}

/// What modules.json puts after the network. A Normalize module needs nothing: vectors become unit vectors later.
Pooling read_modules(const std::filesystem::path& directory, std::int64_t hidden_size) {
  if (!std::filesystem::exists(directory / "modules.json")) return Pooling::mean;
  const detail::Json modules = detail::read_json(kLoad, directory / "modules.json");
  if (!modules.is_array()) detail::failure(kLoad, directory / "modules.json", " is not a list of modules");
  std::optional<Pooling> pooling;
  for (const detail::Json& module : modules) {
    const auto type = detail::get<std::string>(kLoad, module, "type");
    const auto path = detail::get<std::string>(kLoad, module, "path");
    const std::string name = type.substr(type.rfind('.') + 1);
    if (name == "Transformer" && path.empty()) continue;
    if (name == "Normalize") continue;
    if (name == "Pooling" && !pooling && path != ".." && std::filesystem::path(path).filename() == path) {
      pooling = read_pooling(directory / path / "config.json", hidden_size);
      continue;
    }
    detail::failure(kLoad, directory / "modules.json", " has a module of \"type\" ", detail::shown(type),
                    " at \"path\" ", detail::shown(path),
                    ", which is not supported: known are a Transformer at \"\", one Pooling, Normalize");
  }
  return pooling.value_or(Pooling::mean);
}

/// The longest input in tokens, special tokens included.
std::int64_t read_max_tokens(const std::filesystem::path& directory, const BertConfig& config, bool lowercases) {
  const auto path = directory / "sentence_bert_config.json";
  if (!std::filesystem::exists(path)) return config.max_position_embeddings;
  const detail::Json json = detail::read_json(kLoad, path);
  // Lower case before the tokenizer changes nothing where the tokenizer makes lower case itself.
  if (detail::get_or(kLoad, json, "do_lower_case", false) && !lowercases) {
    detail::failure(kLoad, path, ": \"do_lower_case\" with a tokenizer that keeps case is not supported");
  }
  const auto most = detail::get_or(kLoad, json, "max_seq_length", config.max_position_embeddings);
  if (most < 3 || most > config.max_position_embeddings) {
    detail::failure(kLoad, path, ": \"max_seq_length\" is ", most, ", wanted 3 to ", config.max_position_embeddings,
                    " (max_position_embeddings)");
  }
  return most;
}

}  // namespace

/// Attention and a feed-forward part, each with a norm after it. (N, T, hidden_size) -> (N, T, hidden_size)
class BertLayerImpl : public torch::nn::Module {
 public:
  explicit BertLayerImpl(const BertConfig& config)
      : heads_(config.num_attention_heads), relu_(config.hidden_act == "relu") {
    const std::int64_t dim = config.hidden_size;
    const auto group = [](torch::nn::Module& parent, const char* name) {
      return parent.register_module(name, std::make_shared<torch::nn::Module>());
    };
    const auto attention = group(*this, "attention");
    const auto self = group(*attention, "self");
    query_ = self->register_module("query", Linear(dim, dim));
    key_ = self->register_module("key", Linear(dim, dim));
    value_ = self->register_module("value", Linear(dim, dim));
    const auto attention_output = group(*attention, "output");
    out_ = attention_output->register_module("dense", Linear(dim, dim));
    attention_norm_ = attention_output->register_module("LayerNorm", LayerNorm(dim, config.layer_norm_eps));
    expand_ = group(*this, "intermediate")->register_module("dense", Linear(dim, config.intermediate_size));
    const auto output = group(*this, "output");
    contract_ = output->register_module("dense", Linear(config.intermediate_size, dim));
    output_norm_ = output->register_module("LayerNorm", LayerNorm(dim, config.layer_norm_eps));
  }

  Tensor forward(const Tensor& input, const Tensor& mask) const {
    const Tensor attended =
        self_attention(query_->forward(input), key_->forward(input), value_->forward(input), heads_, mask);
    const Tensor x = attention_norm_->forward(out_->forward(attended) + input);
    const Tensor expanded = expand_->forward(x);
    return output_norm_->forward(contract_->forward(relu_ ? expanded.relu() : torch::gelu(expanded)) + x);
  }

 private:
  std::int64_t heads_;
  bool relu_;
  Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, out_{nullptr};
  LayerNorm attention_norm_{nullptr};
  Linear expand_{nullptr}, contract_{nullptr};
  LayerNorm output_norm_{nullptr};
};

namespace {

class BertTextEncoder : public TextEncoder {
 public:
  explicit BertTextEncoder(const std::filesystem::path& directory)
      : config_(BertConfig::load(directory / "config.json")),
        pooling_(read_modules(directory, config_.hidden_size)),
        tokenizer_(Tokenizer::load(directory)),
        max_tokens_(read_max_tokens(directory, config_, tokenizer_.encode("A").ids == tokenizer_.encode("a").ids)),
        network_(config_) {
    if (tokenizer_.vocab_size() > config_.vocab_size) {
      detail::failure(kLoad, directory, ": tokenizer.json has ", tokenizer_.vocab_size(), " ids, \"vocab_size\" is ",
                      config_.vocab_size);
    }
    if (tokenizer_.encode("").ids.empty()) {
      detail::failure(kLoad, directory, ": tokenizer.json adds no special tokens, an empty text would have none");
    }
    const Checkpoint checkpoint = Checkpoint::open(directory);
    // BertForMaskedLM and its like write "bert.", BertModel writes no prefix
    load_weights(*network_, checkpoint, checkpoint.contains("bert.embeddings.word_embeddings.weight") ? "bert." : "");
    network_->eval();
  }

  std::int64_t dim() const override { return config_.hidden_size; }
  std::int64_t max_tokens() const override { return max_tokens_; }

  std::int64_t count_tokens(const std::string& text) const override { return std::ssize(tokenizer_.encode(text).ids); }

  Tensor encode(const std::vector<std::string>& texts) const override {
    const torch::NoGradGuard no_grad;
    std::vector<std::vector<std::int32_t>> ids(texts.size());
    std::transform(texts.begin(), texts.end(), ids.begin(),
                   [&](const std::string& text) { return tokenizer_.encode(text, max_tokens_).ids; });
    std::vector<std::size_t> order(texts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return ids[a].size() < ids[b].size(); });

    Tensor vectors = torch::empty({std::ssize(texts), dim()});
    for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
      const std::size_t longest = ids[order[begin]].size() * 5 / 4 + 2;  // about a tenth of padding
      while (end < order.size() && end - begin < kMostRows && ids[order[end]].size() <= longest) ++end;
      std::vector<const std::vector<std::int32_t>*> group;
      for (std::size_t i = begin; i < end; ++i) group.push_back(&ids[order[i]]);
      const Tensor pooled = encode_group(group);
      for (std::size_t i = begin; i < end; ++i) {
        vectors[static_cast<std::int64_t>(order[i])].copy_(pooled[static_cast<std::int64_t>(i - begin)]);
      }
    }
    return vectors;
  }

  Description describe() const override {
    const char* pooling = pooling_ == Pooling::mean  ? "mean over all tokens, special tokens included"
                          : pooling_ == Pooling::cls ? "the first token"
                                                     : "maximum over all tokens, special tokens included";
    return {{"model_type", "bert"},
            {"tokenizer", tokenizer_.describe()},
            {"max_tokens", std::to_string(max_tokens_) + ", cut before the end token"},
            {"activation", config_.hidden_act == "gelu" ? "gelu (exact)" : config_.hidden_act},
            {"pooling", pooling}};
  }

 private:
  static constexpr std::size_t kMostRows = 32;

  /// Texts from the shortest to the longest. -> (rows, hidden_size)
  Tensor encode_group(const std::vector<const std::vector<std::int32_t>*>& group) const {
    const std::int64_t rows = std::ssize(group), columns = std::ssize(*group.back());
    Tensor ids = torch::full({rows, columns}, tokenizer_.pad_id(), torch::kInt64);
    Tensor mask = torch::zeros({rows, columns}, torch::kBool);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::vector<std::int32_t>& text = *group[static_cast<std::size_t>(row)];
      std::copy(text.begin(), text.end(), ids[row].mutable_data_ptr<std::int64_t>());
      mask[row].slice(0, 0, std::ssize(text)).fill_(true);
    }
    const Tensor hidden = network_->forward(ids, mask);
    switch (pooling_) {
      case Pooling::mean:
        return masked_mean(hidden, mask);
      case Pooling::cls:
        return hidden.select(1, 0);
      case Pooling::max:
        return hidden.masked_fill(~mask.unsqueeze(-1), -1e9).amax(1);
    }
    detail::failure(kLoad, "unknown pooling");
  }

  BertConfig config_;
  Pooling pooling_;
  Tokenizer tokenizer_;
  std::int64_t max_tokens_;
  Bert network_;
};

}  // namespace

BertConfig BertConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  BertConfig config;
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 2'000'000);
  config.hidden_size = detail::read_size(kConfig, json, "hidden_size", 16'384);
  config.num_hidden_layers = detail::read_size(kConfig, json, "num_hidden_layers", 256);
  config.num_attention_heads = detail::read_size(kConfig, json, "num_attention_heads", 256);
  config.intermediate_size = detail::read_size(kConfig, json, "intermediate_size", 65'536);
  config.max_position_embeddings =
      detail::read_size(kConfig, json, "max_position_embeddings", 32'768, config.max_position_embeddings);
  config.type_vocab_size = detail::read_size(kConfig, json, "type_vocab_size", 1'024, config.type_vocab_size);
  config.layer_norm_eps = detail::get_or(kConfig, json, "layer_norm_eps", config.layer_norm_eps);
  config.hidden_act = detail::get_or(kConfig, json, "hidden_act", config.hidden_act);
  if (config.hidden_size % config.num_attention_heads != 0) {
    detail::failure(kConfig, "\"num_attention_heads\" is ", config.num_attention_heads,
                    ", which does not divide hidden_size ", config.hidden_size);
  }
  if (!(config.layer_norm_eps > 0 && config.layer_norm_eps < 0.1)) {
    detail::failure(kConfig, "\"layer_norm_eps\" is ", config.layer_norm_eps, ", wanted above 0 and below 0.1");
  }
  if (config.hidden_act != "gelu" && config.hidden_act != "relu") {
    detail::failure(kConfig, "\"hidden_act\" is ", detail::shown(config.hidden_act), ", known are gelu and relu");
  }
  if (const auto type = detail::get_or<std::string>(kConfig, json, "position_embedding_type", "absolute");
      type != "absolute") {
    detail::failure(kConfig, "\"position_embedding_type\" is ", detail::shown(type), ", known is absolute");
  }
  if (detail::get_or(kConfig, json, "is_decoder", false)) {
    detail::failure(kConfig, "\"is_decoder\" is true, only encoders are supported");
  }
  const auto dim = static_cast<double>(config.hidden_size);
  detail::check_weights(
      kConfig, dim * static_cast<double>(config.vocab_size + config.max_position_embeddings + config.type_vocab_size) +
                   static_cast<double>(config.num_hidden_layers) *
                       (4 * dim * dim + 2 * dim * static_cast<double>(config.intermediate_size)));
  return config;
}

BertImpl::BertImpl(const BertConfig& config) {
  const std::int64_t dim = config.hidden_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  word_embeddings_ = embeddings->register_module("word_embeddings", Embedding(config.vocab_size, dim));
  position_embeddings_ =
      embeddings->register_module("position_embeddings", Embedding(config.max_position_embeddings, dim));
  token_type_embeddings_ = embeddings->register_module("token_type_embeddings", Embedding(config.type_vocab_size, dim));
  embedding_norm_ = embeddings->register_module("LayerNorm", LayerNorm(dim, config.layer_norm_eps));
  const auto encoder = register_module("encoder", std::make_shared<torch::nn::Module>());
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<BertLayerImpl>(config));
    layers->push_back(layers_.back());
  }
  encoder->register_module("layer", layers);
}

Tensor BertImpl::forward(const Tensor& ids, const Tensor& mask) const {
  const Tensor& positions = position_embeddings_->weight;
  if (ids.size(1) > positions.size(0)) {
    detail::bad_argument("Bert", ids.size(1), " tokens, at most ", positions.size(0), " have positions");
  }
  Tensor x = word_embeddings_->forward(ids) + positions.slice(0, 0, ids.size(1)) +
             token_type_embeddings_->weight[0];  // every token is of the first sentence
  x = embedding_norm_->forward(x);
  for (const auto& layer : layers_) x = layer->forward(x, mask);
  return x;
}

std::unique_ptr<TextEncoder> load_bert(const std::filesystem::path& directory) {
  return std::make_unique<BertTextEncoder>(directory);
}

}  // namespace trine
