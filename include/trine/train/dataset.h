#pragma once

#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trine/embedder.h"
#include "trine/export.h"
#include "trine/fusion.h"

/// Labelled samples of any modalities: from a manifest to the tensors that fusions are trained with.
///
///     std::vector<Sample> samples = read_manifest("train.jsonl");
///     Dataset data = FeatureStore(Embedder::load()).load(samples);
///     Dataset test = data.of(Split::test);                        // test.features.at("image"): (N, T, D)

namespace trine::train {

enum class Split { train, val, test };

TRINE_API std::string_view to_string(Split split);
/// "train", "val" or "test"; another name is std::invalid_argument.
TRINE_API Split split(std::string_view name);

/// One line of a manifest.
struct Sample {
  std::map<Modality, std::vector<std::string>> inputs;  ///< files, or texts; any non-empty subset of the modalities
  std::string label = {};                               ///< its class; empty: none
  std::string id = {};                                  ///< samples of one id show one thing; empty: none
  std::string set = {};                                 ///< a group to count apart; empty: none
  Split split = Split::train;
  std::size_t line = 0;  ///< of the manifest, from 1; 0: it is of none
};

/// Reads JSON lines:
///
///     {"image": "a.jpg", "text": ["ripe", "yellow"], "audio": "a.wav", "label": "banana", "id": "7", "split": "val"}
///
/// An input is one string or a list; paths are relative to the manifest's folder. Of the modalities one at least is
/// there; all other keys may be missing (`split`: train), unknown ones are left. Blank lines do not count.
/// Errors: std::runtime_error with the file and the line; a manifest without a line is one.
TRINE_API std::vector<Sample> read_manifest(const std::filesystem::path& path);

/// N samples as tensors. A modality that no sample has is absent.
struct TRINE_API Dataset {
  Features features = {};                ///< (N, T, D) floats by modality, zeros where the mask is false
  Features masks = {};                   ///< (N, T) bool by modality; one without is wholly real
  std::vector<std::string> labels = {};  ///< (N), empty where a sample has none; or no labels at all
  std::vector<std::string> ids = {};     ///< the same
  std::vector<Split> splits = {};        ///< (N); or none: all are train

  std::int64_t size() const;
  Dataset at(const std::vector<std::int64_t>& rows) const;
  Dataset of(Split split) const;
  /// Which samples have a modality. (N) bool by modality
  Features present() const;
  /// Distinct labels, sorted.
  std::vector<std::string> classes() const;
  /// The place of each sample's label in `classes`, -1 where it is not there. -> (N) int64
  torch::Tensor numbers(const std::vector<std::string>& classes) const;
  /// Errors: std::invalid_argument for shapes and lengths that do not fit, numbers that are not finite and samples
  /// without a modality, both named by their index.
  void check() const;
};

/// An input that could not be read, and what was said.
struct SkippedInput {
  std::size_t sample = 0;  ///< its index
  Modality modality = Modality::image;
  std::string input;
  std::string why;
};

/// Vectors of inputs, kept on disk: what was embedded once, in whatever run, is read from there.
///
/// A vector is found by the SHA-256 of the file's bytes (or of the text) in the folder of the embedder's fingerprint,
/// so files may move and models may change. Files of the store are written beside, synced, renamed, and never changed:
/// a run that is killed loses at most the last half minute, and runs at the same time do not disturb each other.
class TRINE_API FeatureStore {
 public:
  /// `folder`: for all models; by default "features" in cache_directory(). Errors: std::runtime_error.
  explicit FeatureStore(const Embedder& embedder, const std::filesystem::path& folder = {});

  /// Vectors of samples, one step for each input. An input that cannot be read is added to `skipped`;
  /// std::runtime_error for a sample that has no other, once all the rest is on disk. std::invalid_argument for a
  /// modality that the embedder lacks. `progress`: inputs that are done, of how many.
  Dataset load(const std::vector<Sample>& samples, std::vector<SkippedInput>* skipped = nullptr,
               const std::function<void(std::int64_t done, std::int64_t total)>& progress = {});
  /// -> (N, D)
  torch::Tensor texts(const std::vector<std::string>& texts);

  const Embedder& embedder() const;
  const std::filesystem::path& folder() const;  ///< of this embedder
  std::int64_t computed() const;                ///< inputs that were not on disk, so far

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace trine::train
