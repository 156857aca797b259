#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"
#include "place.h"
#include "trine/checkpoint.h"
#include "trine/encoders/encoder.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/preprocess.h"
#include "trine/encoders/transformer.h"
#include "trine/input/audio.h"
#include "trine/input/text.h"

/// What the families of image and text towers do alike: read their configs, load their weights, be encoders.

namespace trine::detail {

/// The keys every transformer has, each with its limit; `defaults` hold where a key is missing.
TransformerConfig read_transformer(const char* who, const Json& json, const TransformerConfig& defaults);

/// A side in pixels: a number, or a pair of equal ones.
std::int64_t read_square(const char* who, const Json& json, const char* key, std::int64_t most, std::int64_t fallback);

/// Patches along one side of a square picture of RGB, refused where there is none or there are too many.
std::int64_t read_grid(const char* who, const Json& json, std::int64_t image_size, std::int64_t patch_size);

/// Refuses a network of too many weights: its blocks and `rows` more of hidden_size each.
void check_size(const char* who, const TransformerConfig& config, std::int64_t rows);

/// "vision_config" or "text_config", empty where there is none; transformers lets an older "..._dict" replace it whole.
Json read_part(const char* who, const Json& json, const std::string& key);

/// Where CLIP and SigLIP keep the parts of a block.
inline constexpr TransformerKeys kPairKeys{.blocks = "layers",
                                           .attention_norm = "layer_norm1",
                                           .query = "self_attn.q_proj",
                                           .key = "self_attn.k_proj",
                                           .value = "self_attn.v_proj",
                                           .attention_out = "self_attn.out_proj",
                                           .attention_scale = nullptr,
                                           .feed_forward_norm = "layer_norm2",
                                           .expand = "mlp.fc1",
                                           .contract = "mlp.fc2",
                                           .feed_forward_scale = nullptr};

/// Where ViT and AST keep them, within "encoder".
inline constexpr TransformerKeys kVitKeys{.blocks = "layer",
                                          .attention_norm = "layernorm_before",
                                          .query = "attention.attention.query",
                                          .key = "attention.attention.key",
                                          .value = "attention.attention.value",
                                          .attention_out = "attention.output.dense",
                                          .attention_scale = nullptr,
                                          .feed_forward_norm = "layernorm_after",
                                          .expand = "intermediate.dense",
                                          .contract = "output.dense",
                                          .feed_forward_scale = nullptr};

/// "vision_model." or "text_model."; nothing for a tower alone as newer versions of transformers write it.
std::string prefix_of(const Checkpoint& checkpoint, const std::string& tower);

/// load_weights that also refuses a tensor under `prefix` that the network does not know: other sizes or options would
/// go unseen. Not those whose names end with one of `ignored`, or begin after the prefix with one that ends with a dot.
void load_tower(const char* who, torch::nn::Module& network, const Checkpoint& checkpoint, const std::string& prefix,
                std::initializer_list<std::string_view> ignored = {});

/// A tensor of one value.
float load_scalar(const char* who, const Checkpoint& checkpoint, const std::string& name);

/// (N, 3, H, W) of floats, and of exactly `size` pixels a side where that is given; std::invalid_argument otherwise.
void check_pixels(const torch::Tensor& pixels, std::optional<std::int64_t> size = {});

/// (N, T) token ids with 1 to `most` tokens; std::invalid_argument otherwise.
void check_ids(const torch::Tensor& ids, std::int64_t most);

/// Refuses an image processor whose pictures have another size than the network's.
void check_processor(const char* who, const ImageProcessor& processor, std::int64_t image_size);

/// What a directory says of its processor: `part` of processor_config.json, else preprocessor_config.json whole.
Json read_preprocessor(const char* who, const std::filesystem::path& directory, const char* part);

/// The feature extractor of a directory of sounds, refused where it is of another type.
Json read_extractor(const char* who, const std::filesystem::path& directory, const std::string& type);

/// "softmax of 14.3 * cosine"
std::string describe_similarity(const Similarity& similarity);

/// What describe() says of a network.
Description describe_network(const TransformerConfig& config, const std::string& pooling,
                             const torch::nn::Module& network, const std::optional<Similarity>& similarity = {});

/// An image processor and a network.
class ImageTower : public ImageEncoder, public Trainable {
 public:
  /// (N, 3, H, W) -> (N, dim), where the tower was loaded to
  using Forward = std::function<torch::Tensor(const torch::Tensor& pixels)>;

