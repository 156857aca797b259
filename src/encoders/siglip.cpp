#include "trine/encoders/siglip.h"

#include <cmath>
#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/attention_pool.h"
#include "encoders/config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "SiglipConfig";
constexpr const char* kLoad = "load_siglip";

/// What a `model_type` stands for.
struct Kind {
  std::string model_type;
  bool vision = false;
  bool text = false;
  bool naflex = false;
};

Kind read_kind(const detail::Json& json) {
  Kind kind{.model_type = detail::get<std::string>(kConfig, json, "model_type")};
  for (const char* family : {"siglip", "siglip2"}) {
    const std::string name = family;
    kind.naflex = name == "siglip2";
    kind.vision = kind.model_type == name || kind.model_type == name + "_vision_model";
    kind.text = kind.model_type == name || kind.model_type == name + "_text_model";
    if (kind.vision || kind.text) return kind;
  }
  detail::failure(kConfig, "\"model_type\" is ", detail::shown(kind.model_type),
                  ", known are siglip and siglip2, alone or followed by _vision_model or _text_model");
}

SiglipVisionConfig read_vision(const detail::Json& json, bool naflex) {
  SiglipVisionConfig config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.patch_size = detail::read_square(kConfig, json, "patch_size", 4'096, config.patch_size);
  if (naflex) {
    config.num_patches = detail::read_size(kConfig, json, "num_patches", 16'384, 256);
    const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(config.num_patches))));
    if (side * side != config.num_patches) {
      detail::failure(kConfig, "\"num_patches\" is ", config.num_patches, ", wanted a square number");
    }
    config.image_size = side * config.patch_size;  // what the table of positions was made for
  } else {
    config.image_size = detail::read_square(kConfig, json, "image_size", 4'096, config.image_size);
  }
  if (!detail::get_or(kConfig, json, "vision_use_head", true)) {
    detail::failure(kConfig, "\"vision_use_head\" is false, which leaves no vector of the picture");
  }
  const std::int64_t grid = detail::read_grid(kConfig, json, config.image_size, config.patch_size);
  detail::check_size(kConfig, config.transformer, 3 * config.patch_size * config.patch_size + grid * grid);
  return config;
}

SiglipTextConfig read_text(const detail::Json& json) {
  SiglipTextConfig config;
  config.transformer = detail::read_transformer(kConfig, json, config.transformer);
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 2'000'000, config.vocab_size);
  config.max_position_embeddings =
      detail::read_size(kConfig, json, "max_position_embeddings", 32'768, config.max_position_embeddings);
  config.projection_size = detail::read_size(kConfig, json, "projection_size", 16'384, config.transformer.hidden_size);
  detail::check_size(kConfig, config.transformer, config.vocab_size + config.max_position_embeddings);
  return config;
}

std::unique_ptr<ImageEncoder> load_vision(const std::filesystem::path& directory, const Kind& kind,
                                          const SiglipVisionConfig& config, const Checkpoint& checkpoint,
                                          const std::optional<Similarity>& similarity) {
  ImageProcessor processor =
      ImageProcessor::load(directory, kind.naflex ? "Siglip2ImageProcessor" : "SiglipImageProcessor");
  if (kind.naflex != (processor.max_num_patches != 0)) {
    detail::failure(kLoad, "\"image_processor_type\" is ", processor.image_processor_type, ", which does not go with ",
                    kind.model_type);
  }
  if (kind.naflex && processor.patch_size != config.patch_size) {
    detail::failure(kLoad, "the image processor's \"patch_size\" is ", processor.patch_size, ", the network's is ",
                    config.patch_size);
  }
  if (!kind.naflex) detail::check_processor(kLoad, processor, config.image_size);
  SiglipVision network(config);
  const std::string prefix = detail::prefix_of(checkpoint, "vision_model");
  detail::load_tower(kLoad, *network, checkpoint, prefix, {".position_ids"});
  return std::make_unique<detail::ImageTower>(
      kind.model_type, std::move(processor), config.transformer.hidden_size,
      [network](const Tensor& pixels) { return network->forward(pixels); },
      detail::describe_network(config.transformer, "a learned query over all patches, then a feed-forward part",
                               *network, similarity),
      std::vector<TrainablePart>{{prefix, network.ptr()}});
}

std::unique_ptr<TextEncoder> load_text(const std::filesystem::path& directory, const Kind& kind,
                                       const SiglipTextConfig& config, const Checkpoint& checkpoint,
                                       const std::optional<Similarity>& similarity) {
  SiglipText network(config);
  const std::string prefix = detail::prefix_of(checkpoint, "text_model");
  detail::load_tower(kLoad, *network, checkpoint, prefix, {".position_ids"});
  return std::make_unique<detail::TextTower>(
      kLoad, directory, kind.model_type, Tokenizer::load(directory), config.vocab_size, config.max_position_embeddings,
      detail::Padding::max_length, config.projection_size,
      [network](const Tensor& ids) { return network->forward(ids); },
      detail::describe_network(config.transformer, "the last position, then a linear layer", *network, similarity),
      std::vector<TrainablePart>{{prefix, network.ptr()}});
}

}  // namespace

SiglipConfig SiglipConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  const Kind kind = read_kind(json);
  const bool both = kind.vision && kind.text;
  SiglipConfig config;
  if (kind.vision)
    config.vision_config = read_vision(both ? detail::read_part(kConfig, json, "vision_config") : json, kind.naflex);
  if (kind.text) config.text_config = read_text(both ? detail::read_part(kConfig, json, "text_config") : json);
  return config;
}

namespace detail {

/// naflex: a linear layer over the numbers of a patch, row by row, with the channels innermost.
class SiglipFlatPatches : public LinearImpl {
 public:
  SiglipFlatPatches(std::int64_t in, std::int64_t out) : LinearImpl(in, out), packed_({{weight, bias}}) {}
  Tensor forward(const Tensor& flat) const { return packed_.forward(flat); }

