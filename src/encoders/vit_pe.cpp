#include "trine/encoders/vit_pe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "detail/error.h"
#include "encoders/attention_pool.h"
#include "encoders/config.h"
#include "encoders/rotation.h"
#include "encoders/towers.h"
#include "encoders/vit_pe_config.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "VitPeConfig";
constexpr const char* kLoad = "load_vit_pe";
constexpr std::int64_t kClassToken = 1;
constexpr std::int64_t kMostClasses = 65'536;

/// What the name of an architecture stands for.
struct Architecture {
  const char* name;
  bool core;
  std::int64_t img_size, patch_size, embed_dim, depth, num_heads;
  double mlp_ratio;
  bool class_token, layer_scale;
};
constexpr double kGiant = 8960.0 / 1536;
constexpr std::array<Architecture, 12> kArchitectures{{
    {"vit_pe_core_tiny_patch16_384", true, 384, 16, 192, 12, 3, 4, true, false},
    {"vit_pe_core_small_patch16_384", true, 384, 16, 384, 12, 6, 4, true, false},
    {"vit_pe_core_base_patch16_224", true, 224, 16, 768, 12, 12, 4, true, false},
    {"vit_pe_core_large_patch14_336", true, 336, 14, 1024, 24, 16, 4, true, false},
    {"vit_pe_core_gigantic_patch14_448", true, 448, 14, 1536, 50, 16, kGiant, false, false},
    {"vit_pe_lang_large_patch14_448", false, 448, 14, 1024, 23, 16, 4, true, true},
    {"vit_pe_lang_gigantic_patch14_448", false, 448, 14, 1536, 47, 16, kGiant, false, true},
    {"vit_pe_spatial_tiny_patch16_512", false, 512, 16, 192, 12, 3, 4, true, false},
    {"vit_pe_spatial_small_patch16_512", false, 512, 16, 384, 12, 6, 4, true, false},
    {"vit_pe_spatial_base_patch16_512", false, 512, 16, 768, 12, 12, 4, true, false},
    {"vit_pe_spatial_large_patch14_448", false, 448, 14, 1024, 24, 16, 4, true, false},
    {"vit_pe_spatial_gigantic_patch14_448", false, 448, 14, 1536, 50, 16, kGiant, false, true},
}};

const Architecture* find(const std::string& name) {
  const auto found =
      std::find_if(kArchitectures.begin(), kArchitectures.end(), [&](const Architecture& a) { return name == a.name; });
  return found == kArchitectures.end() ? nullptr : &*found;
}

constexpr std::array<const char*, 16> kModelArgs{
    "attn_pool_mlp_ratio", "attn_pool_num_heads", "class_token",      "depth",
    "embed_dim",           "global_pool",         "img_size",         "in_chans",
    "init_values",         "mlp_ratio",           "num_classes",      "num_heads",
    "patch_size",          "ref_feat_shape",      "rope_grid_offset", "rope_temperature"};

constexpr TransformerKeys keys_of(bool layer_scale) {
  return {.blocks = "blocks",
          .attention_norm = "norm1",
          .query = nullptr,
          .key = nullptr,
          .value = nullptr,
          .attention_out = "attn.proj",
          .attention_scale = layer_scale ? "gamma_1" : nullptr,
          .feed_forward_norm = "norm2",
          .expand = "mlp.fc1",
          .contract = "mlp.fc2",
          .feed_forward_scale = layer_scale ? "gamma_2" : nullptr,
          .qkv = "attn.qkv."};
}

std::int64_t scaled(const detail::Json& json, const char* key, double fallback, std::int64_t dim) {
  const double ratio = detail::get_or(kConfig, json, key, fallback);
  if (!(ratio > 0 && ratio <= 64)) detail::failure(kConfig, "\"", key, "\" is ", ratio, ", wanted above 0, at most 64");
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(dim) * ratio));
}

