#pragma once

#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trine/export.h"
#include "trine/input/audio.h"
#include "trine/input/image.h"
#include "trine/input/text.h"

namespace trine {

/// What an encoder says of itself, in the order of the data's way: "model_type", "resize", "pooling", "licence" ...
using Description = std::vector<std::pair<std::string, std::string>>;

/// Pixels to features. Feature vectors are not normalised. `encode` of every encoder may be called from several threads
/// and records no gradients.
class TRINE_API ImageEncoder {
 public:
  virtual ~ImageEncoder() = default;
  virtual std::int64_t dim() const = 0;
  virtual torch::Tensor preprocess(const Image& image) const = 0;  ///< -> (3, H, W)
  /// preprocess(decode_image(file, options)), which encoders may do in one.
  virtual torch::Tensor preprocess_file(std::span<const std::byte> file, const ImageOptions& options = {}) const;
  /// The same of a file's name, see read_image.
  torch::Tensor preprocess_file(const std::filesystem::path& path, const ImageOptions& options = {}) const;
  virtual torch::Tensor encode(const torch::Tensor& pixels) const = 0;  ///< (N, 3, H, W) -> (N, dim)
  virtual Description describe() const = 0;
  /// Pixels that a draft must keep a side (ImageOptions::draft_side): those to which the shorter side is resized; 0,
  /// the default: not the same for every picture, so that there are no drafts.
  virtual std::int64_t draft_side() const;
};

/// What a checkpoint wants before its texts: {"query": "query: ", "passage": "passage: "}.
struct Prompts {
  std::map<std::string, std::string> by_name = {};
  std::string default_name = {};  ///< of the prompt for texts that come without one; empty: none
};

/// Texts to sentence vectors, pooled as the checkpoint says.
class TRINE_API TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  virtual std::int64_t dim() const = 0;
  virtual torch::Tensor encode(const std::vector<std::string>& texts) const = 0;  ///< as they are -> (N, dim)
  /// With `prompt` before each; checkpoints may leave the prompt's own tokens out of the pooling -> (N, dim)
  virtual torch::Tensor encode_after(const std::string& prompt, const std::vector<std::string>& texts) const;
  virtual const Prompts& prompts() const;  ///< none by default
  virtual const Tokenizer& tokenizer() const = 0;
  virtual std::int64_t max_tokens() const = 0;  ///< special tokens included
  /// What every text is filled up to with the tokenizer's pad token, which the network sees; 0, the default: nothing.
  virtual std::int64_t padded_length() const;
  /// Number of tokens of a text, special tokens included, before anything is cut.
  std::int64_t count_tokens(const std::string& text) const;
  /// The ids that the network gets: special tokens included, cut at `max_tokens`, padding that it sees included.
  std::vector<std::int32_t> tokenize(const std::string& text) const;
  virtual Description describe() const = 0;
};

/// A clip to a sequence of feature vectors, as long as the clip.
class TRINE_API AudioEncoder {
 public:
  virtual ~AudioEncoder() = default;
  virtual std::int64_t dim() const = 0;
  virtual int sample_rate() const = 0;     ///< Hz it wants
  virtual double max_seconds() const = 0;  ///< longest clip of one call
  /// What enters the network: mels as the reference lays them, or by default the samples (n) at `sample_rate`.
  virtual torch::Tensor preprocess(const Audio& clip) const;
  virtual torch::Tensor encode(const Audio& clip) const = 0;  ///< any rate -> (T, dim)
  virtual Description describe() const = 0;
};

/// How a family with two towers scores a pair: softmax over the candidates, or a sigmoid of each pair alone.
enum class SimilarityKind { softmax, sigmoid };

/// The score is `kind` of scale * cosine + bias.
struct Similarity {
  SimilarityKind kind = SimilarityKind::softmax;
  float scale = 1;
  float bias = 0;
};

/// What a checkpoint directory holds, by the `model_type` (or timm `architecture`) of its config.json: one encoder, or
/// several whose vectors share one space and have one length.
struct TRINE_API AnyEncoder {
  std::unique_ptr<ImageEncoder> image = nullptr;
  std::unique_ptr<TextEncoder> text = nullptr;
  std::unique_ptr<AudioEncoder> audio = nullptr;
  std::optional<Similarity> similarity = {};  ///< of families trained on pairs
};

/// Loads whatever the directory holds. Errors: std::runtime_error naming the key, wanted and got.
///
/// A directory of texts is read as sentence-transformers reads it: modules.json with Pooling, Dense, LayerNorm and
/// Normalize, `max_seq_length` of sentence_bert_config.json, prompts and `truncate_dim` of
/// config_sentence_transformers.json; without modules.json none of these, and the mean over the tokens. Texts are cut
/// before the end token. A Normalize at the end is left to the embedder.
TRINE_API AnyEncoder load_encoder(const std::filesystem::path& directory);

}  // namespace trine
