#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trine/apps/score.h"
#include "trine/embedder.h"
#include "trine/export.h"

namespace trine {

/// What a photo shows of damage.
struct Damage {
  float probability;          ///< that anything is damaged, in 0 to 1
  std::vector<Score> types;   ///< of what kind, likeliest first; empty at or below 0.7
  float severity;             ///< 0 to 1; 0 at or below 0.7
  std::string severity_name;  ///< "light", "moderate" or "severe"; empty at or below 0.7
  std::string trained_on;     ///< what the detector knows damage from: "synthetic damage ..."
};

/// What a photo for training shows.
struct DamageLabel {
  std::string type = "intact";         ///< "intact", or a kind of damage by any name
  std::optional<float> severity = {};  ///< 0 to 1
};

struct DamageOptions {
  std::int64_t epochs = 30;
  std::uint64_t seed = 1;
  std::string trained_on = "photos of your own";  ///< what Damage::trained_on will say
  /// Called with the photos looked at, then with the training steps.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

/// Damage in a photo: how probable, of what kind, how bad.
///
///     const trine::DamageDetector detector = trine::DamageDetector::load(trine::Embedder::load());
///     const trine::Damage damage = detector.inspect("claim.jpg");
///     if (damage.probability > 0.7f) std::cout << damage.types[0].label << ", " << damage.severity_name;
///
/// The head that comes with the default model knows **synthetic damage** only: tears, dents, stains, mould and crushed
/// corners that a program drew onto photos of groceries. For real claims `fit` one on photos of your own.
/// Errors: std::invalid_argument for the caller's mistakes, std::runtime_error for files.
class TRINE_API DamageDetector {
 public:
  /// `head`: a file that `save` wrote; by default damage.safetensors of the model's folder.
  static DamageDetector load(const Embedder& embedder, const std::filesystem::path& head = {});
  /// Trains a head on photos and what they show, two of each at least: a minute for a few hundred photos. The network
  /// that looks at them, the model's EfficientNet-Lite as it was pretrained, stays as it is. Takes 0.4 MB a photo.
  static DamageDetector fit(const Embedder& embedder, const std::vector<ImageInput>& photos,
                            const std::vector<DamageLabel>& labels, const DamageOptions& options = {});

  Damage inspect(const ImageInput& photo) const;

  const std::vector<std::string>& types() const;  ///< sorted
  /// Writes the head, a safetensors file.
  void save(const std::filesystem::path& path) const;
  Description describe() const;

 private:
  struct Impl;
  explicit DamageDetector(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
