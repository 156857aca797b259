#include "trine/encoders/whisper_decoder.h"

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/config.h"
#include "encoders/whisper_attention.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "WhisperDecoderConfig";

}  // namespace

/// Attention to the tokens before, attention to the clip and a feed-forward part, each with a norm before it.
class WhisperDecoderLayerImpl : public torch::nn::Module {
 public:
  explicit WhisperDecoderLayerImpl(const WhisperDecoderConfig& config) {
    const std::int64_t dim = config.d_model;
    self_attention_ = register_module("self_attn", WhisperAttention(dim, config.decoder_attention_heads));
    self_attention_norm_ = register_module("self_attn_layer_norm", LayerNorm(dim));
    clip_attention_ = register_module("encoder_attn", WhisperAttention(dim, config.decoder_attention_heads));
    clip_attention_norm_ = register_module("encoder_attn_layer_norm", LayerNorm(dim));
    expand_ = detail::InferenceLinear({register_module("fc1", Linear(dim, config.decoder_ffn_dim))});
    contract_ = detail::InferenceLinear({register_module("fc2", Linear(config.decoder_ffn_dim, dim))});
    feed_forward_norm_ = register_module("final_layer_norm", LayerNorm(dim));
  }

  std::vector<Tensor> clip_keys_and_values(const Tensor& states) const {
    return clip_attention_->keys_and_values(states);
  }

  /// (1, Q, d_model) -> (1, Q, d_model); sets the next Q keys and values of this layer, the `layer`-th.
  Tensor forward(const Tensor& input, std::size_t layer, WhisperDecoderState& state) const {
    const std::int64_t count = input.size(1);
    const std::int64_t end = state.tokens + count;
    const auto parts = self_attention_->parts(self_attention_norm_, input);
    state.token_keys[layer].narrow(1, state.tokens, count).copy_(parts[1]);
    state.token_values[layer].narrow(1, state.tokens, count).copy_(parts[2]);
    Tensor x = self_attention_->add_to(input, parts[0], state.token_keys[layer].narrow(1, 0, end),
                                       state.token_values[layer].narrow(1, 0, end), /*mask=*/{}, /*causal=*/count > 1);
    x = clip_attention_->add_to(x, clip_attention_->query(clip_attention_norm_->forward(x)), state.clip_keys[layer],
                                state.clip_values[layer]);
    return detail::feed_forward(feed_forward_norm_, expand_, Activation::gelu, contract_, x);
  }

 private:
  WhisperAttention self_attention_{nullptr};
  LayerNorm self_attention_norm_{nullptr};
  WhisperAttention clip_attention_{nullptr};
  LayerNorm clip_attention_norm_{nullptr};
  detail::InferenceLinear expand_, contract_;
  LayerNorm feed_forward_norm_{nullptr};
};

WhisperDecoderConfig WhisperDecoderConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  WhisperDecoderConfig config;
  config.d_model = detail::read_size(kConfig, json, "d_model", 16'384);
  config.decoder_layers = detail::read_size(kConfig, json, "decoder_layers", 256);
  config.decoder_attention_heads = detail::read_size(kConfig, json, "decoder_attention_heads", 256);
  config.decoder_ffn_dim = detail::read_size(kConfig, json, "decoder_ffn_dim", 65'536);
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 1'048'576);
  config.max_target_positions =
      detail::read_size(kConfig, json, "max_target_positions", 32'768, config.max_target_positions);
  detail::check_heads(kConfig, "decoder_attention_heads", config.decoder_attention_heads, "d_model", config.d_model);
  if (!detail::get_or<bool>(kConfig, json, "tie_word_embeddings", true)) {
    detail::failure(kConfig, "\"tie_word_embeddings\" is false, known is true: the scores use the embeddings");
  }
  const auto dim = static_cast<double>(config.d_model);
  detail::check_weights(kConfig, dim * static_cast<double>(config.vocab_size + config.max_target_positions) +
                                     static_cast<double>(config.decoder_layers) *
                                         (8 * dim * dim + 2 * dim * static_cast<double>(config.decoder_ffn_dim)));
  return config;
}

WhisperDecoderImpl::WhisperDecoderImpl(const WhisperDecoderConfig& config) {
  embed_tokens_ = register_module("embed_tokens", Embedding(config.vocab_size, config.d_model));
  embed_positions_ = register_module("embed_positions", Embedding(config.max_target_positions, config.d_model));
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config.decoder_layers; ++i) {
    layers_.push_back(std::make_shared<WhisperDecoderLayerImpl>(config));
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  layer_norm_ = register_module("layer_norm", LayerNorm(config.d_model));
}

WhisperDecoderState WhisperDecoderImpl::start(const Tensor& states) const {
  WhisperDecoderState state;
  const std::vector<std::int64_t> room{1, embed_positions_->weight.size(0), embed_positions_->weight.size(1)};
  for (const auto& layer : layers_) {
    const auto clip = layer->clip_keys_and_values(states);
    state.clip_keys.push_back(clip[0]);
    state.clip_values.push_back(clip[1]);
    state.token_keys.push_back(torch::empty(room, states.options()));
    state.token_values.push_back(torch::empty(room, states.options()));
  }
  return state;
}

Tensor WhisperDecoderImpl::forward(const Tensor& ids, WhisperDecoderState& state) const {
  constexpr const char* kWho = "WhisperDecoder";
  const std::int64_t count = ids.size(1);
  if (count > 1 && state.tokens > 0) {
    detail::bad_argument(kWho, count, " tokens after the first ", state.tokens, ", wanted one at a time");
  }
  if (state.tokens + count > embed_positions_->weight.size(0)) {
    detail::bad_argument(kWho, state.tokens + count, " tokens, at most ", embed_positions_->weight.size(0),
                         " have positions");
  }
  Tensor x = embed_tokens_->forward(ids) + embed_positions_->weight.narrow(0, state.tokens, count);
  for (std::size_t i = 0; i < layers_.size(); ++i) x = layers_[i]->forward(x, i, state);
  state.tokens += count;
  return layer_norm_->forward(x);
}

Tensor WhisperDecoderImpl::logits(const Tensor& hidden) const { return torch::linear(hidden, embed_tokens_->weight); }

}  // namespace trine
