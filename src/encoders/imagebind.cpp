#include "trine/encoders/imagebind.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "convolve.h"
#include "detail/error.h"
#include "encoders/config.h"
#include "encoders/towers.h"
#include "trine/input/audio.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "ImageBindConfig";
constexpr const char* kLoad = "load_imagebind";
constexpr const char* kModelType = "imagebind";
constexpr int kRate = 16'000;               // Hz
constexpr std::int64_t kPiece = 2 * kRate;  // samples
constexpr std::int64_t kPieces = 3;
constexpr std::int64_t kLongest = 3'600 * std::int64_t{kRate};
constexpr double kMelMean = -4.268, kMelStd = 9.138;  // of the training's sounds
constexpr float kHighestScale = 100;
constexpr std::array<float, 3> kMean{0.48145466f, 0.4578275f, 0.40821073f};  // CLIP's
constexpr std::array<float, 3> kStd{0.26862954f, 0.26130258f, 0.27577711f};

constexpr TransformerKeys kKeys{.blocks = "blocks",
                                .attention_norm = "norm_1",
                                .query = nullptr,
                                .key = nullptr,
                                .value = nullptr,
                                .attention_out = "attn.out_proj",
                                .attention_scale = nullptr,
                                .feed_forward_norm = "norm_2",
                                .expand = "mlp.fc1",
                                .contract = "mlp.fc2",
                                .feed_forward_scale = nullptr,
                                .qkv = "attn.in_proj_"};

/// The parts of a modality stand in four places.
constexpr std::array<const char*, 4> kPlaces{"modality_preprocessors.", "modality_trunks.", "modality_heads.",
                                             "modality_postprocessors."};

