#include "trine/encoders/wav2vec2.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "convolve.h"
#include "detail/error.h"
#include "encoders/activation.h"
#include "encoders/classifier_network.h"
#include "encoders/config.h"
#include "encoders/towers.h"
#include "linear/attention.h"
#include "linear/linear.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "Wav2Vec2Config";
constexpr const char* kExtractor = "Wav2Vec2FeatureExtractor";
constexpr const char* kLoad = "load_wav2vec2";
constexpr const char* kWavLm = "wavlm";
constexpr std::array<const char*, 3> kModelTypes{"wav2vec2", "hubert", kWavLm};
constexpr int kRate = 16'000;  // Hz
constexpr std::int64_t kMostSeconds = 60;
constexpr std::size_t kMostConvolutions = 32;
constexpr std::int64_t kMostSteps = 16'384;  // of the longest clip: attention grows with their square
constexpr double kMostValues = 1e9;          // in memory at once of the longest clip

std::vector<std::int64_t> read_sizes(const detail::Json& json, const char* key, std::int64_t most,
                                     std::vector<std::int64_t> fallback) {
  auto sizes = detail::get_or(kConfig, json, key, std::move(fallback));
  if (sizes.empty() || sizes.size() > kMostConvolutions) {
    detail::failure(kConfig, "\"", key, "\" has ", sizes.size(), " sizes, wanted 1 to ", kMostConvolutions);
  }
  for (const std::int64_t size : sizes) {
    if (size < 1 || size > most) detail::failure(kConfig, "\"", key, "\" has ", size, ", wanted 1 to ", most);
  }
  return sizes;
}

/// Steps of the longest clip. Refuses convolutions that are longer, or leave so much that memory would not hold it.
std::int64_t most_steps(const Wav2Vec2Config& config) {
  std::int64_t steps = kMostSeconds * kRate;
  for (std::size_t i = 0; i < config.conv_dim.size(); ++i) {
    if (config.conv_kernel[i] > steps) {
      detail::failure(kConfig, "\"conv_kernel\" and \"conv_stride\" want clips of over ", kMostSeconds, " s");
    }
    steps = (steps - config.conv_kernel[i]) / config.conv_stride[i] + 1;
    if (const double values = static_cast<double>(steps) * static_cast<double>(config.conv_dim[i]);
        values > kMostValues) {
      detail::failure(kConfig, "\"conv_dim\" and \"conv_stride\" make ", values, " values of ", kMostSeconds,
                      " s, at most ", kMostValues, " are accepted");
    }
  }
  if (steps > kMostSteps) {
    detail::failure(kConfig, "\"conv_stride\" makes ", steps, " steps of ", kMostSeconds, " s, at most ", kMostSteps,
                    " are accepted");
  }
  return steps;
}

ConvolutionNorm read_norm(const detail::Json& json) {
  const auto name = detail::get_or<std::string>(kConfig, json, "feat_extract_norm", "group");
  if (name == "group") return ConvolutionNorm::group;
  if (name == "layer") return ConvolutionNorm::layer;
  detail::failure(kConfig, "\"feat_extract_norm\" is ", detail::shown(name), ", known are group and layer");
}

