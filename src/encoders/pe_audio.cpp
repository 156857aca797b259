#include "trine/encoders/pe_audio.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/activation.h"
#include "encoders/config.h"
#include "encoders/rotation.h"
#include "encoders/text_network.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "PeAudioConfig";
constexpr const char* kLoad = "load_pe_audio";
constexpr const char* kModelType = "pe_audio";
constexpr double kHeadEps = 1e-6;
constexpr double kGroupEps = 1e-5;
constexpr std::array<std::int64_t, 3> kDilations{1, 3, 9};
constexpr std::int64_t kKernel = 7;

PeAudioEncoderConfig read_audio(const detail::Json& json) {
  PeAudioEncoderConfig config;
  const auto size = [&](const char* key, std::int64_t most, std::int64_t fallback) {
    return detail::read_size(kConfig, json, key, most, fallback);
  };
  config.hidden_size = size("hidden_size", 16'384, config.hidden_size);
  config.intermediate_size = size("intermediate_size", 65'536, config.intermediate_size);
  config.num_hidden_layers = size("num_hidden_layers", 256, config.num_hidden_layers);
  config.num_attention_heads = size("num_attention_heads", 256, config.num_attention_heads);
  config.num_key_value_heads = size("num_key_value_heads", 256, config.num_attention_heads);
  config.head_dim = size("head_dim", 1'024, config.head_dim);
  config.hidden_act = detail::read_activation(kConfig, json, "hidden_act", config.hidden_act);
  config.rms_norm_eps = detail::read_epsilon(kConfig, json, "rms_norm_eps", config.rms_norm_eps);
  config.attention_bias = detail::get_or(kConfig, json, "attention_bias", config.attention_bias);
  detail::check_heads(kConfig, "num_key_value_heads", config.num_key_value_heads, "num_attention_heads",
                      config.num_attention_heads);
  if (config.head_dim % 2 != 0) {
    detail::failure(kConfig, "\"head_dim\" is ", config.head_dim, ", rotary positions want an even number");
  }
  const detail::Json rope = detail::get_or(kConfig, json, "rope_parameters", detail::Json::object());
  if (const auto type = detail::get_or<std::string>(kConfig, rope, "rope_type", "default"); type != "default") {
    detail::failure(kConfig, "\"rope_type\" is ", detail::shown(type), ", known is default");
  }
  config.rope_theta = detail::get_or(kConfig, rope, "rope_theta", config.rope_theta);
  if (!(config.rope_theta > 0 && config.rope_theta < 1e12)) {
    detail::failure(kConfig, "\"rope_theta\" is ", config.rope_theta, ", wanted above 0 and below 1e12");
  }

  const detail::Json dac = detail::get_or(kConfig, json, "dac_config", detail::Json::object());
  config.encoder_hidden_size =
      detail::read_size(kConfig, dac, "encoder_hidden_size", 1'024, config.encoder_hidden_size);
  config.codebook_dim = detail::read_size(kConfig, dac, "codebook_dim", 16'384, config.codebook_dim);
  config.downsampling_ratios = detail::get_or(kConfig, dac, "downsampling_ratios", config.downsampling_ratios);
  const auto& ratios = config.downsampling_ratios;
  if (ratios.empty() || ratios.size() > 8 ||
      std::any_of(ratios.begin(), ratios.end(), [](std::int64_t r) { return r < 1 || r > 64; })) {
    detail::failure(kConfig, "\"downsampling_ratios\" has ", ratios.size(), " values, wanted 1 to 8 of 1 to 64 each");
  }
  const auto dim = static_cast<double>(config.hidden_size), channels = static_cast<double>(config.codec_channels());
  const double heads = static_cast<double>(config.head_dim * config.num_attention_heads);
  detail::check_weights(kConfig, 8 * dim * dim + 64 * channels * channels +
                                     static_cast<double>(config.num_hidden_layers) * dim *
                                         (4 * heads + 3 * static_cast<double>(config.intermediate_size)));
  return config;
}

/// transformers' defaults of the text tower are not ModernBERT's.
detail::Json text_part(const detail::Json& json) {
  detail::Json part{{"vocab_size", 50'368},
                    {"hidden_size", 1'024},
                    {"intermediate_size", 2'624},
                    {"num_hidden_layers", 22},
                    {"num_attention_heads", 16}};
  const detail::Json own = detail::read_part(kConfig, json, "text_config");
  if (const auto type = detail::get_or<std::string>(kConfig, own, "model_type", "modernbert"); type != "modernbert") {
    detail::failure(kConfig, "\"model_type\" of the texts is ", detail::shown(type), ", known is modernbert");
  }
  part.update(own);
  return part;
}

/// Scale of each channel by the root of the mean square. (..., dim) -> the same
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  return weight * (x * torch::rsqrt(x.pow(2).mean(-1, /*keepdim=*/true) + eps));
}

/// The codec's activation: x + sin^2(alpha x) / alpha, with an alpha for each channel (1, C, 1).
struct Snake : torch::nn::Module {
  explicit Snake(std::int64_t channels) : alpha(register_parameter("alpha", torch::empty({1, channels, 1}))) {}
  Tensor forward(const Tensor& x) const { return x + (alpha + 1e-9).reciprocal() * torch::sin(alpha * x).pow(2); }

  Tensor alpha;
};

/// A convolution that looks further apart, and one of each step. (N, C, T) -> the same
struct ResidualUnit : torch::nn::Module {
  ResidualUnit(std::int64_t channels, std::int64_t step)
      : dilation(step),
        snake1(register_module("snake1", std::make_shared<Snake>(channels))),
        wide(register_module("conv1", Conv1d(channels, channels, kKernel))),
        snake2(register_module("snake2", std::make_shared<Snake>(channels))),
        narrow(register_module("conv2", Conv1d(channels, channels, 1))) {}

  Tensor forward(const Tensor& x) const {
    const Tensor y = torch::conv1d(snake1->forward(x), wide->weight, wide->bias, /*stride=*/1,
                                   /*padding=*/(kKernel - 1) * dilation / 2, dilation);
    return x + narrow->forward(snake2->forward(y));
  }

  std::int64_t dilation;
  std::shared_ptr<Snake> snake1;
  Conv1d wide;
  std::shared_ptr<Snake> snake2;
  Conv1d narrow;
};

/// Three of them, then `stride` times fewer steps of twice the channels.
struct CodecBlock : torch::nn::Module {
  CodecBlock(std::int64_t channels, std::int64_t stride) {
    for (std::size_t i = 0; i < kDilations.size(); ++i) {
      units.push_back(
          register_module("res_unit" + std::to_string(i + 1), std::make_shared<ResidualUnit>(channels, kDilations[i])));
    }
    snake = register_module("snake1", std::make_shared<Snake>(channels));
    down = register_module("conv1", Conv1d(channels, 2 * channels, 2 * stride, stride, (stride + 1) / 2));
  }

  Tensor forward(const Tensor& input) const {
    Tensor x = input;
    for (const auto& unit : units) x = unit->forward(x);
    return down->forward(snake->forward(x));
  }

  std::vector<std::shared_ptr<ResidualUnit>> units;
  std::shared_ptr<Snake> snake;
  Conv1d down{nullptr};
};

/// What makes a pooled state a vector of the shared space.
struct Head : torch::nn::Module {
  Head(std::int64_t in, std::int64_t out)
      : norm(register_module("layer_norm", LayerNorm(in, kHeadEps))),
        projection(register_module("proj", Linear(in, out, /*with_bias=*/false))) {}
  Tensor forward(const Tensor& x) const { return projection->forward(norm->forward(x)); }

  LayerNorm norm;
  Linear projection;
};

/// Pairs of neighbouring channels turn by the step; the class token is step 0.
Rotation make_rotation(const PeAudioEncoderConfig& config, std::int64_t steps) {
  const Tensor exponents = torch::arange(0, config.head_dim, 2).to(torch::kFloat32) / config.head_dim;
  const Tensor frequencies = torch::pow(config.rope_theta, exponents).reciprocal();
  const Tensor angles = torch::arange(steps).to(torch::kFloat32).unsqueeze(1) * frequencies;
  return {angles.cos().repeat_interleave(2, -1), angles.sin().repeat_interleave(2, -1)};
}

/// Filled up with its own mirror image to whole steps. (n), n >= 1 -> (steps * hop)
Tensor whole_steps(std::span<const float> samples, std::int64_t hop) {
  const std::int64_t count = std::ssize(samples), period = std::max<std::int64_t>(1, 2 * (count - 1));
  Tensor padded = torch::empty({(count + hop - 1) / hop * hop});
  float* out = padded.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < padded.size(0); ++i) {
    const std::int64_t place = i % period;
    out[i] = samples[static_cast<std::size_t>(place < count ? place : period - place)];
  }
  return padded;
}

class PeAudioTextEncoder : public TextEncoder {
 public:
  PeAudioTextEncoder(const detail::ModelFiles& files, const ModernBertConfig& config)
      : model_(kLoad, files, network_of(config)), head_(config.hidden_size, config.hidden_size) {
    detail::load_tower(kLoad, head_, files.checkpoint, "text_audio_head.");
  }

  std::int64_t dim() const override { return head_.projection->weight.size(0); }
  std::int64_t max_tokens() const override { return model_.max_tokens(); }
  const Tokenizer& tokenizer() const override { return model_.tokenizer(); }

  Tensor encode(const std::vector<std::string>& texts) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    return model_.run(texts, dim(),
                      [this](const Tensor& hidden, const Tensor&) { return head_.forward(hidden.select(1, 0)); });
  }

  Description describe() const override {
    Description lines = model_.describe();
    lines.emplace_back("pooling", "the first token, then a norm and a linear layer");
    lines.emplace_back("parameters", std::to_string(model_.count_parameters() + detail::count_parameters(head_)));
    return lines;
  }

 private:
  static detail::TextNetwork network_of(const ModernBertConfig& config) {
    detail::TextNetwork network = detail::modernbert_network(config);
    network.model_type = kModelType;
    network.prefix = "text_model.";
    return network;
  }

  detail::TextModel model_;
  Head head_;
};

std::unique_ptr<AudioEncoder> load_audio(const std::filesystem::path& directory, const PeAudioConfig& config,
                                         const Checkpoint& checkpoint, const PeAudioOptions& options) {
  const detail::Json json = detail::read_extractor(kLoad, directory, "PeAudioFeatureExtractor");
  const auto rate = static_cast<int>(detail::read_size(kLoad, json, "sampling_rate", 768'000, 48'000));
  const std::int64_t hop = detail::read_size(kLoad, json, "hop_length", 1 << 20, 1'920);
  const PeAudioEncoderConfig& audio = config.audio_config;
  if (hop % audio.hop_length() != 0) {
    detail::failure(kLoad, "\"hop_length\" of the feature extractor is ", hop, ", the network's steps have ",
                    audio.hop_length(), " samples");
  }
  if (!(options.max_seconds > 0 && options.max_seconds <= 3'600)) {
    detail::bad_argument(kLoad, "max_seconds is ", options.max_seconds, ", wanted above 0, at most 3600");
  }
  PeAudioEncoder network(audio);
  detail::load_tower(kLoad, *network, checkpoint, "audio_encoder.");
  const auto head = std::make_shared<Head>(audio.hidden_size, config.text_config.hidden_size);
  detail::load_tower(kLoad, *head, checkpoint, "audio_head.");
  const Description lines{
      {"padding", "its mirror image to whole steps of " + std::to_string(hop) + " samples"},
      {"codec", "DAC's encoder, a step for each " + std::to_string(audio.hop_length()) + " samples"},
      {"activation", std::string(to_string(audio.hidden_act)) + ", gated"},
      {"pooling", "the class token, then a norm and a linear layer"},
      {"parameters", std::to_string(detail::count_parameters(*network) + detail::count_parameters(*head))}};
  const auto extract = [hop](std::span<const float> samples) { return whole_steps(samples, hop); };
  return std::make_unique<detail::AudioTower>(
      kModelType,
      detail::ClipLimits{
          .sample_rate = rate, .least = 1, .most = static_cast<std::int64_t>(options.max_seconds * rate)},
      config.text_config.hidden_size, extract,
      [extract, network, head](std::span<const float> samples) {
        return head->forward(network->forward(extract(samples).view({1, 1, -1})).select(1, 0));
      },
      lines);
}

}  // namespace

/// The encoder of the codec. (N, 1, steps * hop_length) -> (N, codec_channels, steps)
class PeAudioCodecImpl : public torch::nn::Module {
 public:
  explicit PeAudioCodecImpl(const PeAudioEncoderConfig& config) {
    std::int64_t channels = config.encoder_hidden_size;
    first_ = register_module("conv1", Conv1d(1, channels, kKernel, 1, kKernel / 2));
    torch::nn::ModuleList blocks;
    for (const std::int64_t stride : config.downsampling_ratios) {
      blocks_.push_back(std::make_shared<CodecBlock>(channels, stride));
      blocks->push_back(blocks_.back());
      channels *= 2;
    }
    register_module("block", blocks);
    snake_ = register_module("snake1", std::make_shared<Snake>(channels));
    last_ = register_module("conv2", Conv1d(channels, channels, 3, 1, 1));
  }

  Tensor forward(const Tensor& samples) const {
    Tensor x = first_->forward(samples);
    for (const auto& block : blocks_) x = block->forward(x);
    return last_->forward(snake_->forward(x));
  }

 private:
  Conv1d first_{nullptr};
  std::vector<std::shared_ptr<CodecBlock>> blocks_;
  std::shared_ptr<Snake> snake_;
  Conv1d last_{nullptr};
};

/// Attention with normed queries and keys and a gated feed-forward part, each with a norm before it.
/// (N, T, hidden_size) -> (N, T, hidden_size)
class PeAudioLayerImpl : public torch::nn::Module {
 public:
  explicit PeAudioLayerImpl(const PeAudioEncoderConfig& config)
      : heads_(config.num_attention_heads),
        groups_(config.num_attention_heads / config.num_key_value_heads),
        head_dim_(config.head_dim),
        eps_(config.rms_norm_eps),
        activation_(config.hidden_act) {
    const std::int64_t dim = config.hidden_size, all = heads_ * head_dim_, fewer = all / groups_;
    const auto norm = [&](const char* path, std::int64_t size) {
      return register_at(*this, path, std::make_shared<torch::nn::Module>())
          ->register_parameter("weight", torch::empty({size}));
    };
    query_ = register_at(*this, "self_attn.q_proj", Linear(dim, all, config.attention_bias));
    key_ = register_at(*this, "self_attn.k_proj", Linear(dim, fewer, config.attention_bias));
    value_ = register_at(*this, "self_attn.v_proj", Linear(dim, fewer, config.attention_bias));
    out_ = register_at(*this, "self_attn.o_proj", Linear(all, dim, config.attention_bias));
    query_norm_ = norm("self_attn.q_norm", head_dim_);
    key_norm_ = norm("self_attn.k_norm", head_dim_);
    gate_ = register_at(*this, "mlp.gate_proj", Linear(dim, config.intermediate_size, /*with_bias=*/false));
    up_ = register_at(*this, "mlp.up_proj", Linear(dim, config.intermediate_size, /*with_bias=*/false));
    down_ = register_at(*this, "mlp.down_proj", Linear(config.intermediate_size, dim, /*with_bias=*/false));
    attention_norm_ = norm("input_layernorm", dim);
    feed_forward_norm_ = norm("post_attention_layernorm", dim);
  }

  Tensor forward(const Tensor& input, const Rotation& rotation) const {
    const Tensor a = rms_norm(input, attention_norm_, eps_);
    const auto split = [&](const Tensor& x) { return x.unflatten(-1, {-1, head_dim_}); };
    const auto ready = [&](const Tensor& x, const Tensor& norm) {
      return detail::turn(rms_norm(split(x), norm, eps_), rotation);
    };
    const auto shared = [&](const Tensor& x) { return x.repeat_interleave(groups_, 2).flatten(2); };
    const Tensor q = ready(query_->forward(a), query_norm_).flatten(2);
    const Tensor k = shared(ready(key_->forward(a), key_norm_)), v = shared(split(value_->forward(a)));
    const Tensor x = input + out_->forward(self_attention(q, k, v, heads_));
    const Tensor b = rms_norm(x, feed_forward_norm_, eps_);
    return x + down_->forward(activate(gate_->forward(b), activation_) * up_->forward(b));
  }

 private:
  std::int64_t heads_, groups_, head_dim_;
  double eps_;
  Activation activation_;
  Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, out_{nullptr};
  Tensor query_norm_, key_norm_;
  Linear gate_{nullptr}, up_{nullptr}, down_{nullptr};
  Tensor attention_norm_, feed_forward_norm_;
};

std::int64_t PeAudioEncoderConfig::hop_length() const {
  std::int64_t hop = 1;
  for (const std::int64_t ratio : downsampling_ratios) hop *= ratio;
  return hop;
}

std::int64_t PeAudioEncoderConfig::codec_channels() const { return encoder_hidden_size << downsampling_ratios.size(); }

PeAudioConfig PeAudioConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  if (const auto type = detail::get<std::string>(kConfig, json, "model_type"); type != kModelType) {
    detail::failure(kConfig, "\"model_type\" is ", detail::shown(type), ", known is ", kModelType);
  }
  return {.audio_config = read_audio(detail::read_part(kConfig, json, "audio_config")),
          .text_config = detail::read_modernbert(text_part(json))};
}

PeAudioEncoderImpl::PeAudioEncoderImpl(const PeAudioEncoderConfig& config) : config_(config) {
  const std::int64_t dim = config.hidden_size;
  codec_ = register_at(*this, "embedder.dac_encoder", std::make_shared<PeAudioCodecImpl>(config));
  bottleneck_ = register_at(*this, "embedder.bottleneck", Conv1d(config.codec_channels(), config.codebook_dim, 1));
  data_projection_ = register_at(*this, "embedder.data_proj", Linear(config.codebook_dim, dim));
  class_embedding_ = register_at(*this, "patch_embedder", std::make_shared<torch::nn::Module>())
                         ->register_parameter("class_embedding", torch::empty({1, 1, dim}));
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    const std::string block = "patch_embedder.resnet_block.block" + std::to_string(i + 1);
    group_norms_[i] = register_at(*this, block + ".groupnorm", LayerNorm(dim, kGroupEps));
    convolutions_[i] = register_at(*this, block + ".project", Conv1d(dim, dim, 3, 1, 1));
  }
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<PeAudioLayerImpl>(config));
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  norm_ =
      register_module("norm", std::make_shared<torch::nn::Module>())->register_parameter("weight", torch::empty({dim}));
  output_ = register_module("output", Linear(dim, dim, /*with_bias=*/false));
}

Tensor PeAudioEncoderImpl::forward(const Tensor& samples) const {
  const std::int64_t hop = config_.hop_length();
  if (samples.dim() != 3 || samples.size(1) != 1 || samples.size(2) < hop || samples.size(2) % hop != 0) {
    detail::bad_argument("PeAudioEncoder", "samples are (N, 1, a multiple of ", hop, "), got ", samples.sizes());
  }
  const Tensor codes = bottleneck_->forward(codec_->forward(samples)).transpose(1, 2);
  const Tensor embedded =
      torch::cat({class_embedding_.expand({samples.size(0), 1, -1}), data_projection_->forward(codes)}, 1);
  Tensor y = embedded.transpose(1, 2);  // (N, hidden_size, T)
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    y = torch::group_norm(y, /*num_groups=*/1, group_norms_[i]->weight, group_norms_[i]->bias, kGroupEps);
    y = convolutions_[i]->forward(torch::silu(y));
  }
  Tensor x = embedded + y.transpose(1, 2);
  const Rotation rotation = make_rotation(config_, x.size(1));
  for (const auto& layer : layers_) x = layer->forward(x, rotation);
  return output_->forward(rms_norm(x, norm_, config_.rms_norm_eps));
}

AnyEncoder load_pe_audio(const std::filesystem::path& directory, const PeAudioOptions& options) {
  const PeAudioConfig config = PeAudioConfig::load(directory / "config.json");
  const detail::ModelFiles files = detail::open_model(kLoad, directory);
  return {.text = std::make_unique<PeAudioTextEncoder>(files, config.text_config),
          .audio = load_audio(directory, config, files.checkpoint, options)};
}

}  // namespace trine
