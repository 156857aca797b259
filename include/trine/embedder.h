#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/input/audio.h"
#include "trine/input/image.h"
#include "trine/search/query.h"

namespace trine {

using ImageInput = std::variant<std::filesystem::path, Image>;  ///< a file, or pixels

/// What one thing looks like, reads like and sounds like; any non-empty subset.
struct Inputs {
  std::optional<ImageInput> image = {};
  std::optional<std::string> text = {};
  std::optional<AudioInput> audio = {};
};

/// How much of an input went into its vector.
struct Coverage {
  double total = 0;  ///< tokens of a text (special tokens included), seconds of a clip
  double used = 0;  ///< less than total where a text was cut at the encoder's limit; silence at the ends counts as used
  std::int64_t windows = 1;  ///< pieces the input was encoded in
};

struct EmbedOptions {
  std::int64_t batch_size = 32;
  std::vector<Coverage>* coverage = nullptr;    ///< filled with one entry per input
  std::int64_t truncate_dim = 0;                ///< the first values only, at unit length again; 0: all
  std::optional<std::string> prompt_name = {};  ///< of the checkpoint's prompt before each text; none: its default
  std::optional<std::string> prompt = {};       ///< before each text as it is, whatever `prompt_name` says
};

/// Pictures, texts and spoken clips to unit vectors of one space.
///
///     trine::Embedder model = trine::Embedder::load("models/default");
///     torch::Tensor v = model.embed_text("a ripe banana");                       // (384)
///     torch::Tensor q = model.embed({.image = "photo.jpg", .text = "the red one"});
///
/// A directory is either a model of ours (config.json with `model_type` "trine": encoders by name or path, heads,
/// calibration) or the checkpoint directory of an encoder, whose modalities then are the only ones: two
/// where it holds towers of images and of text (CLIP, SigLIP).
///
/// The same input gives the same vector whatever the batch, its order and the number of threads (differences of at most
/// 1e-5). Calls from several threads are safe.
/// Errors: std::invalid_argument for the caller's mistakes (a modality the model lacks, no input, invalid UTF-8),
/// std::runtime_error for files (missing, damaged, silent or shorter than 0.1 s).
class TRINE_API Embedder {
 public:
  static Embedder load(const std::filesystem::path& directory);
  /// The default model: $TRINE_MODEL, else `share/trine/models/default` beside the library. Its encoders lie in the
  /// cache
  /// ($TRINE_CACHE, else $XDG_CACHE_HOME/trine, else ~/.cache/trine), where `python -m trine.fetch` puts them.
  static Embedder load();

  std::int64_t dim() const;
  bool supports(Modality modality) const;
  std::vector<Modality> modalities() const;
  /// Where the model was loaded from.
  const std::filesystem::path& directory() const;
  /// Of the model; an index remembers which model made its vectors.
  const std::string& name() const;

  /// One input -> (dim), of unit length.
  torch::Tensor embed_image(const ImageInput& image) const;
  torch::Tensor embed_text(const std::string& text) const;
  torch::Tensor embed_audio(const AudioInput& audio) const;

  /// Many -> (N, dim or truncate_dim), rows of unit length. No inputs give (0, dim).
  torch::Tensor embed_images(const std::vector<ImageInput>& images, const EmbedOptions& options = {}) const;
  torch::Tensor embed_texts(const std::vector<std::string>& texts, const EmbedOptions& options = {}) const;
  torch::Tensor embed_audios(const std::vector<AudioInput>& audios, const EmbedOptions& options = {}) const;

  /// The vectors of what is there, one per modality, each (dim) and of unit length.
  std::map<Modality, torch::Tensor> embed_each(const Inputs& inputs) const;
  /// Their weighted mean, of unit length. -> (dim)
  torch::Tensor embed(const Inputs& inputs, const QueryWeights& weights = {}) const;

  /// Calibration of a modality, 1 and 0 where the model has none.
  Calibration calibration(Modality modality) const;

  /// What happens to an input, modality by modality: ("image.input", "short side to 256 px, bicubic ..."), ...
  Description describe() const;

 private:
  struct Impl;
  explicit Embedder(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// The folder of the default model, see Embedder::load().
TRINE_API std::filesystem::path default_model_directory();

}  // namespace trine