TransformerConfig read_trunk(const detail::Json& json, const std::string& modality, const TransformerConfig& defaults) {
  const std::string dim = modality + "_embed_dim", blocks = modality + "_num_blocks", heads = modality + "_num_heads";
  TransformerConfig config = defaults;
  config.hidden_size = detail::read_size(kConfig, json, dim.c_str(), 16'384, defaults.hidden_size);
  config.intermediate_size = 4 * config.hidden_size;
  config.num_hidden_layers = detail::read_size(kConfig, json, blocks.c_str(), 256, defaults.num_hidden_layers);
  config.num_attention_heads = detail::read_size(kConfig, json, heads.c_str(), 256, defaults.num_attention_heads);
  detail::check_heads(kConfig, heads.c_str(), config.num_attention_heads, dim.c_str(), config.hidden_size);
  return config;
}

TransformerConfig sizes(const TransformerConfig& kind, std::int64_t dim, std::int64_t blocks, std::int64_t heads) {
  TransformerConfig config = kind;
  config.hidden_size = dim;
  config.num_hidden_layers = blocks;
  config.num_attention_heads = heads;
  return config;
}

/// A parameter of a module that holds nothing else of ours.
Tensor register_in(torch::nn::Module& root, const std::string& owner, const char* name, at::IntArrayRef shape) {
  return register_at(root, owner, std::make_shared<torch::nn::Module>())->register_parameter(name, torch::empty(shape));
}

Linear register_projection(torch::nn::Module& root, const std::string& path, std::int64_t in, std::int64_t out) {
  return register_at(root, path, Linear(in, out, /*with_bias=*/false));
}

/// load_weights that also refuses a tensor of the modality that the network does not know.
void load_modality(torch::nn::Module& network, const Checkpoint& checkpoint, const std::string& modality) {
  load_weights(network, checkpoint);
  const auto known = state_dict(network);
  for (const std::string& name : checkpoint.names()) {
    const bool ours = std::any_of(kPlaces.begin(), kPlaces.end(),
                                  [&](const char* place) { return name.starts_with(place + modality + "."); });
    // the causal mask is a buffer there, the scales are read by name
    if (!ours || known.contains(name) || name.ends_with(".mask") || name.ends_with(".log_logit_scale")) continue;
    detail::failure(kLoad, checkpoint.path(), " holds ", name, ", which the network of its config.json does not have");
  }
  network.eval();
}

std::unique_ptr<ImageEncoder> load_vision(const ImageBindConfig& config, const Checkpoint& checkpoint,
                                          const Similarity& similarity) {
  ImageBindVision network(config);
  load_modality(*network, checkpoint, "vision");
  const int side = static_cast<int>(config.image_size);
  const ImageProcessor processor{.image_processor_type = kModelType,
                                 .size = {.shortest_edge = side},
                                 .do_center_crop = true,
                                 .crop_size = {.height = side, .width = side},
                                 .image_mean = kMean,
                                 .image_std = kStd,
                                 .pad_size = {},
                                 .even_offsets = true};
  return std::make_unique<detail::ImageTower>(
      kModelType, processor, config.out_embed_dim, [network](const Tensor& pixels) { return network->forward(pixels); },
      detail::describe_network(config.vision, "the class token, projected", *network, similarity),
      std::vector<TrainablePart>{{"", network.ptr()}});
}

std::unique_ptr<TextEncoder> load_text(const std::filesystem::path& directory, const ImageBindConfig& config,
                                       const Checkpoint& checkpoint, const Similarity& similarity) {
  ImageBindText network(config);
  load_modality(*network, checkpoint, "text");
  return std::make_unique<detail::TextTower>(
      kLoad, directory, kModelType, Tokenizer::load(directory), config.vocab_size, config.context_length,
      detail::Padding::repeat_end, config.out_embed_dim, [network](const Tensor& ids) { return network->forward(ids); },
      detail::describe_network(config.text, "the token of the highest id, projected", *network, similarity),
      std::vector<TrainablePart>{{"", network.ptr()}});
}

std::unique_ptr<AudioEncoder> load_audio(const ImageBindConfig& config, const Checkpoint& checkpoint,
                                         const ImageBindOptions& options) {
  ImageBindAudio network(config);
  load_modality(*network, checkpoint, "audio");
  Description lines{{"mel", std::to_string(config.audio_num_mel_bins) +
                                " of Kaldi from 20 Hz to 8 kHz, window 400 (Hann), hop 160, natural logarithm"},
                    {"scaling", "(x + 4.268) / 9.138"},
                    {"padding", "three pieces of 2 s, evenly placed, each with zeros to " +
                                    std::to_string(config.audio_target_len) + " frames"}};
  const Description described =
      detail::describe_network(config.audio, "the class token, projected; mean of the pieces at unit length", *network);
  lines.insert(lines.end(), described.begin(), described.end());
  const auto extract = [config](std::span<const float> samples) { return imagebind_mels(samples, config); };
  return std::make_unique<detail::AudioTower>(
      kModelType,
      detail::ClipLimits{.sample_rate = kRate, .least = 400, .most = options.whole_clips ? kLongest : kPieces * kPiece},
      config.out_embed_dim, extract,
      [extract, network, place = detail::Place()](std::span<const float> samples) {
        const auto forward = [&](const Tensor& mels) {
          return normalise(network->forward(mels)).mean(0, /*keepdim=*/true);
        };
        return place.run(forward, extract(samples));
      },
      lines, std::vector<TrainablePart>{{"", network.ptr()}});
}

}  // namespace

