#include "trine/encoders/dinov2.h"

#include <algorithm>
#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/classifier_network.h"
#include "encoders/config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "Dinov2Config";
constexpr const char* kLoad = "load_dinov2";
constexpr const char* kPlain = "dinov2";
constexpr const char* kWithRegisters = "dinov2_with_registers";

constexpr TransformerKeys keys_of(bool swiglu) {
  return {.blocks = "layer",
          .attention_norm = "norm1",
          .query = "attention.attention.query",
          .key = "attention.attention.key",
          .value = "attention.attention.value",
          .attention_out = "attention.output.dense",
          .attention_scale = "layer_scale1.lambda1",
          .feed_forward_norm = "norm2",
          .expand = swiglu ? "mlp.weights_in" : "mlp.fc1",
          .contract = swiglu ? "mlp.weights_out" : "mlp.fc2",
          .feed_forward_scale = "layer_scale2.lambda1"};
}

std::string read_model_type(const detail::Json& json) {
  const auto type = detail::get<std::string>(kConfig, json, "model_type");
  if (type != kPlain && type != kWithRegisters) {
    detail::failure(kConfig, "\"model_type\" is ", detail::shown(type), ", known are ", kPlain, " and ",
                    kWithRegisters);
  }
  return type;
}

Dinov2Config read_config(const detail::Json& json) {
  const bool with_registers = read_model_type(json) == kWithRegisters;
  Dinov2Config config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.transformer.use_swiglu_ffn = detail::get_or(kConfig, json, "use_swiglu_ffn", false);
  config.mlp_ratio = detail::read_size(kConfig, json, "mlp_ratio", 64, config.mlp_ratio);
  const std::int64_t hidden = config.transformer.hidden_size * config.mlp_ratio;
  // the gated part is narrowed to as many weights, in multiples of 8
  config.transformer.intermediate_size = config.transformer.use_swiglu_ffn ? (hidden * 2 / 3 + 7) / 8 * 8 : hidden;
  config.image_size = detail::read_square(kConfig, json, "image_size", 4'096, config.image_size);
  config.patch_size = detail::read_square(kConfig, json, "patch_size", 4'096, with_registers ? 16 : config.patch_size);
  if (with_registers) config.num_register_tokens = detail::read_size(kConfig, json, "num_register_tokens", 1'024, 4);
  const std::int64_t grid = detail::read_grid(kConfig, json, config.image_size, config.patch_size);
  detail::check_size(kConfig, config.transformer, 3 * config.patch_size * config.patch_size + grid * grid);
  return config;
}

}  // namespace

Dinov2Config Dinov2Config::load(const std::filesystem::path& config_json) {
  return read_config(detail::read_json(kConfig, config_json));
}

Dinov2Impl::Dinov2Impl(const Dinov2Config& config) : config_(config) {
  const std::int64_t dim = config.transformer.hidden_size, grid = config.image_size / config.patch_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  class_token_ = embeddings->register_parameter("cls_token", torch::empty({1, 1, dim}));
  if (config.num_register_tokens != 0) {
    registers_ = embeddings->register_parameter("register_tokens", torch::empty({1, config.num_register_tokens, dim}));
  }
  positions_ = embeddings->register_parameter("position_embeddings", torch::empty({1, grid * grid + 1, dim}));
  patches_ = register_at(*embeddings, "patch_embeddings.projection", PatchEmbedding(dim, config.patch_size));
  encoder_ = register_module("encoder", Transformer(config.transformer, keys_of(config.transformer.use_swiglu_ffn)));
  norm_ = register_module("layernorm", LayerNorm(dim, config.transformer.layer_norm_eps));
}

Tensor Dinov2Impl::positions_for(std::int64_t height, std::int64_t width) const {
  const std::int64_t rows = height / config_.patch_size, columns = width / config_.patch_size;
  if (rows * columns + 1 == positions_.size(1) && height == width) return positions_;
  const Tensor patches =
      resize_positions(positions_[0].slice(0, 1), rows, columns,
                       registers_.defined() ? PositionResize::antialiased_bicubic : PositionResize::bicubic);
  return torch::cat({positions_.slice(1, 0, 1), patches.unsqueeze(0)}, 1);
}

Tensor Dinov2Impl::forward(const Tensor& pixels, bool with_patches) const {
  detail::check_pixels(pixels);
  if (std::min(pixels.size(2), pixels.size(3)) < config_.patch_size) {
    detail::bad_argument("encode", "pixels of shape ", pixels.sizes(), ", wanted at least a patch of ",
                         config_.patch_size, " a side");
  }
  const std::int64_t count = pixels.size(0);
  Tensor tokens = torch::cat({class_token_.expand({count, 1, -1}), patches_->forward(pixels)}, 1) +
                  positions_for(pixels.size(2), pixels.size(3));
  if (registers_.defined()) {  // they have no place in the picture
    tokens = torch::cat({tokens.slice(1, 0, 1), registers_.expand({count, -1, -1}), tokens.slice(1, 1)}, 1);
  }
  const Tensor states = encoder_->forward(tokens);
  if (!with_patches) return norm_->forward(states.select(1, 0));
  const Tensor normed = norm_->forward(states);
  return torch::cat({normed.select(1, 0), normed.slice(1, 1 + config_.num_register_tokens).mean(1)}, 1);
}

std::unique_ptr<ImageEncoder> load_dinov2(const std::filesystem::path& directory) {
  const detail::ModelFiles files = detail::open_model(kConfig, directory);
  const std::string type = read_model_type(files.config);
  const Dinov2Config config = read_config(files.config);
  ImageProcessor processor = ImageProcessor::load(directory, "BitImageProcessor");
  // Dinov2ForImageClassification writes its model_type as prefix, Dinov2Model writes none
  const std::string prefix = files.checkpoint.contains(type + ".embeddings.cls_token") ? type + "." : "";
  Dinov2 network(config);
  detail::load_tower(kLoad, *network, files.checkpoint, prefix, {"embeddings.mask_token"});
  return std::make_unique<detail::ImageTower>(
      type, std::move(processor), config.transformer.hidden_size,
      [network](const Tensor& pixels) { return network->forward(pixels); },
      detail::describe_network(config.transformer, "the class token", *network),
      std::vector<TrainablePart>{{prefix, network.ptr()}});
}

std::unique_ptr<ImageEncoder> detail::dinov2_classifier(const ModelFiles& files, std::int64_t labels) {
  const std::string type = read_model_type(files.config);
  const Dinov2Config config = read_config(files.config);
  ImageProcessor processor = ImageProcessor::load(files.directory, "BitImageProcessor");
  const Dinov2 network(config);
  const Linear head(2 * config.transformer.hidden_size, labels);
  torch::nn::Module both;
  both.register_module(type, network);
  both.register_module("classifier", head);
  load_tower(kLoad, both, files.checkpoint, "", {"embeddings.mask_token"});
  return std::make_unique<ImageTower>(
      type, std::move(processor), labels,
      [network, head](const Tensor& pixels) { return head->forward(network->forward(pixels, /*with_patches=*/true)); },
      describe_network(config.transformer, "the class token and the mean of the patches, linear", both));
}

}  // namespace trine
