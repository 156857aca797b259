#include "trine/encoders/whisper.h"

#include <sstream>
#include <string>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/config.h"
#include "encoders/text_network.h"
#include "encoders/whisper_attention.h"
#include "linear/linear.h"
#include "trine/encoders/gradients.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "WhisperConfig";
constexpr const char* kEncode = "encode";
constexpr int kRate = 16'000;        // Hz
constexpr std::int64_t kHop = 160;   // samples of a mel frame
constexpr std::int64_t kFrames = 2;  // mel frames of a position
constexpr std::int64_t kKernel = 3;  // frames that a convolution sees
constexpr double kPositionsASecond = 50;

detail::InferenceLinear packed(const Conv1d& convolution) {
  return detail::InferenceLinear({{convolution->weight, convolution->bias}});
}

}  // namespace

/// Attention and a feed-forward part, each with a norm before it. (N, T, d_model) -> (N, T, d_model)
class WhisperLayerImpl : public torch::nn::Module {
 public:
  explicit WhisperLayerImpl(const WhisperConfig& config) {
    const std::int64_t dim = config.d_model;
    attention_ = register_module("self_attn", WhisperAttention(dim, config.encoder_attention_heads));
    attention_norm_ = register_module("self_attn_layer_norm", LayerNorm(dim));
    expand_ = detail::InferenceLinear({register_module("fc1", Linear(dim, config.encoder_ffn_dim))});
    contract_ = detail::InferenceLinear({register_module("fc2", Linear(config.encoder_ffn_dim, dim))});
    feed_forward_norm_ = register_module("final_layer_norm", LayerNorm(dim));
  }

  Tensor forward(const Tensor& input, const Tensor& mask) const {
    const auto qkv = attention_->parts(attention_norm_, input);
    const Tensor x = attention_->add_to(input, qkv[0], qkv[1], qkv[2], mask);
    return detail::feed_forward(feed_forward_norm_, expand_, Activation::gelu, contract_, x);
  }

 private:
  WhisperAttention attention_{nullptr};
  LayerNorm attention_norm_{nullptr}, feed_forward_norm_{nullptr};
  detail::InferenceLinear expand_, contract_;
};

namespace {

class WhisperAudioEncoder : public AudioEncoder, public Trainable {
 public:
  WhisperAudioEncoder(const std::filesystem::path& directory, const std::optional<std::filesystem::path>& tuned)
      : config_(WhisperConfig::load(directory / "config.json")), network_(config_) {
    const Checkpoint checkpoint = Checkpoint::open(directory);
    // WhisperForConditionalGeneration writes "model.encoder.", WhisperModel writes "encoder."
    prefix_ = checkpoint.contains("model.encoder.conv1.weight") ? "model.encoder." : "encoder.";
    load_weights(*network_, checkpoint, prefix_);
    if (tuned) copy_weights(*network_, Checkpoint::open(*tuned), "encoder.");
    network_->eval();
  }

  std::int64_t dim() const override { return config_.d_model; }
  int sample_rate() const override { return kRate; }
  double max_seconds() const override { return static_cast<double>(config_.max_source_positions) / kPositionsASecond; }

  /// -> (num_mel_bins, frames)
  Tensor preprocess(const Audio& clip) const override {
    const std::vector<float> resampled =
        clip.sample_rate == kRate ? std::vector<float>() : resample(clip.samples, clip.sample_rate, kRate);
    const std::vector<float>& samples = clip.sample_rate == kRate ? clip.samples : resampled;
    const std::int64_t frames = std::ssize(samples) / kHop;
    if (frames < kFrames) {
      detail::bad_argument(kEncode, "the clip has ", std::ssize(samples), " samples at 16 kHz, at least ",
                           kFrames * kHop, " (0.02 s) are wanted");
    }
    if (frames > kFrames * config_.max_source_positions) {
      detail::bad_argument(kEncode, "the clip has ", clip.seconds(), " s, at most ", max_seconds(),
                           " s fit in one call: cut it into windows");
    }
    Spectrogram mel = whisper_mel(samples, static_cast<int>(config_.num_mel_bins));
    return torch::from_blob(mel.values.data(), {mel.rows, mel.columns}).clone();
  }

  Tensor encode(const Audio& clip) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    return place_.run([&](const Tensor& mel) { return network_->forward(mel).squeeze(0); },
                      preprocess(clip).unsqueeze(0));
  }

  std::vector<TrainablePart> trainable() override {
    network_->named_parameters()["embed_positions.weight"].set_requires_grad(false);  // sines, as Whisper was trained
    return {{prefix_, network_.ptr()}};
  }

  Description describe() const override {
    std::ostringstream input;
    input << "16000 Hz mono, other rates by soxr HQ, at most " << max_seconds() << " s";
    return {{"model_type", "whisper"},
            {"input", input.str()},
            {"mel", std::to_string(config_.num_mel_bins) +
                        " slaney bands from 0 to 8 kHz, window 400, hop 160, log10, floor 8 below the clip's maximum"},
            {"padding", "none: the first positions for the clip's own length"},
            {"activation", "gelu (exact)"},
            {"pooling", "none, 50 vectors a second"},
            {"parameters", std::to_string(detail::count_parameters(*network_))}};
  }