Wav2Vec2Config read_config(const detail::Json& json) {
  Wav2Vec2Config config;
  config.model_type = detail::get_or(kConfig, json, "model_type", config.model_type);
  if (std::ranges::find(kModelTypes, config.model_type) == kModelTypes.end()) {
    detail::failure(kConfig, "\"model_type\" is ", detail::shown(config.model_type),
                    ", known are wav2vec2, hubert and wavlm");
  }
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.feat_extract_norm = read_norm(json);
  config.feat_extract_activation =
      detail::activation(kConfig, "feat_extract_activation",
                         detail::get_or<std::string>(kConfig, json, "feat_extract_activation", "gelu"));
  config.conv_dim = read_sizes(json, "conv_dim", 16'384, config.conv_dim);
  config.conv_stride = read_sizes(json, "conv_stride", 1'024, config.conv_stride);
  config.conv_kernel = read_sizes(json, "conv_kernel", 1'024, config.conv_kernel);
  if (config.conv_stride.size() != config.conv_dim.size() || config.conv_kernel.size() != config.conv_dim.size()) {
    detail::failure(kConfig, "\"conv_dim\", \"conv_stride\" and \"conv_kernel\" have ", config.conv_dim.size(), ", ",
                    config.conv_stride.size(), " and ", config.conv_kernel.size(), " sizes, wanted equally many");
  }
  const auto steps = static_cast<double>(most_steps(config));
  config.conv_bias = detail::get_or(kConfig, json, "conv_bias", config.conv_bias);
  config.num_conv_pos_embeddings =
      detail::read_size(kConfig, json, "num_conv_pos_embeddings", 4'096, config.num_conv_pos_embeddings);
  config.num_conv_pos_embedding_groups =
      detail::read_size(kConfig, json, "num_conv_pos_embedding_groups", config.transformer.hidden_size,
                        config.num_conv_pos_embedding_groups);
  detail::check_heads(kConfig, "num_conv_pos_embedding_groups", config.num_conv_pos_embedding_groups, "hidden_size",
                      config.transformer.hidden_size);
  config.do_stable_layer_norm = detail::get_or(kConfig, json, "do_stable_layer_norm", config.do_stable_layer_norm);
  if (config.model_type == "hubert") {
    config.feat_proj_layer_norm = detail::get_or(kConfig, json, "feat_proj_layer_norm", config.feat_proj_layer_norm);
    config.conv_pos_batch_norm = detail::get_or(kConfig, json, "conv_pos_batch_norm", config.conv_pos_batch_norm);
  }
  if (config.model_type == kWavLm) {
    config.num_buckets = detail::read_size(kConfig, json, "num_buckets", 65'536, config.num_buckets);
    config.max_bucket_distance =
        detail::read_size(kConfig, json, "max_bucket_distance", 1'000'000, config.max_bucket_distance);
    if (config.num_buckets < 4 || config.max_bucket_distance <= config.num_buckets / 4) {
      detail::failure(kConfig, "\"num_buckets\" is ", config.num_buckets, " and \"max_bucket_distance\" ",
                      config.max_bucket_distance, ", wanted at least 4 and more than a quarter of that");
    }
    if (const double values = static_cast<double>(config.transformer.num_attention_heads) * steps * steps;
        values > kMostValues) {
      detail::failure(kConfig, "\"num_attention_heads\" and \"conv_stride\" make ", values, " distances of ",
                      kMostSeconds, " s, at most ", kMostValues, " are accepted");
    }
  }
  if (detail::get_or(kConfig, json, "add_adapter", false)) {
    detail::failure(kConfig, "\"add_adapter\" is true, networks with an adapter behind them are not known");
  }
  if (json.contains("adapter_attn_dim") && !json.at("adapter_attn_dim").is_null()) {
    detail::failure(kConfig, "\"adapter_attn_dim\" is set, adapters of languages are not known");
  }
  double convolutions = 0;
  for (std::size_t i = 0; i < config.conv_dim.size(); ++i) {
    convolutions += static_cast<double>(config.conv_kernel[i]) * static_cast<double>(config.conv_dim[i]) *
                    static_cast<double>(i == 0 ? 1 : config.conv_dim[i - 1]);
  }
  const auto dim = static_cast<double>(config.transformer.hidden_size);
  detail::check_weights(kConfig, convolutions + dim * dim / static_cast<double>(config.num_conv_pos_embedding_groups) *
                                                    static_cast<double>(config.num_conv_pos_embeddings));
  detail::check_size(kConfig, config.transformer, config.conv_dim.back());
  return config;
}

}  // namespace

std::int64_t Wav2Vec2Config::min_samples() const {
  std::int64_t samples = 1;
  for (std::size_t i = conv_kernel.size(); i-- > 0;) {
    samples = (samples - 1) * conv_stride[i] + conv_kernel[i];
  }
  return samples;
}

Wav2Vec2Config Wav2Vec2Config::load(const std::filesystem::path& config_json) {
  return read_config(detail::read_json(kConfig, config_json));
}

/// Attention and a feed-forward part. (N, T, hidden_size) -> the same
class Wav2Vec2LayerImpl : public torch::nn::Module {
 public:
  Wav2Vec2LayerImpl(const Wav2Vec2Config& config, bool first)
      : stable_(config.do_stable_layer_norm),
        heads_(config.transformer.num_attention_heads),
        buckets_(config.num_buckets),
        farthest_(config.max_bucket_distance),
        activation_(config.transformer.hidden_act) {
    const std::int64_t dim = config.transformer.hidden_size;
    const auto attention = register_module("attention", std::make_shared<torch::nn::Module>());
    const Linear query = attention->register_module("q_proj", Linear(dim, dim));
    const Linear key = attention->register_module("k_proj", Linear(dim, dim));
    qkv_ = detail::InferenceLinear({query, key, attention->register_module("v_proj", Linear(dim, dim))});
    out_ = detail::InferenceLinear({attention->register_module("out_proj", Linear(dim, dim))});
    if (config.model_type == kWavLm) {
      gate_scale_ = attention->register_parameter("gru_rel_pos_const", torch::empty({1, heads_, 1, 1}));
      gates_ = attention->register_module("gru_rel_pos_linear", Linear(dim / heads_, 8));
      if (first) distances_ = attention->register_module("rel_attn_embed", Embedding(buckets_, heads_));
    }
    attention_norm_ = register_module("layer_norm", LayerNorm(dim, config.transformer.layer_norm_eps));
    const std::int64_t hidden = config.transformer.intermediate_size;
    expand_ = detail::InferenceLinear({register_at(*this, "feed_forward.intermediate_dense", Linear(dim, hidden))});
    contract_ = detail::InferenceLinear({register_at(*this, "feed_forward.output_dense", Linear(hidden, dim))});
    final_norm_ = register_module("final_layer_norm", LayerNorm(dim, config.transformer.layer_norm_eps));
  }

  /// `distances` (heads, T, T) of WavLM, else undefined
  Tensor forward(const Tensor& x, const Tensor& distances) const {
    if (stable_) {
      const Tensor y = attend(attention_norm_->forward(x), x, distances);
      return feed(final_norm_->forward(y), y);
    }
    const Tensor y = attention_norm_->forward(attend(x, x, distances));
    return final_norm_->forward(feed(y, y));
  }

  /// What attention adds for how far a key lies from a query: of the first layer, used by all. Buckets are made on the
  /// CPU: another logarithm could round a distance into another one. -> (heads, T, T)
  Tensor distances(std::int64_t steps) const {
    const Tensor places = torch::arange(steps);
    const Tensor offsets = places.unsqueeze(0) - places.unsqueeze(1);
    const std::int64_t half = buckets_ / 2, exact = half / 2;  // buckets of one side; those of one distance each
    const Tensor far = offsets.abs();
    const Tensor logarithmic = (exact + torch::log(far.to(torch::kFloat32) / static_cast<double>(exact)) /
                                            std::log(static_cast<double>(farthest_) / static_cast<double>(exact)) *
                                            static_cast<double>(half - exact))
                                   .clamp(0, static_cast<double>(half - 1))
                                   .to(torch::kInt64);
    const Tensor bucket = (offsets > 0).to(torch::kInt64) * half + torch::where(far < exact, far, logarithmic);
    return distances_->forward(bucket.to(distances_->weight.device())).permute({2, 0, 1});
  }

 private:
  /// `input` plus what attention makes of `x`
  Tensor attend(const Tensor& x, const Tensor& input, const Tensor& distances) const {
    Tensor bias;
    if (distances.defined()) {
      const Tensor parts = x.unflatten(-1, {heads_, -1}).transpose(1, 2);  // (N, heads, T, dim of a head)
      const Tensor two = gates_->forward(parts).unflatten(-1, {2, 4}).sum(-1).sigmoid();  // (N, heads, T, 2)
      const Tensor gate = two.narrow(-1, 0, 1) * (two.narrow(-1, 1, 1) * gate_scale_ - 1.0) + 2.0;
      bias = gate * distances;
    }
    const auto qkv = qkv_.forward(x).chunk(3, -1);
    return out_.forward_add(detail::attention_after(qkv_.precision(), qkv[0], qkv[1], qkv[2], heads_, bias), input);
  }

  /// `input` plus what the feed-forward part makes of `x`
  Tensor feed(const Tensor& x, const Tensor& input) const {
    return detail::feed_forward(expand_, activation_, contract_, x, input);
  }

  bool stable_;
  std::int64_t heads_;
  std::int64_t buckets_;
  std::int64_t farthest_;
  Activation activation_;
  detail::InferenceLinear qkv_, out_, expand_, contract_;
  Tensor gate_scale_;
  Linear gates_{nullptr};
  Embedding distances_{nullptr};
  LayerNorm attention_norm_{nullptr}, final_norm_{nullptr};
};

Wav2Vec2Impl::Wav2Vec2Impl(const Wav2Vec2Config& config, PositionWeight position_weight) : config_(config) {
  const std::int64_t dim = config.transformer.hidden_size;
  const double eps = config.transformer.layer_norm_eps;
  torch::nn::ModuleList convolutions;
  for (std::size_t i = 0; i < config.conv_dim.size(); ++i) {
    const auto layer = std::make_shared<torch::nn::Module>();
    const auto conv = layer->register_module("conv", std::make_shared<torch::nn::Module>());
    const std::int64_t in = i == 0 ? 1 : config.conv_dim[i - 1], out = config.conv_dim[i];
    Convolution& parts = convolutions_.emplace_back();
    parts.weight = conv->register_parameter("weight", torch::empty({out, in, config.conv_kernel[i]}));
    if (config.conv_bias) parts.bias = conv->register_parameter("bias", torch::empty({out}));
    if (config.feat_extract_norm == ConvolutionNorm::layer || i == 0) {
      const auto norm = layer->register_module("layer_norm", std::make_shared<torch::nn::Module>());
      parts.norm_weight = norm->register_parameter("weight", torch::empty({out}));
      parts.norm_bias = norm->register_parameter("bias", torch::empty({out}));
    }
    convolutions->push_back(layer);
  }
  register_at(*this, "feature_extractor.conv_layers", convolutions);
  const auto projection = register_module("feature_projection", std::make_shared<torch::nn::Module>());
  if (config.feat_proj_layer_norm) {
    projection_norm_ = projection->register_module("layer_norm", LayerNorm(config.conv_dim.back(), eps));
  }
  projection_ = projection->register_module("projection", Linear(config.conv_dim.back(), dim));

  const auto encoder = register_module("encoder", std::make_shared<torch::nn::Module>());
  const auto embed = encoder->register_module("pos_conv_embed", std::make_shared<torch::nn::Module>());
  const auto conv = embed->register_module("conv", std::make_shared<torch::nn::Module>());
  const Tensor weight = torch::empty({dim, dim / config.num_conv_pos_embedding_groups, config.num_conv_pos_embeddings});
  const Tensor scale = torch::empty({1, 1, config.num_conv_pos_embeddings});
  if (config.conv_pos_batch_norm) position_weight = PositionWeight::plain;
  switch (position_weight) {
    case PositionWeight::plain:
      position_weight_ = conv->register_parameter("weight", weight);
      break;
    case PositionWeight::weight_norm:
      position_scale_ = conv->register_parameter("weight_g", scale);
      position_weight_ = conv->register_parameter("weight_v", weight);
      break;
    case PositionWeight::parametrized: {
      const auto parts = register_at(*conv, "parametrizations.weight", std::make_shared<torch::nn::Module>());
      position_scale_ = parts->register_parameter("original0", scale);
      position_weight_ = parts->register_parameter("original1", weight);
      break;
    }
  }
  position_bias_ = conv->register_parameter("bias", torch::empty({dim}));
  if (config.conv_pos_batch_norm) {
    const auto batch = embed->register_module("batch_norm", std::make_shared<torch::nn::Module>());
    batch_weight_ = batch->register_parameter("weight", torch::empty({dim}));
    batch_bias_ = batch->register_parameter("bias", torch::empty({dim}));
    batch_mean_ = batch->register_buffer("running_mean", torch::empty({dim}));
    batch_var_ = batch->register_buffer("running_var", torch::empty({dim}));
  }
  norm_ = encoder->register_module("layer_norm", LayerNorm(dim, eps));
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config.transformer.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<Wav2Vec2LayerImpl>(config, i == 0));
    layers->push_back(layers_.back());
  }
  encoder->register_module("layers", layers);
}

Tensor Wav2Vec2Impl::extract(const Tensor& samples) const {
  constexpr double kEps = 1e-5;
  Tensor x = samples.unsqueeze(1);  // (N, channels, T)
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    const Convolution& parts = convolutions_[i];
    x = detail::convolve(x, parts.weight, parts.bias, {config_.conv_stride[i]}, {0}, {1});
    if (parts.norm_weight.defined()) {
      x = config_.feat_extract_norm == ConvolutionNorm::group
              ? torch::group_norm(x, x.size(1), parts.norm_weight, parts.norm_bias, kEps)
              : torch::layer_norm(x.transpose(1, 2), {x.size(1)}, parts.norm_weight, parts.norm_bias, kEps)
                    .transpose(1, 2);
    }
    x = activate(x, config_.feat_extract_activation);
  }
  return x.transpose(1, 2);
}

Tensor Wav2Vec2Impl::position_kernel() const {
  if (!position_scale_.defined()) return position_weight_;
  return position_weight_ * (position_scale_ / position_weight_.square().sum({0, 1}, true).sqrt());
}

void Wav2Vec2Impl::prepare() {
  const torch::NoGradGuard no_grad;
  prepared_kernel_ = position_kernel();
}

void Wav2Vec2Impl::unprepare() { prepared_kernel_ = Tensor(); }

Tensor Wav2Vec2Impl::positions(const Tensor& states) const {
  Tensor x = states.transpose(1, 2);
  if (batch_weight_.defined()) {
    x = torch::batch_norm(x, batch_weight_, batch_bias_, batch_mean_, batch_var_, /*training=*/false, 0.0, 1e-5, false);
  }
  const Tensor weight = prepared_kernel_.defined() ? prepared_kernel_ : position_kernel();
  const std::int64_t kernel = config_.num_conv_pos_embeddings;
  const Tensor y =
      detail::convolve(x, weight, position_bias_, {1}, {kernel / 2}, {1}, config_.num_conv_pos_embedding_groups);
  return activate(y.slice(2, 0, x.size(2)), config_.feat_extract_activation).transpose(1, 2);
}

std::vector<Tensor> Wav2Vec2Impl::states(const Tensor& samples) const {
  if (samples.dim() != 2 || samples.size(1) < config_.min_samples()) {
    detail::bad_argument("Wav2Vec2", "samples are (N, ", config_.min_samples(), " or more), got ", samples.sizes());
  }
  const Tensor features = extract(samples);
  Tensor x = projection_->forward(projection_norm_.is_empty() ? features : projection_norm_->forward(features));
  x = x + positions(x);
  if (!config_.do_stable_layer_norm) x = norm_->forward(x);
  std::vector<Tensor> all{x};
  const Tensor distances = config_.model_type == kWavLm ? layers_.front()->distances(x.size(1)) : Tensor();
  for (const auto& layer : layers_) all.push_back(layer->forward(all.back(), distances));
  if (config_.do_stable_layer_norm) all.back() = norm_->forward(all.back());
  return all;
}

Tensor Wav2Vec2Impl::forward(const Tensor& samples) const { return states(samples).back(); }

namespace {

/// Samples of mean 0 and variance 1 where the directory wants that.
struct Extractor {
  bool do_normalize = true;

  Tensor operator()(std::span<const float> samples) const {
    const Tensor x = torch::tensor(at::ArrayRef<float>(samples.data(), samples.size()));
    return do_normalize ? (x - x.mean()) / torch::sqrt(x.var(/*unbiased=*/false) + 1e-7) : x;
  }
};

Extractor read_extractor(const std::filesystem::path& directory) {
  const detail::Json json = detail::read_extractor(kExtractor, directory, kExtractor);
  if (const int rate = detail::get_or(kExtractor, json, "sampling_rate", kRate); rate != kRate) {
    detail::failure(kExtractor, "\"sampling_rate\" is ", rate, ", known is ", kRate);
  }
  return {detail::get_or(kExtractor, json, "do_normalize", true)};
}

/// A directory's network and what it tells of itself.
struct Loaded {
  Wav2Vec2Config config;
  Extractor extractor;
  std::string prefix;  ///< of the network's keys
  Wav2Vec2 network{nullptr};
};

class Wav2Vec2Tower : public detail::AudioTower {
 public:
  Wav2Vec2Tower(const Loaded& loaded, std::int64_t dim, Function forward, const Description& lines)
      : AudioTower(loaded.config.model_type,
                   {.sample_rate = kRate, .least = loaded.config.min_samples(), .most = kMostSeconds * kRate}, dim,
                   loaded.extractor, std::move(forward), lines, {{loaded.prefix, loaded.network.ptr()}}),
        network_(loaded.network) {}

  std::vector<TrainablePart> trainable() override {
    network_->unprepare();
    return AudioTower::trainable();
  }

 private:
  Wav2Vec2 network_;
};

Loaded load(const detail::ModelFiles& files) {
  Loaded loaded{read_config(files.config), read_extractor(files.directory), {}};
  const std::string inside = loaded.config.model_type + ".";  // models with a head write it
  if (files.checkpoint.contains(inside + "encoder.layer_norm.weight")) loaded.prefix = inside;
  const std::string conv = loaded.prefix + "encoder.pos_conv_embed.conv.";
  loaded.network = Wav2Vec2(loaded.config, files.checkpoint.contains(conv + "weight_g") ? PositionWeight::weight_norm
                                           : files.checkpoint.contains(conv + "weight") ? PositionWeight::plain
                                                                                        : PositionWeight::parametrized);
  detail::load_tower(kLoad, *loaded.network, files.checkpoint, loaded.prefix,
                     {"masked_spec_embed", "num_batches_tracked"});
  loaded.network->prepare();
  return loaded;
}

std::unique_ptr<AudioEncoder> tower(const Loaded& loaded, std::int64_t dim, detail::AudioTower::Function forward,
                                    const std::string& pooling, const torch::nn::Module& module) {
  Description lines{{"scaling", loaded.extractor.do_normalize ? "mean 0 and variance 1 of each clip" : "none"},
                    {"padding", "none: each clip on its own length"}};
  const Description network = detail::describe_network(loaded.config.transformer, pooling, module);
  lines.insert(lines.end(), network.begin(), network.end());
  return std::make_unique<Wav2Vec2Tower>(loaded, dim, std::move(forward), lines);
}

}  // namespace

std::unique_ptr<AudioEncoder> load_wav2vec2(const std::filesystem::path& directory) {
  const Loaded loaded = load(detail::open_model(kLoad, directory));
  const auto forward = [extract = loaded.extractor, network = loaded.network,
                        place = detail::Place()](std::span<const float> samples) {
    return place.run([&](const Tensor& x) { return network->forward(x).squeeze(0); }, extract(samples).unsqueeze(0));
  };
  return tower(loaded, loaded.config.transformer.hidden_size, forward, "none, a vector a step", *loaded.network);
}

std::unique_ptr<AudioEncoder> detail::wav2vec2_classifier(const ModelFiles& files, std::int64_t labels) {
  const Loaded loaded = load(files);
  const std::int64_t width = read_size(kConfig, files.config, "classifier_proj_size", 65'536, 256);
  const bool weighted = get_or(kConfig, files.config, "use_weighted_layer_sum", false);
  const std::int64_t dim = loaded.config.transformer.hidden_size;
  check_weights(kConfig, static_cast<double>(width) * static_cast<double>(dim + labels));
  torch::nn::Module head;
  const Linear projector = head.register_module("projector", Linear(dim, width));
  const Linear classifier = head.register_module("classifier", Linear(width, labels));
  Tensor weights;
  if (weighted) {
    weights = head.register_parameter("layer_weights", torch::empty({loaded.config.transformer.num_hidden_layers + 1}));
  }
  load_weights(head, files.checkpoint);
  if (weighted) weights = weights.detach().softmax(0);
  head.register_module("network", loaded.network);  // counted with it
  const auto forward = [extract = loaded.extractor, network = loaded.network, projector, classifier, weights,
                        place = Place()](std::span<const float> samples) {
    const auto classify = [&](const Tensor& x) {
      const std::vector<Tensor> states = network->states(x);
      const Tensor mixed =
          weights.defined() ? (torch::stack(states, 1) * weights.view({-1, 1, 1})).sum(1) : states.back();
      return classifier->forward(projector->forward(mixed).mean(1));
    };
    return place.run(classify, extract(samples).unsqueeze(0));
  };
  return tower(loaded, labels, forward,
               std::string(weighted ? "weighted sum of all layers" : "the last layer") + ", linear, mean, linear",
               head);
}

}  // namespace trine