/// `args`: "model_args" of config.json; `img_size`: of its "pretrained_cfg".
VitPeConfig make(const std::string& name, const detail::Json& args, std::int64_t img_size, std::int64_t num_classes) {
  const Architecture* known = find(name);
  if (known == nullptr) {
    std::string all;
    for (const Architecture& a : kArchitectures) all += std::string(all.empty() ? "" : ", ") + a.name;
    detail::failure(kConfig, "\"architecture\" is ", detail::shown(name), ", known are ", all);
  }
  for (const auto& [key, value] : args.items()) {
    if (std::find(kModelArgs.begin(), kModelArgs.end(), key) != kModelArgs.end()) continue;
    std::string all;
    for (const char* arg : kModelArgs) all += std::string(all.empty() ? "" : ", ") + arg;
    detail::failure(kConfig, "\"model_args\" has ", detail::shown(key), ", known are ", all);
  }
  if (const auto channels = detail::read_size(kConfig, args, "in_chans", 1'024, 3); channels != 3) {
    detail::failure(kConfig, "\"in_chans\" is ", channels, ", known is 3");
  }
  VitPeConfig config{.architecture = name};
  TransformerConfig& transformer = config.transformer;
  transformer.hidden_size = detail::read_size(kConfig, args, "embed_dim", 16'384, known->embed_dim);
  transformer.num_hidden_layers = detail::read_size(kConfig, args, "depth", 256, known->depth);
  transformer.num_attention_heads = detail::read_size(kConfig, args, "num_heads", 256, known->num_heads);
  transformer.intermediate_size = scaled(args, "mlp_ratio", known->mlp_ratio, transformer.hidden_size);
  config.img_size = detail::read_square(kConfig, args, "img_size", 4'096, img_size != 0 ? img_size : known->img_size);
  config.patch_size = detail::read_square(kConfig, args, "patch_size", 4'096, known->patch_size);
  config.class_token = detail::get_or(kConfig, args, "class_token", known->class_token);
  config.layer_scale = args.contains("init_values") ? !args.at("init_values").is_null() : known->layer_scale;
  config.post_transformer_norm = known->core;
  config.global_pool = detail::get_or<std::string>(kConfig, args, "global_pool", known->core ? "map" : "avg");
  const bool pooled = known->core
                          ? config.global_pool == "map"
                          : config.global_pool == "avg" || (config.global_pool == "token" && config.class_token);
  if (!pooled) {
    detail::failure(kConfig, "\"global_pool\" is ", detail::shown(config.global_pool), ", known for ", name, " is ",
                    known->core ? "map" : "avg, and token where there is a class token");
  }
  config.attn_pool_num_heads = detail::read_size(kConfig, args, "attn_pool_num_heads", 256, 8);
  config.attn_pool_hidden = scaled(args, "attn_pool_mlp_ratio", 4, transformer.hidden_size);
  config.ref_feat_shape =
      detail::read_square(kConfig, args, "ref_feat_shape", 4'096, known->img_size / known->patch_size);
  config.rope_grid_offset = detail::get_or(kConfig, args, "rope_grid_offset", known->class_token ? 1.0 : 0.0);
  config.rope_temperature = detail::get_or(kConfig, args, "rope_temperature", config.rope_temperature);
  if (!(config.rope_temperature > 0 && config.rope_temperature < 1e12)) {
    detail::failure(kConfig, "\"rope_temperature\" is ", config.rope_temperature, ", wanted above 0 and below 1e12");
  }
  if (!(std::abs(config.rope_grid_offset) < 1e6)) {
    detail::failure(kConfig, "\"rope_grid_offset\" is ", config.rope_grid_offset, ", wanted below 1e6");
  }
  config.num_classes = detail::get_or(kConfig, args, "num_classes", num_classes);
  if (config.num_classes < 0 || config.num_classes > kMostClasses) {
    detail::failure(kConfig, "\"num_classes\" is ", config.num_classes, ", wanted 0 to ", kMostClasses);
  }

  const std::int64_t dim = transformer.hidden_size;
  detail::check_heads(kConfig, "num_heads", transformer.num_attention_heads, "embed_dim", dim);
  if (dim / transformer.num_attention_heads % 4 != 0) {
    detail::failure(kConfig, "\"num_heads\" is ", transformer.num_attention_heads, ", which makes heads of ",
                    dim / transformer.num_attention_heads,
                    " channels; angles of rows and columns want a multiple of 4");
  }
  if (known->core) detail::check_heads(kConfig, "attn_pool_num_heads", config.attn_pool_num_heads, "embed_dim", dim);
  const std::int64_t grid = detail::read_grid(kConfig, detail::Json::object(), config.img_size, config.patch_size);
  const std::int64_t pool = known->core ? 4 * dim + 2 * config.attn_pool_hidden : 0;
  detail::check_size(kConfig, transformer,
                     3 * config.patch_size * config.patch_size + grid * grid + pool + config.num_classes);
  return config;
}

/// Half of a head's channels turn by the column, half by the row, counted from `rope_grid_offset` in patches of the
/// reference grid.
Rotation make_rotation(const VitPeConfig& config) {
  const std::int64_t grid = config.img_size / config.patch_size;
  const std::int64_t head = config.transformer.hidden_size / config.transformer.num_attention_heads, bands = head / 4;
  const Tensor exponents = torch::arange(bands).to(torch::kFloat32) / bands;
  const Tensor frequencies = torch::pow(config.rope_temperature, exponents).reciprocal();
  const Tensor places =
      (torch::arange(grid).to(torch::kFloat32) + config.rope_grid_offset) / grid * config.ref_feat_shape;
  const Tensor angles = places.unsqueeze(1) * frequencies;  // (grid, bands)
  const Tensor columns = angles.unsqueeze(0).expand({grid, grid, bands});
  const Tensor rows = angles.unsqueeze(1).expand({grid, grid, bands});
  const Tensor both = torch::cat({columns, rows}, -1).flatten(0, 1).repeat_interleave(2, -1);  // (patches, head)
  if (!config.class_token) return {both.cos(), both.sin()};
  const Tensor all = torch::cat({torch::zeros({kClassToken, head}), both});
  return {all.cos(), all.sin()};
}

/// transformers' TimmWrapper keeps timm's model one level down.
constexpr const char* kWrapper = "timm_model.";

}  // namespace

bool is_vit_pe(const std::string& architecture) { return find(architecture) != nullptr; }

VitPeConfig VitPeConfig::load(const std::filesystem::path& config_json) {
  return detail::read_vit_pe(detail::read_json(kConfig, config_json));
}

VitPeConfig VitPeConfig::of(const std::string& architecture, std::int64_t num_classes) {
  return make(architecture, detail::Json::object(), 0, num_classes);
}

namespace detail {

VitPeConfig read_vit_pe(const Json& json) {
  const auto object = [&](const Json& from, const char* key) {
    const auto found = get_or(kConfig, from, key, Json::object());
    if (!found.is_object()) failure(kConfig, "\"", key, "\" is not an object");
    return found;
  };
  const Json cfg = json.contains("pretrained_cfg") ? object(json, "pretrained_cfg") : json;
  const auto name = get<std::string>(kConfig, json, "architecture");
  const auto classes = get_or<std::int64_t>(kConfig, cfg, "num_classes", 0);
  std::int64_t size = 0;
  if (const auto input = get_or<std::vector<std::int64_t>>(kConfig, cfg, "input_size", {}); !input.empty()) {
    if (input.size() != 3) failure(kConfig, "\"input_size\" has ", input.size(), " values, wanted 3");
    size = read_square(kConfig, {{"input_size", {input[1], input[2]}}}, "input_size", 4'096, 0);
  }
  return make(name, object(json, "model_args"), size, get_or(kConfig, json, "num_classes", classes));
}

}  // namespace detail

namespace {

std::shared_ptr<detail::AttentionPool> make_pool(const VitPeConfig& config) {
  const std::int64_t dim = config.transformer.hidden_size, hidden = config.attn_pool_hidden;
  auto pool = std::make_shared<detail::AttentionPool>();
  pool->heads = config.attn_pool_num_heads;
  pool->latent = pool->register_parameter("latent", torch::empty({1, 1, dim}));
  pool->query = detail::InferenceLinear({pool->register_module("q", Linear(dim, dim))});
  pool->key_value = detail::InferenceLinear({pool->register_module("kv", Linear(dim, 2 * dim))});
  pool->out = detail::InferenceLinear({pool->register_module("proj", Linear(dim, dim))});
  pool->norm = pool->register_module("norm", LayerNorm(dim, config.transformer.layer_norm_eps));
  pool->expand = detail::InferenceLinear({register_at(*pool, "mlp.fc1", Linear(dim, hidden))});
  pool->contract = detail::InferenceLinear({register_at(*pool, "mlp.fc2", Linear(hidden, dim))});
  return pool;
}

}  // namespace

VitPeImpl::VitPeImpl(const VitPeConfig& config)
    : config_(config), rotation_(detail::on(detail::load_device(), make_rotation(config))) {
  const TransformerConfig& transformer = config.transformer;
  const std::int64_t dim = transformer.hidden_size, grid = config.img_size / config.patch_size;
  if (config.class_token) class_token_ = register_parameter("cls_token", torch::empty({1, 1, dim}));
  positions_ =
      register_parameter("pos_embed", torch::empty({1, grid * grid + (config.class_token ? kClassToken : 0), dim}));
  patches_ = register_at(*this, "patch_embed.proj", PatchEmbedding(dim, config.patch_size, /*with_bias=*/false));
  pre_norm_ = register_module("norm_pre", LayerNorm(dim, transformer.layer_norm_eps));
  blocks_ = Transformer(transformer, keys_of(config.layer_scale));
  for (const auto& child : blocks_->named_children()) register_module(child.key(), child.value());  // "blocks"
  if (config.post_transformer_norm) norm_ = register_module("norm", LayerNorm(dim, transformer.layer_norm_eps));
  if (config.global_pool == "map") pool_ = register_module("attn_pool", make_pool(config));
  if (config.num_classes != 0) head_ = register_module("head", Linear(dim, config.num_classes));
}

Tensor VitPeImpl::forward(const Tensor& pixels) const {
  detail::check_pixels(pixels, config_.img_size);
  Tensor x = patches_->forward(pixels);
  if (config_.class_token) x = torch::cat({class_token_.expand({x.size(0), 1, -1}), x}, 1);
  x = blocks_->forward(pre_norm_->forward(x + positions_), /*causal=*/false, detail::on(x.device(), rotation_));
  if (!norm_.is_empty()) x = norm_->forward(x);
  if (pool_ != nullptr) {
    x = pool_->forward(x);
  } else if (config_.global_pool == "token") {
    x = x.select(1, 0);
  } else {
    x = x.slice(1, config_.class_token ? kClassToken : 0).mean(1);
  }
  return head_.is_empty() ? x : head_->forward(x);
}

std::unique_ptr<ImageEncoder> load_vit_pe(const std::filesystem::path& directory) {
  VitPeConfig config = VitPeConfig::load(directory / "config.json");
  ImageProcessor processor = ImageProcessor::load_timm(directory / "config.json");
  detail::check_processor(kLoad, processor, config.img_size);
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const bool wrapped = checkpoint.contains(kWrapper + std::string("pos_embed"));
  // TimmWrapperModel leaves the last layer out, whatever its config says
  if (wrapped && !checkpoint.contains(kWrapper + std::string("head.weight"))) config.num_classes = 0;
  VitPe network(config);
  const std::string prefix = wrapped ? kWrapper : "";
  detail::load_tower(kLoad, *network, checkpoint, prefix);
  std::string pooling = config.global_pool == "map"   ? "a learned query over all tokens, then a feed-forward part"
                        : config.global_pool == "avg" ? "the mean of the patches"
                                                      : "the class token";
  if (config.num_classes != 0) pooling += ", then a linear layer";
  return std::make_unique<detail::ImageTower>(
      config.architecture, std::move(processor), config.dim(),
      [network](const Tensor& pixels) { return network->forward(pixels); },
      detail::describe_network(config.transformer, pooling, *network),
      std::vector<TrainablePart>{{prefix, network.ptr()}});
}

}  // namespace trine