 private:
  WhisperConfig config_;
  detail::Place place_;
  WhisperEncoder network_;
  std::string prefix_;  ///< of the checkpoint's keys
};

}  // namespace

WhisperConfig WhisperConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  WhisperConfig config;
  config.d_model = detail::read_size(kConfig, json, "d_model", 16'384);
  config.encoder_layers = detail::read_size(kConfig, json, "encoder_layers", 256);
  config.encoder_attention_heads = detail::read_size(kConfig, json, "encoder_attention_heads", 256);
  config.encoder_ffn_dim = detail::read_size(kConfig, json, "encoder_ffn_dim", 65'536);
  config.num_mel_bins = detail::read_size(kConfig, json, "num_mel_bins", 256, config.num_mel_bins);
  config.max_source_positions =
      detail::read_size(kConfig, json, "max_source_positions", 32'768, config.max_source_positions);
  if (config.d_model % config.encoder_attention_heads != 0) {
    detail::failure(kConfig, "\"encoder_attention_heads\" is ", config.encoder_attention_heads,
                    ", which does not divide d_model ", config.d_model);
  }
  if (const auto name = detail::get_or<std::string>(kConfig, json, "activation_function", "gelu"); name != "gelu") {
    detail::failure(kConfig, "\"activation_function\" is ", detail::shown(name), ", known is gelu");
  }
  const auto dim = static_cast<double>(config.d_model);
  detail::check_weights(kConfig,
                        dim * (3 * dim + static_cast<double>(3 * config.num_mel_bins + config.max_source_positions)) +
                            static_cast<double>(config.encoder_layers) *
                                (4 * dim * dim + 2 * dim * static_cast<double>(config.encoder_ffn_dim)));
  return config;
}

struct WhisperEncoderImpl::Stem {
  detail::InferenceLinear first, second;
};

WhisperEncoderImpl::WhisperEncoderImpl(const WhisperConfig& config) {
  const std::int64_t dim = config.d_model;
  conv1_ = register_module("conv1", Conv1d(config.num_mel_bins, dim, kKernel, 1, 1));
  conv2_ = register_module("conv2", Conv1d(dim, dim, kKernel, kFrames, 1));
  stem_ = std::make_shared<const Stem>(Stem{packed(conv1_), packed(conv2_)});
  embed_positions_ = register_module("embed_positions", Embedding(config.max_source_positions, dim));
  torch::nn::ModuleList layers;
  for (std::int64_t i = 0; i < config.encoder_layers; ++i) {
    layers_.push_back(std::make_shared<WhisperLayerImpl>(config));
    layers->push_back(layers_.back());
  }
  register_module("layers", layers);
  layer_norm_ = register_module("layer_norm", LayerNorm(dim));
}

Tensor WhisperEncoderImpl::forward(const Tensor& mel) const { return finish(begin(mel, 0), 0); }

Tensor WhisperEncoderImpl::begin(const Tensor& mel, std::int64_t blocks) const {
  Tensor x = after_stem(mel);  // (N, T, d_model)
  const Tensor& positions = embed_positions_->weight;
  if (x.size(1) > positions.size(0)) {
    detail::bad_argument("WhisperEncoder", mel.size(2), " mel frames, at most ", kFrames * positions.size(0),
                         " have positions");
  }
  x = x + positions.slice(0, 0, x.size(1));
  for (std::int64_t i = 0; i < blocks; ++i) x = layers_.at(static_cast<std::size_t>(i))->forward(x, {});
  return x;
}

Tensor WhisperEncoderImpl::after_stem(const Tensor& mel) const {
  if (torch::GradMode::is_enabled() || !mel.device().is_cpu()) {
    return torch::gelu(conv2_->forward(torch::gelu(conv1_->forward(mel)))).transpose(1, 2);
  }
  // the inputs of each step side by side, as the weights lie
  const auto places = [](const Tensor& x, std::int64_t stride) {
    return torch::constant_pad_nd(x, {0, 0, 1, 1}).unfold(1, kKernel, stride).flatten(2);
  };
  const Tensor x = stem_->first.forward(places(mel.transpose(1, 2), 1), Activation::gelu);
  return stem_->second.forward(places(x, kFrames), Activation::gelu);
}

Tensor WhisperEncoderImpl::finish(const Tensor& steps, std::int64_t blocks, const Tensor& mask) const {
  Tensor x = steps;
  for (auto i = static_cast<std::size_t>(blocks); i < layers_.size(); ++i) x = layers_[i]->forward(x, mask);
  return layer_norm_->forward(x);
}

void WhisperEncoderImpl::freeze_blocks(std::int64_t blocks) {
  for (Tensor& parameter : parameters()) parameter.set_requires_grad(false);
  for (auto i = static_cast<std::size_t>(blocks); i < layers_.size(); ++i) {
    for (Tensor& parameter : layers_[i]->parameters()) parameter.set_requires_grad(true);
  }
  for (Tensor& parameter : layer_norm_->parameters()) parameter.set_requires_grad(true);
}

std::unique_ptr<AudioEncoder> load_whisper(const std::filesystem::path& directory,
                                           const std::optional<std::filesystem::path>& tuned) {
  return std::make_unique<WhisperAudioEncoder>(directory, tuned);
}

}  // namespace trine
