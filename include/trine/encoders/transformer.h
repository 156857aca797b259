#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trine/export.h"
#include "trine/layers.h"

/// What transformers share: activations and parts under the checkpoint's own keys; and what CLIP, SigLIP, ViT and
/// DINOv2 share besides: blocks with a norm before each part, and patches. Dosovitskiy et al. (2020). Reference: the
/// models of transformers, whose keys are registered.

namespace trine {

enum class Activation { gelu, gelu_tanh, quick_gelu, relu, silu, tanh, sigmoid, identity };

TRINE_API std::string_view to_string(Activation activation);
TRINE_API torch::Tensor activate(const torch::Tensor& x, Activation activation);

/// The keys of config.json that every such network has.
struct TransformerConfig {
  std::int64_t hidden_size = 768;
  std::int64_t intermediate_size = 3072;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  Activation hidden_act = Activation::gelu;
  double layer_norm_eps = 1e-12;
  bool qkv_bias = true;
  bool use_swiglu_ffn = false;  ///< silu(a) * b from a first layer of twice the intermediate size
  bool bias_kv = false;         ///< one learned key and value more, beside the fused layer of `TransformerKeys::qkv`
};

/// Where a checkpoint keeps the parts of a block; a path has dots, a part the family lacks is null.
struct TransformerKeys {
  const char* blocks;
  const char* attention_norm;
  const char* query;
  const char* key;
  const char* value;
  const char* attention_out;
  const char* attention_scale;
  const char* feed_forward_norm;
  const char* expand;
  const char* contract;
  const char* feed_forward_scale;
  /// Query, key and value in one layer: what stands before its "weight" and "bias", "attn.in_proj_". Null: three layers
  const char* qkv = nullptr;
};

/// Turns each pair of neighbouring channels of queries and keys by the angles of their step. Each (T, head size)
struct Rotation {
  torch::Tensor cos;
  torch::Tensor sin;
};

/// Registers `module`, a holder or a pointer, in `root` under a path with dots, making the modules in between. ->
/// module
template <typename Module>
Module register_at(torch::nn::Module& root, std::string_view path, Module module) {
  const std::size_t dot = path.find('.');
  const std::string name(path.substr(0, dot));
  if (dot == std::string_view::npos) {
    root.register_module(name, module);
    return module;
  }
  const auto children = root.named_children();
  const std::shared_ptr<torch::nn::Module>* child = children.find(name);
  torch::nn::Module& parent =
      child != nullptr ? **child : *root.register_module(name, std::make_shared<torch::nn::Module>());
  return register_at(parent, path.substr(dot + 1), module);
}

/// The blocks, one after the other. causal: no step sees a later one; rotation: of every block's queries and keys.
/// (N, T, hidden_size) -> (N, T, hidden_size)
class TRINE_API TransformerImpl : public torch::nn::Module {
 public:
  TransformerImpl(const TransformerConfig& config, const TransformerKeys& keys);
  torch::Tensor forward(const torch::Tensor& x, bool causal = false,
                        const std::optional<Rotation>& rotation = {}) const;

 private:
  struct Block;
  std::vector<std::shared_ptr<Block>> blocks_;
};
TORCH_MODULE(Transformer);

/// A picture cut into squares of `patch_size` pixels, each to a vector; what is left at the right and bottom is not
/// seen. (N, 3, H, W) -> (N, rows * columns, dim)
class TRINE_API PatchEmbeddingImpl : public torch::nn::Module {
 public:
  PatchEmbeddingImpl(std::int64_t dim, std::int64_t patch_size, bool with_bias = true);
  torch::Tensor forward(const torch::Tensor& pixels) const;

  torch::Tensor weight;  ///< (dim, 3, patch_size, patch_size)
  torch::Tensor bias;    ///< undefined without bias
};
TORCH_MODULE(PatchEmbedding);

/// Token and position embeddings of CLIP's and SigLIP's texts. ids (N, T) int64 -> (N, T, dim)
class TRINE_API TokenEmbeddingImpl : public torch::nn::Module {
 public:
  TokenEmbeddingImpl(std::int64_t vocab_size, std::int64_t max_positions, std::int64_t dim);
  torch::Tensor forward(const torch::Tensor& ids) const;

 private:
  Embedding tokens_{nullptr};
  Embedding positions_{nullptr};
};
TORCH_MODULE(TokenEmbedding);

enum class PositionResize { bicubic, antialiased_bicubic, antialiased_bilinear };

/// The positions of a square grid of patches for a grid of another shape. (P, dim) -> (rows * columns, dim)
TRINE_API torch::Tensor resize_positions(const torch::Tensor& positions, std::int64_t rows, std::int64_t columns,
                                         PositionResize how);

}  // namespace trine