ImageBindConfig ImageBindConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  if (const auto type = detail::get<std::string>(kConfig, json, "model_type"); type != kModelType) {
    detail::failure(kConfig, "\"model_type\" is ", detail::shown(type), ", known is ", kModelType);
  }
  ImageBindConfig config;
  config.out_embed_dim = detail::read_size(kConfig, json, "out_embed_dim", 16'384, config.out_embed_dim);
  config.image_size = detail::read_size(kConfig, json, "image_size", 4'096, config.image_size);
  config.patch_size = detail::read_size(kConfig, json, "patch_size", 4'096, config.patch_size);
  config.video_frames = detail::read_size(kConfig, json, "video_frames", 64, config.video_frames);
  config.vision = read_trunk(json, "vision", sizes(config.vision, 1280, 32, 16));
  config.text = read_trunk(json, "text", sizes(config.text, 1024, 24, 16));
  config.audio = read_trunk(json, "audio", sizes(config.audio, 768, 12, 12));
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 2'000'000, config.vocab_size);
  config.context_length = detail::read_size(kConfig, json, "context_length", 32'768, config.context_length);
  config.audio_num_mel_bins = detail::read_size(kConfig, json, "audio_num_mel_bins", 256, config.audio_num_mel_bins);
  config.audio_target_len = detail::read_size(kConfig, json, "audio_target_len", 4'096, config.audio_target_len);
  const std::int64_t side = std::min(config.audio_num_mel_bins, config.audio_target_len);
  config.audio_kernel_size = detail::read_size(kConfig, json, "audio_kernel_size", side, config.audio_kernel_size);
  config.audio_stride = detail::read_size(kConfig, json, "audio_stride", side, config.audio_stride);
  const std::int64_t grid = detail::read_grid(kConfig, json, config.image_size, config.patch_size);
  const auto [rows, columns] = config.audio_grid();
  if (rows * columns > 16'384) {
    detail::failure(kConfig, "\"audio_stride\" ", config.audio_stride, " makes ", rows, " x ", columns,
                    " patches of a piece of sound, at most 16384 are accepted");
  }
  const std::int64_t patch = 3 * config.video_frames * config.patch_size * config.patch_size;
  detail::check_size(kConfig, config.vision, patch + grid * grid + config.out_embed_dim);
  detail::check_size(kConfig, config.text, config.vocab_size + config.context_length + config.out_embed_dim);
  detail::check_size(kConfig, config.audio,
                     config.audio_kernel_size * config.audio_kernel_size + rows * columns + config.out_embed_dim);
  return config;
}

Pair ImageBindConfig::audio_grid() const {
  return {(audio_num_mel_bins - audio_kernel_size) / audio_stride + 1,
          (audio_target_len - audio_kernel_size) / audio_stride + 1};
}

ImageBindVisionImpl::ImageBindVisionImpl(const ImageBindConfig& config) : image_size_(config.image_size) {
  const std::int64_t dim = config.vision.hidden_size, side = config.patch_size, grid = config.image_size / side;
  const std::string own = "modality_preprocessors.vision", head = "modality_heads.vision.";
  class_token_ = register_in(*this, own, "cls_token", {1, 1, dim});
  patches_ = register_in(*this, own + ".rgbt_stem.proj.1", "weight", {dim, 3, config.video_frames, side, side});
  positions_ = register_in(*this, own + ".pos_embedding_helper", "pos_embed", {1, grid * grid + 1, dim});
  trunk_ = register_at(*this, "modality_trunks.vision", Transformer(config.vision, kKeys));
  pre_norm_ = register_at(*this, "modality_trunks.vision.pre_transformer_layer.0",
                          LayerNorm(dim, config.vision.layer_norm_eps));
  norm_ = register_at(*this, head + "0", LayerNorm(dim, config.vision.layer_norm_eps));
  projection_ = register_projection(*this, head + "2", dim, config.out_embed_dim);
}

Tensor ImageBindVisionImpl::forward(const Tensor& pixels) const {
  detail::check_pixels(pixels, image_size_);
  // the reference repeats the picture over the frames of the first layer, which is the sum over its frames
  const std::int64_t side = patches_.size(3);
  const Tensor patches =
      detail::convolve(pixels, patches_.sum(2), /*bias=*/{}, {side, side}, {0, 0}, {1, 1}).flatten(2).transpose(1, 2);
  const Tensor tokens = torch::cat({class_token_.expand({pixels.size(0), 1, -1}), patches}, 1) + positions_;
  return projection_->forward(norm_->forward(trunk_->forward(pre_norm_->forward(tokens)).select(1, 0)));
}

ImageBindTextImpl::ImageBindTextImpl(const ImageBindConfig& config) {
  const std::int64_t dim = config.text.hidden_size;
  const std::string own = "modality_preprocessors.text", head = "modality_heads.text.proj.";
  positions_ = register_in(*this, own, "pos_embed", {1, config.context_length, dim});
  tokens_ = register_at(*this, own + ".token_embedding", Embedding(config.vocab_size, dim));
  trunk_ = register_at(*this, "modality_trunks.text", Transformer(config.text, kKeys));
  norm_ = register_at(*this, head + "0", LayerNorm(dim, config.text.layer_norm_eps));
  projection_ = register_projection(*this, head + "1", dim, config.out_embed_dim);
}

Tensor ImageBindTextImpl::forward(const Tensor& ids) const {
  detail::check_ids(ids, positions_.size(1));
  const Tensor embedded = tokens_->forward(ids) + positions_.slice(1, 0, ids.size(1));
  const Tensor states = trunk_->forward(embedded, /*causal=*/true);
  const Tensor ends =
      states.index({torch::arange(ids.size(0), ids.device()), ids.argmax(1)});  // argmax gives the first of equals
  return projection_->forward(norm_->forward(ends));
}

ImageBindAudioImpl::ImageBindAudioImpl(const ImageBindConfig& config) : config_(config) {
  const std::int64_t dim = config.audio.hidden_size, side = config.audio_kernel_size;
  const auto [rows, columns] = config.audio_grid();
  const std::string own = "modality_preprocessors.audio", head = "modality_heads.audio.";
  class_token_ = register_in(*this, own, "cls_token", {1, 1, dim});
  patches_ = register_in(*this, own + ".rgbt_stem.proj", "weight", {dim, 1, side, side});
  patch_norm_ = register_at(*this, own + ".rgbt_stem.norm_layer", LayerNorm(dim));
  positions_ = register_in(*this, own + ".pos_embedding_helper", "pos_embed", {1, rows * columns + 1, dim});
  trunk_ = register_at(*this, "modality_trunks.audio", Transformer(config.audio, kKeys));
  norm_ = register_at(*this, head + "0", LayerNorm(dim, config.audio.layer_norm_eps));
  projection_ = register_projection(*this, head + "2", dim, config.out_embed_dim);
}

Tensor ImageBindAudioImpl::forward(const Tensor& mels) const {
  if (mels.dim() != 4 || mels.size(1) != 1 || mels.size(2) != config_.audio_num_mel_bins ||
      mels.size(3) != config_.audio_target_len) {
    detail::bad_argument("ImageBindAudio", "mels are (N, 1, ", config_.audio_num_mel_bins, ", ",
                         config_.audio_target_len, "), got ", mels.sizes());
  }
  const std::int64_t stride = config_.audio_stride;
  const Tensor patches = patch_norm_->forward(
      detail::convolve(mels, patches_, /*bias=*/{}, {stride, stride}, {0, 0}, {1, 1}).flatten(2).transpose(1, 2));
  const Tensor tokens = torch::cat({class_token_.expand({mels.size(0), 1, -1}), patches}, 1) + positions_;
  return projection_->forward(norm_->forward(trunk_->forward(tokens).select(1, 0)));
}

Tensor imagebind_mels(std::span<const float> samples, const ImageBindConfig& config) {
  const MelOptions options{.bands = static_cast<int>(config.audio_num_mel_bins), .shape = MelWindow::symmetric_hann};
  std::vector<float> levelled(samples.begin(), samples.end());
  const double spare = std::max(static_cast<double>(samples.size()) / kRate - 2.0, 0.0);  // seconds
  std::vector<Tensor> mels;
  for (std::int64_t i = 0; i < (spare > 0 ? kPieces : 1); ++i) {
    const auto begin = static_cast<std::int64_t>(static_cast<long double>(spare) * (kRate / 2) * i);
    const std::int64_t end = std::min(begin + kPiece, std::ssize(levelled));
    const std::span<float> piece(levelled.data() + begin, static_cast<std::size_t>(end - begin));
    // in place, as the reference has it: where pieces overlap a later one begins with what the earlier one left
    const auto mean =
        static_cast<float>(std::accumulate(piece.begin(), piece.end(), 0.0) / static_cast<double>(piece.size()));
    for (float& sample : piece) sample -= mean;
    Spectrogram mel = log_mel(piece, options);
    Tensor values = torch::from_blob(mel.values.data(), {mel.rows, mel.columns}).slice(1, 0, config.audio_target_len);
    values = torch::constant_pad_nd(values, {0, config.audio_target_len - values.size(1)});
    mels.push_back((values - kMelMean) / kMelStd);
  }
  return torch::stack(mels).unsqueeze(1);
}

AnyEncoder load_imagebind(const std::filesystem::path& directory, const ImageBindOptions& options) {
  const ImageBindConfig config = ImageBindConfig::load(directory / "config.json");
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const float scale = detail::load_scalar(kLoad, checkpoint, "modality_postprocessors.text.1.log_logit_scale");
  const Similarity similarity{.scale = std::min(std::exp(scale), kHighestScale)};
  return {.image = load_vision(config, checkpoint, similarity),
          .text = load_text(directory, config, checkpoint, similarity),
          .audio = load_audio(config, checkpoint, options),
          .similarity = similarity};
}

}  // namespace trine
