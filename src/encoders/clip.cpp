#include "trine/encoders/clip.h"

#include <cmath>
#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "ClipConfig";
constexpr const char* kLoad = "load_clip";
constexpr const char* kVision = "clip_vision_model";
constexpr const char* kText = "clip_text_model";
constexpr std::int64_t kLegacyEnd = 2;  // eos_token_id of configs from before it was right

ClipVisionConfig read_vision(const detail::Json& json) {
  ClipVisionConfig config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.image_size = detail::read_square(kConfig, json, "image_size", 4'096, config.image_size);
  config.patch_size = detail::read_square(kConfig, json, "patch_size", 4'096, config.patch_size);
  const std::int64_t grid = detail::read_grid(kConfig, json, config.image_size, config.patch_size);
  detail::check_size(kConfig, config.transformer, 3 * config.patch_size * config.patch_size + grid * grid);
  return config;
}

ClipTextConfig read_text(const detail::Json& json) {
  ClipTextConfig config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 2'000'000, config.vocab_size);
  config.max_position_embeddings =
      detail::read_size(kConfig, json, "max_position_embeddings", 32'768, config.max_position_embeddings);
  config.eos_token_id = detail::get_or(kConfig, json, "eos_token_id", config.eos_token_id);
  detail::check_size(kConfig, config.transformer, config.vocab_size + config.max_position_embeddings);
  return config;
}

/// A projection without bias, or none where the checkpoint of one tower alone lacks it.
Linear load_projection(const Checkpoint& checkpoint, const std::string& name, std::int64_t in, std::int64_t out,
                       bool wanted) {
  if (!wanted && !checkpoint.contains(name + ".weight")) return nullptr;
  Linear projection(in, out, /*with_bias=*/false);
  load_weights(*projection, checkpoint, name + ".");
  return projection;
}

std::vector<TrainablePart> parts_of(TrainablePart network, const std::string& prefix, const Linear& projection) {
  std::vector<TrainablePart> parts{std::move(network)};
  if (!projection.is_empty()) parts.push_back({prefix, projection.ptr()});
  return parts;
}

Tensor project(const Linear& projection, const Tensor& pooled) {
  return projection.is_empty() ? pooled : projection->forward(pooled);
}

std::unique_ptr<ImageEncoder> load_vision(const std::filesystem::path& directory, const ClipConfig& config,
                                          const Checkpoint& checkpoint, const std::optional<Similarity>& similarity) {
  const ClipVisionConfig& vision = config.vision_config;
  ImageProcessor processor = ImageProcessor::load(directory, "CLIPImageProcessor");
  detail::check_processor(kLoad, processor, vision.image_size);
  ClipVision network(vision);
  const std::string prefix = detail::prefix_of(checkpoint, "vision_model");
  detail::load_tower(kLoad, *network, checkpoint, prefix, {".position_ids"});
  const std::int64_t hidden = vision.transformer.hidden_size;
  const Linear projection =
      load_projection(checkpoint, "visual_projection", hidden, config.projection_dim, similarity.has_value());
  const bool projected = !projection.is_empty();
  return std::make_unique<detail::ImageTower>(
      similarity ? "clip" : kVision, std::move(processor), projected ? config.projection_dim : hidden,
      [network, projection](const Tensor& pixels) { return project(projection, network->forward(pixels)); },
      detail::describe_network(vision.transformer, projected ? "the class token, projected" : "the class token",
                               *network, similarity),
      parts_of({prefix, network.ptr()}, "visual_projection.", projection));
}

std::unique_ptr<TextEncoder> load_text(const std::filesystem::path& directory, const ClipConfig& config,
                                       const Checkpoint& checkpoint, const std::optional<Similarity>& similarity) {
  const ClipTextConfig& text = config.text_config;
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const std::vector<std::int32_t> empty = tokenizer.encode("").ids;
  if (text.eos_token_id != kLegacyEnd && (empty.empty() || empty.back() != text.eos_token_id)) {
    detail::failure(kLoad, "\"eos_token_id\" is ", text.eos_token_id, ", the tokenizer of ", directory,
                    " ends a text with ", empty.empty() ? "nothing" : std::to_string(empty.back()));
  }
  ClipText network(text);
  const std::string prefix = detail::prefix_of(checkpoint, "text_model");
  detail::load_tower(kLoad, *network, checkpoint, prefix, {".position_ids"});
  const std::int64_t hidden = text.transformer.hidden_size;
  const Linear projection =
      load_projection(checkpoint, "text_projection", hidden, config.projection_dim, similarity.has_value());
  const bool projected = !projection.is_empty();
  const std::string pooling = text.eos_token_id == kLegacyEnd ? "the token of the highest id" : "the first end token";
  return std::make_unique<detail::TextTower>(
      kLoad, directory, similarity ? "clip" : kText, tokenizer, text.vocab_size, text.max_position_embeddings,
      detail::Padding::repeat_end, projected ? config.projection_dim : hidden,
      [network, projection](const Tensor& ids) { return project(projection, network->forward(ids)); },
      detail::describe_network(text.transformer, pooling + (projected ? ", projected" : ""), *network, similarity),
      parts_of({prefix, network.ptr()}, "text_projection.", projection));
}

std::string read_model_type(const detail::Json& json) {
  const auto type = detail::get<std::string>(kConfig, json, "model_type");
  if (type != "clip" && type != kVision && type != kText) {
    detail::failure(kConfig, "\"model_type\" is ", detail::shown(type), ", known are clip, ", kVision, " and ", kText);
  }
  return type;
}

}  // namespace

ClipConfig ClipConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  const std::string type = read_model_type(json);
  ClipConfig config;
  config.projection_dim = detail::read_size(kConfig, json, "projection_dim", 16'384, config.projection_dim);
  if (type != kText)
    config.vision_config = read_vision(type == kVision ? json : detail::read_part(kConfig, json, "vision_config"));
  if (type != kVision)
    config.text_config = read_text(type == kText ? json : detail::read_part(kConfig, json, "text_config"));
  return config;
}

ClipVisionImpl::ClipVisionImpl(const ClipVisionConfig& config) : image_size_(config.image_size) {
  const std::int64_t dim = config.transformer.hidden_size, grid = config.image_size / config.patch_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  class_embedding_ = embeddings->register_parameter("class_embedding", torch::empty({dim}));
  patches_ =
      embeddings->register_module("patch_embedding", PatchEmbedding(dim, config.patch_size, /*with_bias=*/false));
  positions_ = embeddings->register_module("position_embedding", Embedding(grid * grid + 1, dim));
  pre_norm_ = register_module("pre_layrnorm", LayerNorm(dim, config.transformer.layer_norm_eps));  // spelt so
  encoder_ = register_module("encoder", Transformer(config.transformer, detail::kPairKeys));
  post_norm_ = register_module("post_layernorm", LayerNorm(dim, config.transformer.layer_norm_eps));
}

Tensor ClipVisionImpl::forward(const Tensor& pixels) const {
  detail::check_pixels(pixels, image_size_);
  const Tensor tokens =
      torch::cat({class_embedding_.expand({pixels.size(0), 1, -1}), patches_->forward(pixels)}, 1) + positions_->weight;
  return post_norm_->forward(encoder_->forward(pre_norm_->forward(tokens)).select(1, 0));
}

ClipTextImpl::ClipTextImpl(const ClipTextConfig& config) : eos_token_id_(config.eos_token_id) {
  const TransformerConfig& transformer = config.transformer;
  embeddings_ = register_module(
      "embeddings", TokenEmbedding(config.vocab_size, config.max_position_embeddings, transformer.hidden_size));
  encoder_ = register_module("encoder", Transformer(transformer, detail::kPairKeys));
  final_norm_ = register_module("final_layer_norm", LayerNorm(transformer.hidden_size, transformer.layer_norm_eps));
}

Tensor ClipTextImpl::forward(const Tensor& ids) const {
  const Tensor states = encoder_->forward(embeddings_->forward(ids), /*causal=*/true);
  // argmax gives the first of equal values
  const Tensor end = eos_token_id_ == kLegacyEnd ? ids.argmax(1) : (ids == eos_token_id_).to(torch::kInt32).argmax(1);
  return final_norm_->forward(states.index({torch::arange(ids.size(0), ids.device()), end}));
}

AnyEncoder load_clip(const std::filesystem::path& directory) {
  const std::string type = read_model_type(detail::read_json(kConfig, directory / "config.json"));
  const ClipConfig config = ClipConfig::load(directory / "config.json");
  const Checkpoint checkpoint = Checkpoint::open(directory);
  AnyEncoder encoder;
  if (type == "clip") {
    const float scale = std::exp(detail::load_scalar(kLoad, checkpoint, "logit_scale"));
    encoder.similarity = Similarity{.kind = SimilarityKind::softmax, .scale = scale};
  }
  if (type != kText) encoder.image = load_vision(directory, config, checkpoint, encoder.similarity);
  if (type != kVision) encoder.text = load_text(directory, config, checkpoint, encoder.similarity);
  return encoder;
}

}  // namespace trine
