#include "trine/encoders/open_clip.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "detail/error.h"
#include "encoders/config.h"
#include "encoders/towers.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "OpenClipConfig";
constexpr const char* kLoad = "load_open_clip";
constexpr const char* kFile = "open_clip_config.json";
constexpr const char* kWeights = "open_clip_model.safetensors";
constexpr const char* kTrunk = "visual.trunk.";  // where timm's model is

/// Where OpenAI's CLIP, and what was trained with its code, keeps the parts of a block.
constexpr TransformerKeys kKeys{.blocks = "resblocks",
                                .attention_norm = "ln_1",
                                .query = nullptr,
                                .key = nullptr,
                                .value = nullptr,
                                .attention_out = "attn.out_proj",
                                .attention_scale = nullptr,
                                .feed_forward_norm = "ln_2",
                                .expand = "mlp.c_fc",
                                .contract = "mlp.c_proj",
                                .feed_forward_scale = nullptr,
                                .qkv = "attn.in_proj_"};

detail::Json read_object(const detail::Json& json, const char* key) {
  const auto object = detail::get<detail::Json>(kConfig, json, key);
  if (!object.is_object()) detail::failure(kConfig, "\"", key, "\" is not an object");
  return object;
}

/// Refuses what would change the network and is not known here.
void check_keys(const detail::Json& part, const char* name, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : part.items()) {
    const bool off = value.is_null() || value == false || value == 0;
    if (off || std::find(known.begin(), known.end(), key) != known.end()) continue;
    detail::failure(kConfig, "\"", name, "\" has ", detail::shown(key), " = ", detail::shown(value.dump()),
                    ", which is not known");
  }
}

/// A word that has to be one of those the network is written for.
void check_word(const detail::Json& part, const char* key, std::string_view wanted) {
  const auto word = detail::get_or(kConfig, part, key, std::string(wanted));
  if (word != wanted) detail::failure(kConfig, "\"", key, "\" is ", detail::shown(word), ", known is ", wanted);
}

TransformerConfig read_blocks(const detail::Json& part, std::int64_t width, std::int64_t heads, bool quick_gelu) {
  TransformerConfig config{.layer_norm_eps = 1e-5};
  config.hidden_size = width;
  config.num_attention_heads = heads;
  config.num_hidden_layers = detail::read_size(kConfig, part, "layers", 256, 12);
  const double ratio = detail::get_or(kConfig, part, "mlp_ratio", 4.0);
  if (!(ratio > 0 && ratio <= 64)) detail::failure(kConfig, "\"mlp_ratio\" is ", ratio, ", wanted above 0, at most 64");
  config.intermediate_size = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(width) * ratio));
  config.hidden_act = quick_gelu ? Activation::quick_gelu : Activation::gelu;
  const auto norm = detail::get_or(kConfig, part, "norm_kwargs", detail::Json::object());
  config.layer_norm_eps = detail::read_epsilon(kConfig, norm, "eps", config.layer_norm_eps);
  return config;
}

