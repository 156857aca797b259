#include "trine/encoders/ast.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>

#include "detail/error.h"
#include "encoders/classifier_network.h"
#include "encoders/config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "AstConfig";
constexpr const char* kExtractor = "AstFeatureExtractor";
constexpr const char* kLoad = "load_ast";
constexpr const char* kModelType = "audio-spectrogram-transformer";
constexpr int kRate = 16'000;                  // Hz
constexpr std::int64_t kMostFrames = 65'536;   // of a clip
constexpr std::int64_t kMostPatches = 16'384;  // of a clip: attention grows with their square

/// torchaudio.compliance.kaldi.fbank with window_type "hanning"
MelOptions mel_options(int bands) { return {.bands = bands, .shape = MelWindow::symmetric_hann}; }

}  // namespace

AstFeatureExtractor AstFeatureExtractor::load(const std::filesystem::path& directory) {
  const detail::Json json = detail::read_extractor(kExtractor, directory, "ASTFeatureExtractor");
  AstFeatureExtractor extractor;
  extractor.sampling_rate = detail::get_or(kExtractor, json, "sampling_rate", extractor.sampling_rate);
  if (extractor.sampling_rate != kRate) {
    detail::failure(kExtractor, "\"sampling_rate\" is ", extractor.sampling_rate, ", known is ", kRate);
  }
  extractor.num_mel_bins =
      static_cast<int>(detail::read_size(kExtractor, json, "num_mel_bins", 1'024, extractor.num_mel_bins));
  extractor.max_length =
      static_cast<int>(detail::read_size(kExtractor, json, "max_length", kMostFrames, extractor.max_length));
  extractor.do_normalize = detail::get_or(kExtractor, json, "do_normalize", extractor.do_normalize);
  extractor.mean = detail::get_or(kExtractor, json, "mean", extractor.mean);
  extractor.std = detail::get_or(kExtractor, json, "std", extractor.std);
  if (extractor.do_normalize && !(extractor.std > 0)) {
    detail::failure(kExtractor, "\"std\" is ", extractor.std, ", wanted above 0");
  }
  return extractor;
}

std::int64_t AstFeatureExtractor::min_samples() const { return mel_options(num_mel_bins).window; }

std::int64_t AstFeatureExtractor::max_samples() const {
  return min_samples() + std::int64_t{mel_options(num_mel_bins).hop} * (max_length - 1);
}

Tensor AstFeatureExtractor::operator()(std::span<const float> samples) const {
  const std::span<const float> used = samples.first(std::min(samples.size(), static_cast<std::size_t>(max_samples())));
  Spectrogram mel = log_mel(used, mel_options(num_mel_bins));
  const Tensor bands = torch::from_blob(mel.values.data(), {mel.rows, mel.columns});
  const Tensor features = torch::constant_pad_nd(bands.t(), {0, 0, 0, max_length - mel.columns});
  return do_normalize ? (features - mean) / (2 * std) : features;
}

Description AstFeatureExtractor::describe() const {
  const MelOptions options = mel_options(num_mel_bins);
  std::ostringstream mel, scaling;
  mel << num_mel_bins << " Kaldi bands from " << options.low << " to " << options.high << " Hz, window "
      << options.window << " (symmetric Hann), hop " << options.hop << ", whole frames, mean removed, preemphasis "
      << options.preemphasis << ", natural log";
  if (do_normalize) {
    scaling << "(x - mean) / (2 std), mean " << mean << ", std " << std;
  } else {
    scaling << "x";
  }
  return {{"mel", mel.str()},
          {"padding", "zeros before the scaling, to " + std::to_string(max_length) + " frames"},
          {"scaling", scaling.str()}};
}

std::int64_t AstConfig::patches() const {
  return ((num_mel_bins - patch_size) / frequency_stride + 1) * ((max_length - patch_size) / time_stride + 1);
}

namespace {

AstConfig read_config(const detail::Json& json) {
  AstConfig config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.num_mel_bins = detail::read_size(kConfig, json, "num_mel_bins", 1'024, config.num_mel_bins);
  config.max_length = detail::read_size(kConfig, json, "max_length", kMostFrames, config.max_length);
  config.patch_size = detail::read_size(kConfig, json, "patch_size", std::min(config.num_mel_bins, config.max_length),
                                        config.patch_size);
  config.frequency_stride = detail::read_size(kConfig, json, "frequency_stride", 1'024, config.frequency_stride);
  config.time_stride = detail::read_size(kConfig, json, "time_stride", kMostFrames, config.time_stride);
  if (config.patches() > kMostPatches) {
    detail::failure(kConfig, "\"frequency_stride\" ", config.frequency_stride, " and \"time_stride\" ",
                    config.time_stride, " ask for ", config.patches(), " patches, at most ", kMostPatches,
                    " are accepted");
  }
  detail::check_size(kConfig, config.transformer, config.patch_size * config.patch_size + config.patches());
  return config;
}

}  // namespace

AstConfig AstConfig::load(const std::filesystem::path& config_json) {
  return read_config(detail::read_json(kConfig, config_json));
}

AstImpl::AstImpl(const AstConfig& config) : config_(config) {
  const std::int64_t dim = config.transformer.hidden_size, side = config.patch_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  class_token_ = embeddings->register_parameter("cls_token", torch::empty({1, 1, dim}));
  distillation_token_ = embeddings->register_parameter("distillation_token", torch::empty({1, 1, dim}));
  positions_ = embeddings->register_parameter("position_embeddings", torch::empty({1, config.patches() + 2, dim}));
  patches_ = register_at(*embeddings, "patch_embeddings.projection",
                         Conv2d(1, dim, Pair{side, side}, Pair{config.frequency_stride, config.time_stride}));
  encoder_ = register_module("encoder", Transformer(config.transformer, detail::kVitKeys));
  norm_ = register_module("layernorm", LayerNorm(dim, config.transformer.layer_norm_eps));
}

Tensor AstImpl::forward(const Tensor& features) const {
  if (features.dim() != 3 || features.size(1) != config_.max_length || features.size(2) != config_.num_mel_bins) {
    detail::bad_argument("Ast", "features are (N, ", config_.max_length, ", ", config_.num_mel_bins, "), got ",
                         features.sizes());
  }
  const std::int64_t count = features.size(0);
  const Tensor patches = patches_->forward(features.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2);
  const Tensor tokens =
      torch::cat({class_token_.expand({count, 1, -1}), distillation_token_.expand({count, 1, -1}), patches}, 1) +
      positions_;
  return norm_->forward(encoder_->forward(tokens).slice(1, 0, 2)).mean(1);
}

namespace {

/// A directory's network, and its head where `labels` are asked for.
std::unique_ptr<AudioEncoder> load(const detail::ModelFiles& files, std::optional<std::int64_t> labels) {
  const AstConfig config = read_config(files.config);
  const AstFeatureExtractor extractor = AstFeatureExtractor::load(files.directory);
  if (extractor.max_length != config.max_length || extractor.num_mel_bins != config.num_mel_bins) {
    detail::failure(kLoad, "the feature extractor gives \"max_length\" ", extractor.max_length, " x \"num_mel_bins\" ",
                    extractor.num_mel_bins, ", the network takes ", config.max_length, " x ", config.num_mel_bins);
  }
  const Checkpoint& checkpoint = files.checkpoint;
  // ASTForAudioClassification writes this prefix, ASTModel writes none
  const std::string inside = "audio_spectrogram_transformer.";
  const std::string prefix = checkpoint.contains(inside + "embeddings.cls_token") ? inside : "";
  Ast network(config);
  detail::load_tower(kLoad, *network, checkpoint, prefix);
  const std::int64_t dim = config.transformer.hidden_size;
  torch::nn::Module head;
  LayerNorm norm{nullptr};
  Linear dense{nullptr};
  if (labels) {
    norm = head.register_module("layernorm", LayerNorm(dim, config.transformer.layer_norm_eps));
    dense = head.register_module("dense", Linear(dim, *labels));
    detail::load_tower(kLoad, head, checkpoint, "classifier.");
  }
  const auto forward = [extractor, network, norm, dense, place = detail::Place()](std::span<const float> samples) {
    const auto pool = [&](const Tensor& features) {
      const Tensor pooled = network->forward(features);
      return dense.is_empty() ? pooled : dense->forward(norm->forward(pooled));
    };
    return place.run(pool, extractor(samples).unsqueeze(0));
  };
  Description lines = extractor.describe();
  const std::string pooling = "mean of the class and the distillation token";
  const Description described =
      detail::describe_network(config.transformer, labels ? pooling + ", layer norm, linear" : pooling, *network);
  lines.insert(lines.end(), described.begin(), described.end());
  return std::make_unique<detail::AudioTower>(
      kModelType,
      detail::ClipLimits{.sample_rate = kRate, .least = extractor.min_samples(), .most = extractor.max_samples()},
      labels.value_or(dim), extractor, forward, lines, std::vector<TrainablePart>{{prefix, network.ptr()}});
}

}  // namespace

std::unique_ptr<AudioEncoder> load_ast(const std::filesystem::path& directory) {
  return load(detail::open_model(kLoad, directory), std::nullopt);
}

std::unique_ptr<AudioEncoder> detail::ast_classifier(const ModelFiles& files, std::int64_t labels) {
  return load(files, labels);
}

}  // namespace trine