  /// `parts`: of a network whose weights are those of its checkpoint, see Trainable.
  ImageTower(const std::string& model_type, ImageProcessor processor, std::int64_t dim, Forward forward,
             const Description& network, std::vector<TrainablePart> parts = {});

  std::int64_t dim() const override { return dim_; }
  torch::Tensor preprocess(const Image& image) const override { return processor_(image); }
  torch::Tensor preprocess_file(std::span<const std::byte> file, const ImageOptions& options) const override {
    return processor_(file, options);
  }
  std::int64_t draft_side() const override { return processor_.draft_side(); }
  torch::Tensor encode(const torch::Tensor& pixels) const override;
  Description describe() const override { return description_; }
  std::vector<TrainablePart> trainable() override { return parts_; }

 private:
  ImageProcessor processor_;
  Place place_;
  std::int64_t dim_;
  Forward forward_;
  Description description_;
  std::vector<TrainablePart> parts_;
};

/// Samples of a clip, at the rate of the network.
struct ClipLimits {
  int sample_rate;     ///< Hz
  std::int64_t least;  ///< samples
  std::int64_t most;
};

/// A feature extractor and a network.
class AudioTower : public AudioEncoder, public Trainable {
 public:
  using Function = std::function<torch::Tensor(std::span<const float> samples)>;

  /// `extract` gives what enters the network, `forward` what it makes of that, both of samples, here: (n) -> (T, dim)
  AudioTower(const std::string& model_type, const ClipLimits& limits, std::int64_t dim, Function extract,
             Function forward, const Description& network, std::vector<TrainablePart> parts = {});

  std::int64_t dim() const override { return dim_; }
  int sample_rate() const override { return limits_.sample_rate; }
  double max_seconds() const override { return static_cast<double>(limits_.most) / limits_.sample_rate; }
  torch::Tensor preprocess(const Audio& clip) const override { return extract_(samples_of(clip)); }
  torch::Tensor encode(const Audio& clip) const override;
  Description describe() const override { return description_; }
  std::vector<TrainablePart> trainable() override { return parts_; }

 private:
  /// At the rate of the network, refused where they are too few or too many.
  std::vector<float> samples_of(const Audio& clip) const;

  ClipLimits limits_;
  std::int64_t dim_;
  Function extract_;
  Function forward_;
  Description description_;
  std::vector<TrainablePart> parts_;
};

/// How the texts of a batch are made equally long.
enum class Padding {
  repeat_end,  ///< with their own last token, which a causal network pooled at its first end token does not see
  max_length   ///< with the tokenizer's pad token up to the network's length, which the network sees
};

/// A tokenizer and a network.
class TextTower : public TextEncoder, public Trainable {
 public:
  /// (N, T) int64 -> (N, dim), where the tower was loaded to
  using Forward = std::function<torch::Tensor(const torch::Tensor& ids)>;

  /// Refuses a tokenizer that knows more ids than `vocab_size`, or adds no token to an empty text.
  TextTower(const char* who, const std::filesystem::path& directory, const std::string& model_type, Tokenizer tokenizer,
            std::int64_t vocab_size, std::int64_t max_tokens, Padding padding, std::int64_t dim, Forward forward,
            const Description& network, std::vector<TrainablePart> parts = {});

  std::int64_t dim() const override { return dim_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  std::int64_t max_tokens() const override { return max_tokens_; }
  std::int64_t padded_length() const override { return padding_ == Padding::max_length ? max_tokens_ : 0; }
  torch::Tensor encode(const std::vector<std::string>& texts) const override;
  Description describe() const override { return description_; }
  std::vector<TrainablePart> trainable() override { return parts_; }

 private:
  Tokenizer tokenizer_;
  std::int64_t max_tokens_;
  Padding padding_;
  Place place_;
  std::int64_t dim_;
  Forward forward_;
  Description description_;
  std::vector<TrainablePart> parts_;
};

}  // namespace trine::detail
