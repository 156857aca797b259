#pragma once

#include <torch/torch.h>

#include <array>
#include <cstddef>
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
#include "trine/input/modality.h"
#include "trine/search/query.h"

namespace trine {

/// What one thing looks like, reads like and sounds like; any non-empty subset.
struct Inputs {
  std::optional<ImageInput> image = {};
  std::optional<std::string> text = {};
  std::optional<AudioInput> audio = {};
};

/// A file, the bytes of one, pictures in their order, or frames (T, H, W, 3) of uint8.
using VideoInput = std::variant<std::filesystem::path, std::vector<std::byte>, std::vector<Image>, torch::Tensor>;

/// What becomes of a text over the encoder's tokens and of a clip over its seconds.
enum class LongInput {
  window,    ///< pieces that overlap; the mean of their unit vectors, weighted by length, of unit length again
  truncate,  ///< its beginning only, as the reference implementations do; a text is cut before the end token
  error      ///< std::invalid_argument, with the length and the limit
};

TRINE_API std::string_view to_string(LongInput long_input);
/// "window", "truncate" or "error"; another name is std::invalid_argument.
TRINE_API LongInput long_input(std::string_view name);

/// A piece of an input that went through the encoder: [first, last) in Unicode characters of a text, in seconds of a
/// clip.
struct Window {
  double first = 0;
  double last = 0;
};

/// How much of an input went into its vector.
struct Coverage {
  double total = 0;  ///< tokens of a text (prompt and special tokens included), seconds of a clip; 1 for a picture
  double used = 0;   ///< less than total where an input was cut at the encoder's limit
  std::vector<Window> windows = {};  ///< in their order; together they are all that was used. None of a picture
};

struct EmbedOptions {
  std::int64_t batch_size = 32;
  LongInput long_input = LongInput::window;
  std::vector<Coverage>* coverage = nullptr;    ///< filled with one entry per input
  std::int64_t truncate_dim = 0;                ///< the first values only, at unit length again; 0: all
  std::optional<std::string> prompt_name = {};  ///< of the checkpoint's prompt before each text; none: its default
  std::optional<std::string> prompt = {};       ///< before each text as it is, whatever `prompt_name` says
  /// JPEG files at 1/8, 1/4 or 1/2 of their size where that is still enough for the model: a photo of 12 megapixels in
  /// a third of the time, a little different. `docs/speed.md` says how much of both.
  bool draft = false;
};

/// Which frames of a file are taken; without either number as the model's processor does, one a second where it has no
/// such rule. Frames that are given are all taken, by PE-AV those that its processor takes.
struct VideoEmbedOptions {
  double frames_per_second = 0;  ///< what is on screen at 0, 1, 2 ... s for 1
  std::int64_t frames = 0;       ///< this many, from the middles of as many equal parts
  std::int64_t batch_size = 32;
  std::int64_t truncate_dim = 0;  ///< as of EmbedOptions
};

/// Pictures, texts and spoken clips to unit vectors of one space.
///
///     trine::Embedder model = trine::Embedder::load("models/default");
///     torch::Tensor v = model.embed_text("a ripe banana");                       // (384)
///     torch::Tensor q = model.embed({.image = "photo.jpg", .text = "the red one"});
///
/// A directory is either a model of ours (config.json with `model_type` "trine": encoders by name or path, heads,
/// calibration) or the checkpoint directory of an encoder, whose modalities then are the only ones: two
/// where it holds towers of images and of text (CLIP, SigLIP). Clips for a model of ours lose the silence at both ends
/// and come to one level, as its head was trained; an encoder alone gets them as they are.
///
/// Long inputs: windows of texts are as long as the encoder takes, begin and end between words where they can, and
/// share about 32 tokens with the one before (a quarter of a short window, half of one at most). Windows of clips are
/// as long as the encoder takes and begin half a window after the one before; the last ends with the clip.
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
  /// Only the towers of these modalities are read, the others are as if the model lacked them; one that it does lack is
  /// std::invalid_argument. The vectors are the same, the fingerprint is not. An empty `directory`: the default model.
  static Embedder load(const std::filesystem::path& directory, const std::vector<Modality>& modalities);

  std::int64_t dim() const;
  bool supports(Modality modality) const;
  std::vector<Modality> modalities() const;
  /// Where the model was loaded from.
  const std::filesystem::path& directory() const;
  /// Of the model; an index remembers which model made its vectors.
  const std::string& name() const;
  /// Where its encoders compute, as a LoadDevice said. Vectors are given on the CPU.
  torch::Device device() const;
  /// 64 hexadecimal digits of all that decides the vectors: the files of the model and of its encoders, describe() but
  /// for the device, and the weights that are no longer those of the files. Reads all of them.
  std::string fingerprint() const;

  /// One input -> (dim), of unit length.
  torch::Tensor embed_image(const ImageInput& image) const;
  torch::Tensor embed_text(const std::string& text) const;
  torch::Tensor embed_audio(const AudioInput& audio) const;
  torch::Tensor embed_video(const VideoInput& video) const;