OpenClipVisionConfig read_vision(const detail::Json& json, bool quick_gelu) {
  check_keys(json, "vision_cfg",
             {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "norm_kwargs", "pool_type",
              "pos_embed_type", "attn_pooler_queries", "attn_pooler_heads", "timm_pool", "timm_proj", "patch_dropout"});
  check_word(json, "pool_type", "tok");
  check_word(json, "pos_embed_type", "learnable");
  OpenClipVisionConfig config;
  const std::int64_t width = detail::read_size(kConfig, json, "width", 16'384, 768);
  const std::int64_t head = detail::read_size(kConfig, json, "head_width", 16'384, 64);
  detail::check_heads(kConfig, "head_width", head, "width", width);
  config.transformer = read_blocks(json, width, width / head, quick_gelu);
  config.image_size = detail::read_square(kConfig, json, "image_size", 4'096, config.image_size);
  config.patch_size = detail::read_square(kConfig, json, "patch_size", 4'096, config.patch_size);
  const std::int64_t grid = detail::read_grid(kConfig, json, config.image_size, config.patch_size);
  detail::check_size(kConfig, config.transformer, 3 * config.patch_size * config.patch_size + grid * grid);
  return config;
}

VitPeConfig read_timm(const detail::Json& json, const std::string& name, std::int64_t embed_dim) {
  if (!is_vit_pe(name)) {
    detail::failure(kConfig, "\"timm_model_name\" is ", detail::shown(name), ", known are vit_pe_core_... of timm");
  }
  // the name overrides the sizes
  check_keys(json, "vision_cfg",
             {"timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop", "timm_drop_path",
              "image_size", "patch_dropout", "layers", "width", "head_width", "mlp_ratio", "patch_size"});
  const VitPeConfig config = VitPeConfig::of(name, embed_dim);
  if (const auto pool = detail::get_or<std::string>(kConfig, json, "timm_pool", "avg"); pool != config.global_pool) {
    detail::failure(kConfig, "\"timm_pool\" is ", detail::shown(pool), ", known for ", name, " is ",
                    config.global_pool);
  }
  if (const auto projection = detail::get_or<std::string>(kConfig, json, "timm_proj", ""); !projection.empty()) {
    detail::failure(kConfig, "\"timm_proj\" is ", detail::shown(projection),
                    ", known is none: timm's last layer projects");
  }
  return config;
}

OpenClipTextConfig read_text(const detail::Json& json, bool quick_gelu) {
  check_keys(json, "text_cfg",
             {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "norm_kwargs", "pool_type",
              "proj_type", "eos_id", "pad_id", "hf_tokenizer_name", "tokenizer_mode"});
  check_word(json, "pool_type", "argmax");
  check_word(json, "proj_type", "linear");
  OpenClipTextConfig config;
  const std::int64_t width = detail::read_size(kConfig, json, "width", 16'384, 512);
  const std::int64_t heads = detail::read_size(kConfig, json, "heads", 256, 8);
  detail::check_heads(kConfig, "heads", heads, "width", width);
  config.transformer = read_blocks(json, width, heads, quick_gelu);
  config.context_length = detail::read_size(kConfig, json, "context_length", 32'768, config.context_length);
  config.vocab_size = detail::read_size(kConfig, json, "vocab_size", 2'000'000, config.vocab_size);
  detail::check_size(kConfig, config.transformer, config.vocab_size + config.context_length);
  return config;
}

std::unique_ptr<ImageEncoder> load_vision(const std::filesystem::path& directory, const OpenClipConfig& config,
                                          const Checkpoint& checkpoint, const Similarity& similarity) {
  ImageProcessor processor = ImageProcessor::load_open_clip(directory / kFile);
  detail::check_processor(kLoad, processor, config.timm ? config.timm->img_size : config.vision_cfg.image_size);
  if (config.timm) {
    VitPe network(*config.timm);
    detail::load_tower(kLoad, *network, checkpoint, kTrunk);
    return std::make_unique<detail::ImageTower>(
        config.timm->architecture, std::move(processor), config.embed_dim,
        [network](const Tensor& pixels) { return network->forward(pixels); },
        detail::describe_network(config.timm->transformer,
                                 "a learned query over all tokens, then a feed-forward part, projected", *network,
                                 similarity),
        std::vector<TrainablePart>{{kTrunk, network.ptr()}});
  }
  OpenClipVision network(config.vision_cfg, config.embed_dim);
  detail::load_tower(kLoad, *network, checkpoint, "visual.");
  return std::make_unique<detail::ImageTower>(
      "open_clip", std::move(processor), config.embed_dim,
      [network](const Tensor& pixels) { return network->forward(pixels); },
      detail::describe_network(config.vision_cfg.transformer, "the class token, projected", *network, similarity),
      std::vector<TrainablePart>{{"visual.", network.ptr()}});
}

std::unique_ptr<TextEncoder> load_text(const std::filesystem::path& directory, const OpenClipConfig& config,
                                       const Checkpoint& checkpoint, const Similarity& similarity) {
  const OpenClipTextConfig& text = config.text_cfg;
  // "custom_text" puts the tower under a name; which of the two it is shows in the weights
  const std::string prefix = checkpoint.contains("text.positional_embedding") ? "text." : "";
  OpenClipText network(text, config.embed_dim);
  if (prefix.empty()) {
    load_weights(*network, checkpoint);
    network->eval();
  } else {
    detail::load_tower(kLoad, *network, checkpoint, prefix, {"attn_mask"});
  }
  return std::make_unique<detail::TextTower>(
      kLoad, directory, "open_clip", Tokenizer::load(directory), text.vocab_size, text.context_length,
      detail::Padding::repeat_end, config.embed_dim, [network](const Tensor& ids) { return network->forward(ids); },
      detail::describe_network(text.transformer, "the token of the highest id, projected", *network, similarity),
      std::vector<TrainablePart>{{prefix, network.ptr()}});
}

}  // namespace

OpenClipConfig OpenClipConfig::load(const std::filesystem::path& open_clip_config_json) {
  const detail::Json json = read_object(detail::read_json(kConfig, open_clip_config_json), "model_cfg");
  check_keys(json, "model_cfg",
             {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias",
              "nonscalar_logit_scale"});
  OpenClipConfig config;
  config.embed_dim = detail::read_size(kConfig, json, "embed_dim", 16'384);
  const bool quick_gelu = detail::get_or(kConfig, json, "quick_gelu", false);
  const detail::Json vision = read_object(json, "vision_cfg");
  if (const auto timm = detail::get_or<std::string>(kConfig, vision, "timm_model_name", ""); !timm.empty()) {
    config.timm = read_timm(vision, timm, config.embed_dim);
  } else {
    config.vision_cfg = read_vision(vision, quick_gelu);
  }
  config.text_cfg = read_text(read_object(json, "text_cfg"), quick_gelu);
  return config;
}

OpenClipVisionImpl::OpenClipVisionImpl(const OpenClipVisionConfig& config, std::int64_t embed_dim)
    : image_size_(config.image_size) {
  const TransformerConfig& transformer = config.transformer;
  const std::int64_t width = transformer.hidden_size, grid = config.image_size / config.patch_size;
  class_embedding_ = register_parameter("class_embedding", torch::empty({width}));
  positions_ = register_parameter("positional_embedding", torch::empty({grid * grid + 1, width}));
  patches_ = register_module("conv1", PatchEmbedding(width, config.patch_size, /*with_bias=*/false));
  pre_norm_ = register_module("ln_pre", LayerNorm(width, transformer.layer_norm_eps));
  transformer_ = register_module("transformer", Transformer(transformer, kKeys));
  post_norm_ = register_module("ln_post", LayerNorm(width, transformer.layer_norm_eps));
  projection_ = register_parameter("proj", torch::empty({width, embed_dim}));
}

Tensor OpenClipVisionImpl::forward(const Tensor& pixels) const {
  detail::check_pixels(pixels, image_size_);
  const Tensor tokens =
      torch::cat({class_embedding_.expand({pixels.size(0), 1, -1}), patches_->forward(pixels)}, 1) + positions_;
  const Tensor states = transformer_->forward(pre_norm_->forward(tokens));
  return post_norm_->forward(states.select(1, 0)).matmul(projection_);
}

OpenClipTextImpl::OpenClipTextImpl(const OpenClipTextConfig& config, std::int64_t embed_dim) {
  const TransformerConfig& transformer = config.transformer;
  tokens_ = register_module("token_embedding", Embedding(config.vocab_size, transformer.hidden_size));
  positions_ =
      register_parameter("positional_embedding", torch::empty({config.context_length, transformer.hidden_size}));
  transformer_ = register_module("transformer", Transformer(transformer, kKeys));
  final_norm_ = register_module("ln_final", LayerNorm(transformer.hidden_size, transformer.layer_norm_eps));
  projection_ = register_parameter("text_projection", torch::empty({transformer.hidden_size, embed_dim}));
}

Tensor OpenClipTextImpl::forward(const Tensor& ids) const {
  detail::check_ids(ids, positions_.size(0));
  const Tensor embedded = tokens_->forward(ids) + positions_.slice(0, 0, ids.size(1));
  const Tensor states = transformer_->forward(embedded, /*causal=*/true);
  const Tensor ends =
      states.index({torch::arange(ids.size(0), ids.device()), ids.argmax(1)});  // argmax gives the first of equals
  return final_norm_->forward(ends).matmul(projection_);
}

bool is_open_clip(const std::filesystem::path& directory) {
  const auto there = [&](const char* name) { return std::filesystem::exists(directory / name); };
  if (!there(kFile)) return false;
  const bool others = there("model.safetensors") || there("model.safetensors.index.json");
  return !there("config.json") || (there(kWeights) && !others);
}

AnyEncoder load_open_clip(const std::filesystem::path& directory) {
  const OpenClipConfig config = OpenClipConfig::load(directory / kFile);
  const std::filesystem::path weights = directory / kWeights;
  const Checkpoint checkpoint = Checkpoint::open(std::filesystem::exists(weights) ? weights : directory);
  Similarity similarity{.scale = std::exp(detail::load_scalar(kLoad, checkpoint, "logit_scale"))};
  if (checkpoint.contains("logit_bias")) {  // of those trained with a sigmoid
    similarity.kind = SimilarityKind::sigmoid;
    similarity.bias = detail::load_scalar(kLoad, checkpoint, "logit_bias");
  }
  return {.image = load_vision(directory, config, checkpoint, similarity),
          .text = load_text(directory, config, checkpoint, similarity),
          .similarity = similarity};
}

}  // namespace trine
