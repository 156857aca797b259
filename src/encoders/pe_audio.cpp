#include "trine/encoders/pe_audio.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "convolve.h"
#include "detail/error.h"
#include "encoders/config.h"
#include "encoders/pe_config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "PeAudioConfig";
constexpr const char* kLoad = "load_pe_audio";
constexpr const char* kModelType = "pe_audio";
constexpr std::array<std::int64_t, 3> kDilations{1, 3, 9};
constexpr std::int64_t kKernel = 7;

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
    const Tensor y = detail::convolve(snake1->forward(x), wide->weight, wide->bias, /*stride=*/{1},
                                      /*padding=*/{(kKernel - 1) * dilation / 2}, {dilation});
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

std::int64_t PeAudioEncoderConfig::hop_length() const {
  std::int64_t hop = 1;
  for (const std::int64_t ratio : downsampling_ratios) hop *= ratio;
  return hop;
}

std::int64_t PeAudioEncoderConfig::codec_channels() const { return encoder_hidden_size << downsampling_ratios.size(); }

PeAudioConfig PeAudioConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_pe(kConfig, config_json, kModelType);
  return {.audio_config = detail::read_pe_audio(kConfig, detail::read_part(kConfig, json, "audio_config")),
          .text_config = detail::read_pe_text(kConfig, json)};
}

PeAudioEncoderImpl::PeAudioEncoderImpl(const PeAudioEncoderConfig& config)
    : PeTransformerImpl(config), hop_length_(config.hop_length()) {
  codec_ = register_at(*this, "embedder.dac_encoder", std::make_shared<PeAudioCodecImpl>(config));
  bottleneck_ = register_at(*this, "embedder.bottleneck", Conv1d(config.codec_channels(), config.codebook_dim, 1));
  data_projection_ = register_at(*this, "embedder.data_proj", Linear(config.codebook_dim, config.hidden_size));
  for (const auto& part : {codec_->parameters(), bottleneck_->parameters()}) {
    for (Tensor weight : part) weight.set_requires_grad(false);  // the reference does not train the codec either
  }
}

Tensor PeAudioEncoderImpl::forward(const Tensor& samples) const {
  if (samples.dim() != 3 || samples.size(1) != 1 || samples.size(2) < hop_length_ ||
      samples.size(2) % hop_length_ != 0) {
    detail::bad_argument("PeAudioEncoder", "samples are (N, 1, a multiple of ", hop_length_, "), got ",
                         samples.sizes());
  }
  return states_of(data_projection_->forward(bottleneck_->forward(codec_->forward(samples)).transpose(1, 2)));
}

AnyEncoder load_pe_audio(const std::filesystem::path& directory, const PeAudioOptions& options) {
  const PeAudioConfig config = PeAudioConfig::load(directory / "config.json");
  const detail::ModelFiles files = detail::open_model(kLoad, directory);
  const auto audio = detail::PeAudioPart::load(kLoad, files, "", "audio_encoder.", config.audio_config,
                                               config.text_config.hidden_size, options);
  const auto text = detail::PeTextPart::load(kLoad, files, kModelType, config.text_config);
  return {.text = text.tower(audio.text_head, "text_audio_head."), .audio = audio.tower(kModelType, text)};
}

namespace {

class PeAudioTower : public detail::AudioTower, public detail::PeTextScores {
 public:
  PeAudioTower(AudioTower tower, std::unique_ptr<const TextEncoder> texts, detail::PeScore score)
      : AudioTower(std::move(tower)), PeTextScores(std::move(texts), score) {}
};

}  // namespace