  /// Many -> (N, dim or truncate_dim), rows of unit length. No inputs give (0, dim).
  torch::Tensor embed_images(const std::vector<ImageInput>& images, const EmbedOptions& options = {}) const;
  torch::Tensor embed_texts(const std::vector<std::string>& texts, const EmbedOptions& options = {}) const;
  torch::Tensor embed_audios(const std::vector<AudioInput>& audios, const EmbedOptions& options = {}) const;
  /// What is seen in videos: the mean of the frames' vectors, at unit length again; of PE-AV what the model makes of
  /// the frames together, in their order.
  torch::Tensor embed_videos(const std::vector<VideoInput>& videos, const VideoEmbedOptions& options = {}) const;
  /// The same of one modality by its name: files, or texts.
  torch::Tensor embed_inputs(Modality modality, const std::vector<std::string>& inputs,
                             const EmbedOptions& options = {}) const;

  /// The vectors of what is there, one per modality, each (dim) and of unit length.
  std::map<Modality, torch::Tensor> embed_each(const Inputs& inputs) const;
  /// Their weighted mean, of unit length. -> (dim)
  torch::Tensor embed(const Inputs& inputs, const QueryWeights& weights = {}) const;

  /// Cosines between the rows of two sets of vectors, (N, D) or (D) each, of any length -> (N, M)
  static torch::Tensor similarity(const torch::Tensor& a, const torch::Tensor& b);

  /// How the model scores vectors of pictures or clips against those of texts: as a checkpoint trained on pairs says,
  /// else by the softmax of cosine / temperature where the modality is calibrated. A model with neither is
  /// std::invalid_argument; so is one of PE's, which score features before they get unit length.
  Similarity scoring(Modality modality) const;
  /// What each text is worth for each picture or clip: shares of the texts that sum to 1, or of a sigmoid model each on
  /// its own. `vectors` are of `modality`. (N, D) and (M, D) -> (N, M)
  ///
  ///     model.probabilities(Modality::image, model.embed_images(photos), model.embed_texts({"a cat", "a dog"}));
  torch::Tensor probabilities(Modality modality, const torch::Tensor& vectors, const torch::Tensor& texts) const;

  /// The same of inputs in one call, by PE's models too, whose clips and texts then must fit without windows -> (N, M)
  ///
  ///     model.image_probabilities({photo}, {"a cat", "a dog"});
  torch::Tensor image_probabilities(const std::vector<ImageInput>& images, const std::vector<std::string>& texts,
                                    std::int64_t batch_size = 32) const;
  torch::Tensor audio_probabilities(const std::vector<AudioInput>& clips, const std::vector<std::string>& texts) const;
  torch::Tensor video_probabilities(const std::vector<VideoInput>& videos, const std::vector<std::string>& texts,
                                    const VideoEmbedOptions& options = {}) const;
  /// Softmax over the texts, or a sigmoid of each; of videos as of pictures. Errors: as `scoring`, but for PE's models.
  SimilarityKind scoring_kind(Modality modality) const;

  /// What enters the networks: pixels (3, H, W); mel or samples of a clip that fits, see AudioEncoder::preprocess; the
  /// ids of a text, special tokens included, cut at the encoder's limit, without any prompt. `draft`: see EmbedOptions.
  torch::Tensor preprocess_image(const ImageInput& image, bool draft = false) const;
  /// The pictures' vectors from what `preprocess_image` gives, stacked: (N, 3, H, W) -> (N, dim)
  torch::Tensor embed_pixels(const torch::Tensor& pixels) const;
  torch::Tensor preprocess_audio(const AudioInput& audio) const;
  std::vector<std::int32_t> tokenize(const std::string& text) const;

  /// Calibration of a modality, 1 and 0 where the model has none.
  Calibration calibration(Modality modality) const;

  /// What happens to an input, modality by modality: ("image.input", "short side to 256 px, bicubic ..."), ... A fact
  /// whose numbers come from a file is followed by ("image.input.source", "preprocessor_config.json: size, resample").
  Description describe() const;

  /// What an optimiser may change in place: the weights of a modality's encoder by their names in its checkpoint, then
  /// those of its head, from the input to the vector. Gradients are recorded under RecordGradients. From the first call
  /// on the tower works with a copy of its own, which all copies of this Embedder share; no other call may run then.
  /// Errors: std::invalid_argument for a modality that the model lacks and for a family that cannot be trained.
  std::vector<std::pair<std::string, torch::Tensor>> weights(Modality modality) const;
  /// Writes a model folder with the weights as they are; what `load` reads from it gives the same vectors (differences
  /// of at most 1e-5). Encoders of a model of ours are written beside it where they were changed or lay beside it
  /// before, else named as they were; a changed model has a name of its own. Each file is written atomically,
  /// config.json of a model of ours last. Errors: std::invalid_argument for the folder it was loaded from.
  void save(const std::filesystem::path& directory) const;

 private:
  struct Impl;
  explicit Embedder(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// The folder of the default model, see Embedder::load().
TRINE_API std::filesystem::path default_model_directory();

/// $TRINE_CACHE, else $XDG_CACHE_HOME/trine, else ~/.cache/trine.
TRINE_API std::filesystem::path cache_directory();

}  // namespace trine