 private:
  InferenceLinear packed_;
};

}  // namespace detail

namespace {

std::shared_ptr<detail::AttentionPool> make_head(const TransformerConfig& config) {
  const std::int64_t dim = config.hidden_size;
  auto head = std::make_shared<detail::AttentionPool>();
  head->heads = config.num_attention_heads;
  head->activation = config.hidden_act;
  head->latent = head->register_parameter("probe", torch::empty({1, 1, dim}));
  const auto attention = head->register_module("attention", std::make_shared<torch::nn::Module>());
  const Tensor weight = attention->register_parameter("in_proj_weight", torch::empty({3 * dim, dim}));
  const Tensor bias = attention->register_parameter("in_proj_bias", torch::empty({3 * dim}));
  head->query = detail::InferenceLinear({weight, bias}, 0, dim);
  head->key_value = detail::InferenceLinear({weight, bias}, dim, 3 * dim);
  head->out = detail::InferenceLinear({attention->register_module("out_proj", Linear(dim, dim))});
  head->norm = head->register_module("layernorm", LayerNorm(dim, config.layer_norm_eps));
  head->expand = detail::InferenceLinear({register_at(*head, "mlp.fc1", Linear(dim, config.intermediate_size))});
  head->contract = detail::InferenceLinear({register_at(*head, "mlp.fc2", Linear(config.intermediate_size, dim))});
  return head;
}

}  // namespace

SiglipVisionImpl::SiglipVisionImpl(const SiglipVisionConfig& config) : config_(config) {
  const TransformerConfig& transformer = config.transformer;
  const std::int64_t dim = transformer.hidden_size, grid = config.image_size / config.patch_size;
  const auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  if (config.num_patches == 0) {
    patches_ = embeddings->register_module("patch_embedding", PatchEmbedding(dim, config.patch_size));
  } else {
    const std::int64_t patch = 3 * config.patch_size * config.patch_size;
    flat_patches_ =
        embeddings->register_module("patch_embedding", std::make_shared<detail::SiglipFlatPatches>(patch, dim));
  }
  positions_ = embeddings->register_module("position_embedding", Embedding(grid * grid, dim));
  encoder_ = register_module("encoder", Transformer(transformer, detail::kPairKeys));
  post_norm_ = register_module("post_layernorm", LayerNorm(dim, transformer.layer_norm_eps));
  head_ = register_module("head", make_head(transformer));
}

Tensor SiglipVisionImpl::embed(const Tensor& pixels) const {
  if (!patches_.is_empty()) {
    detail::check_pixels(pixels, config_.image_size);
    return patches_->forward(pixels) + positions_->weight;
  }
  detail::check_pixels(pixels);
  const std::int64_t patch = config_.patch_size, rows = pixels.size(2) / patch, columns = pixels.size(3) / patch;
  if (rows * columns == 0 || rows * patch != pixels.size(2) || columns * patch != pixels.size(3)) {
    detail::bad_argument("encode", "pixels of shape ", pixels.sizes(), ", wanted sides in whole patches of ", patch);
  }
  const Tensor flat = pixels.view({-1, 3, rows, patch, columns, patch})
                          .permute({0, 2, 4, 3, 5, 1})
                          .reshape({pixels.size(0), rows * columns, -1});
  return flat_patches_->forward(flat) +
         resize_positions(positions_->weight, rows, columns, PositionResize::antialiased_bilinear);
}

Tensor SiglipVisionImpl::forward(const Tensor& pixels) const {
  return head_->forward(post_norm_->forward(encoder_->forward(embed(pixels))));
}

SiglipTextImpl::SiglipTextImpl(const SiglipTextConfig& config) {
  const TransformerConfig& transformer = config.transformer;
  embeddings_ = register_module(
      "embeddings", TokenEmbedding(config.vocab_size, config.max_position_embeddings, transformer.hidden_size));
  encoder_ = register_module("encoder", Transformer(transformer, detail::kPairKeys));
  final_norm_ = register_module("final_layer_norm", LayerNorm(transformer.hidden_size, transformer.layer_norm_eps));
  head_ = register_module("head", Linear(transformer.hidden_size, config.projection_size));
}

Tensor SiglipTextImpl::forward(const Tensor& ids) const {
  const Tensor states = encoder_->forward(embeddings_->forward(ids));
  return head_->forward(final_norm_->forward(states.select(1, -1)));
}

AnyEncoder load_siglip(const std::filesystem::path& directory) {
  const Kind kind = read_kind(detail::read_json(kConfig, directory / "config.json"));
  const SiglipConfig config = SiglipConfig::load(directory / "config.json");
  const Checkpoint checkpoint = Checkpoint::open(directory);
  AnyEncoder encoder;
  if (kind.vision && kind.text) {
    if (config.text_config.projection_size != config.vision_config.transformer.hidden_size) {
      detail::failure(kConfig, "\"projection_size\" of the texts is ", config.text_config.projection_size,
                      ", \"hidden_size\" of the pictures is ", config.vision_config.transformer.hidden_size);
    }
    encoder.similarity = Similarity{.kind = SimilarityKind::sigmoid,
                                    .scale = std::exp(detail::load_scalar(kLoad, checkpoint, "logit_scale")),
                                    .bias = detail::load_scalar(kLoad, checkpoint, "logit_bias")};
  }
  if (kind.vision) encoder.image = load_vision(directory, kind, config.vision_config, checkpoint, encoder.similarity);
  if (kind.text) encoder.text = load_text(directory, kind, config.text_config, checkpoint, encoder.similarity);
  return encoder;
}

}  // namespace trine
