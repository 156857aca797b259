#include "trine/encoders/vit.h"

#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/activation.h"
#include "encoders/classifier_network.h"
#include "encoders/config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "VitConfig";
constexpr const char* kLoad = "load_vit";

VitConfig read_config(const detail::Json& json) {
  VitConfig config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.image_size = detail::read_square(kConfig, json, "image_size", 4'096, config.image_size);
  config.patch_size = detail::read_square(kConfig, json, "patch_size", 4'096, config.patch_size);
  config.pooler_output_size =
      detail::read_size(kConfig, json, "pooler_output_size", 16'384, config.transformer.hidden_size);
  config.pooler_act = detail::read_activation(kConfig, json, "pooler_act", config.pooler_act);
  const std::int64_t grid = detail::read_grid(kConfig, json, config.image_size, config.patch_size);
  detail::check_size(kConfig, config.transformer,
                     3 * config.patch_size * config.patch_size + grid * grid + config.pooler_output_size);
  return config;
}

ImageProcessor load_processor(const std::filesystem::path& directory, const VitConfig& config) {
  ImageProcessor processor = ImageProcessor::load(directory, "ViTImageProcessor");
  detail::check_processor(kLoad, processor, config.image_size);
  return processor;
}

}  // namespace

VitConfig VitConfig::load(const std::filesystem::path& config_json) {
  return read_config(detail::read_json(kConfig, config_json));
}

VitImpl::VitImpl(const VitConfig& config, bool with_pooler) : config_(config) {
  const std::int64_t dim = config.transformer.hidden_size, grid = config.image_size / config.patch_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  class_token_ = embeddings->register_parameter("cls_token", torch::empty({1, 1, dim}));
  positions_ = embeddings->register_parameter("position_embeddings", torch::empty({1, grid * grid + 1, dim}));
  patches_ = register_at(*embeddings, "patch_embeddings.projection", PatchEmbedding(dim, config.patch_size));
  encoder_ = register_module("encoder", Transformer(config.transformer, detail::kVitKeys));
  norm_ = register_module("layernorm", LayerNorm(dim, config.transformer.layer_norm_eps));
  if (!with_pooler) return;
  pooler_ = register_at(*this, "pooler.dense", Linear(dim, config.pooler_output_size));
}

Tensor VitImpl::forward(const Tensor& pixels) const {
  detail::check_pixels(pixels, config_.image_size);
  const Tensor tokens =
      torch::cat({class_token_.expand({pixels.size(0), 1, -1}), patches_->forward(pixels)}, 1) + positions_;
  const Tensor state = norm_->forward(encoder_->forward(tokens).select(1, 0));
  return pooler_.is_empty() ? state : activate(pooler_->forward(state), config_.pooler_act);
}

std::unique_ptr<ImageEncoder> load_vit(const std::filesystem::path& directory) {
  const VitConfig config = VitConfig::load(directory / "config.json");
  ImageProcessor processor = load_processor(directory, config);
  const Checkpoint checkpoint = Checkpoint::open(directory);
  // ViTForImageClassification writes "vit.", ViTModel writes no prefix
  const std::string prefix = checkpoint.contains("vit.embeddings.cls_token") ? "vit." : "";
  const bool with_pooler = checkpoint.contains(prefix + "pooler.dense.weight");
  Vit network(config, with_pooler);
  detail::load_tower(kLoad, *network, checkpoint, prefix, {"embeddings.mask_token"});
  const std::string pooling = with_pooler
                                  ? "the class token through the pooler, " + std::string(to_string(config.pooler_act))
                                  : "the class token";
  return std::make_unique<detail::ImageTower>(
      "vit", std::move(processor), with_pooler ? config.pooler_output_size : config.transformer.hidden_size,
      [network](const Tensor& pixels) { return network->forward(pixels); },
      detail::describe_network(config.transformer, pooling, *network),
      std::vector<TrainablePart>{{prefix, network.ptr()}});
}

std::unique_ptr<ImageEncoder> detail::vit_classifier(const ModelFiles& files, std::int64_t labels) {
  const VitConfig config = read_config(files.config);
  ImageProcessor processor = load_processor(files.directory, config);
  const Vit network(config, /*with_pooler=*/false);
  const Linear head(config.transformer.hidden_size, labels);
  torch::nn::Module both;
  both.register_module("vit", network);
  both.register_module("classifier", head);
  load_tower(kLoad, both, files.checkpoint, "", {"embeddings.mask_token"});
  return std::make_unique<ImageTower>(
      "vit", std::move(processor), labels,
      [network, head](const Tensor& pixels) { return head->forward(network->forward(pixels)); },
      describe_network(config.transformer, "the class token, linear", both));
}

}  // namespace trine