namespace detail {

PeAudioEncoderConfig read_pe_audio(const char* who, const Json& json) {
  PeAudioEncoderConfig config;
  read_pe_transformer(who, json, config);
  const Json dac = get_or(who, json, "dac_config", Json::object());
  config.encoder_hidden_size = read_size(who, dac, "encoder_hidden_size", 1'024, config.encoder_hidden_size);
  config.codebook_dim = read_size(who, dac, "codebook_dim", 16'384, config.codebook_dim);
  config.downsampling_ratios = get_or(who, dac, "downsampling_ratios", config.downsampling_ratios);
  const auto& ratios = config.downsampling_ratios;
  if (ratios.empty() || ratios.size() > 8 ||
      std::any_of(ratios.begin(), ratios.end(), [](std::int64_t r) { return r < 1 || r > 64; })) {
    failure(who, "\"downsampling_ratios\" has ", ratios.size(), " values, wanted 1 to 8 of 1 to 64 each");
  }
  const auto channels = static_cast<double>(config.codec_channels());
  check_weights(who, 64 * channels * channels);
  return config;
}

PeAudioPart PeAudioPart::load(const char* who, const ModelFiles& files, const std::string& prefix,
                              const std::string& encoder_prefix, const PeAudioEncoderConfig& config, std::int64_t dim,
                              const PeAudioOptions& options) {
  PeAudioPart part{.config = config, .prefix = prefix, .encoder_prefix = encoder_prefix};
  const Json json = read_extractor(who, files.directory, "PeAudioFeatureExtractor");
  part.sample_rate = static_cast<int>(read_size(who, json, "sampling_rate", 768'000, 48'000));
  part.hop_length = read_size(who, json, "hop_length", 1 << 20, 1'920);
  if (part.hop_length % config.hop_length() != 0) {
    failure(who, "\"hop_length\" of the feature extractor is ", part.hop_length, ", the network's steps have ",
            config.hop_length(), " samples");
  }
  if (!(options.max_seconds > 0 && options.max_seconds <= 3'600)) {
    bad_argument(who, "max_seconds is ", options.max_seconds, ", wanted above 0, at most 3600");
  }
  part.most = static_cast<std::int64_t>(options.max_seconds * part.sample_rate);
  part.network = PeAudioEncoder(config);
  load_tower(who, *part.network, files.checkpoint, encoder_prefix);
  part.head = load_pe_head(who, files.checkpoint, prefix + "audio_head.", config.hidden_size, dim);
  part.text_head = load_pe_head(who, files.checkpoint, prefix + "text_audio_head.", dim, dim);
  part.score = PeScore::load(who, files.checkpoint, prefix + "text_audio");
  return part;
}

Tensor PeAudioPart::extract(std::span<const float> samples) const {
  const std::int64_t count = std::ssize(samples), period = std::max<std::int64_t>(1, 2 * (count - 1));
  Tensor padded = torch::empty({(count + hop_length - 1) / hop_length * hop_length});
  float* out = padded.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < padded.size(0); ++i) {
    const std::int64_t step = i % period;
    out[i] = samples[static_cast<std::size_t>(step < count ? step : period - step)];
  }
  return padded;
}

Tensor PeAudioPart::states(std::span<const float> samples) const {
  return network->forward(place.there(extract(samples).view({1, 1, -1})));
}

std::unique_ptr<AudioEncoder> PeAudioPart::tower(const char* model_type, const PeTextPart& text) const {
  const Description lines{
      {"padding", "its mirror image to whole steps of " + std::to_string(hop_length) + " samples"},
      {"codec", "DAC's encoder, a step for each " + std::to_string(config.hop_length()) + " samples"},
      {"activation", std::string(to_string(config.hidden_act)) + ", gated"},
      {"pooling", "the class token, then a norm and a linear layer"},
      {"similarity", score.describe()},
      {"parameters", std::to_string(count_parameters(*network) + count_parameters(*head))}};
  AudioTower tower(
      model_type, ClipLimits{.sample_rate = sample_rate, .least = 1, .most = most}, head->proj->weight.size(0),
      [part = *this](std::span<const float> samples) { return part.extract(samples); },
      [part = *this](std::span<const float> samples) {
        const PlaceScope scope(part.place);
        return part.place.here(part.head->forward(part.states(samples).select(1, 0)));
      },
      lines, pe_parts(encoder_prefix, *network, prefix + "audio_head.", head));
  return std::make_unique<PeAudioTower>(std::move(tower), text.tower(text_head, prefix + "text_audio_head."), score);
}

}  // namespace detail

}  // namespace trine
