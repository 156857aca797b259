#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "detail/json.h"
#include "encoders/model_files.h"
#include "encoders/text_network.h"
#include "encoders/text_scores.h"
#include "encoders/video_processor.h"
#include "place.h"
#include "trine/encoders/encoder.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/modernbert.h"
#include "trine/encoders/pe_audio.h"
#include "trine/encoders/pe_transformer.h"
#include "trine/encoders/pe_video.h"

/// What Meta's Perception Encoders of sounds, of videos and of both are made of: one of them has all parts.

namespace trine::detail {

/// The config.json, refused where its model_type is another one.
Json read_pe(const char* who, const std::filesystem::path& config_json, const char* model_type);

/// The keys that `PeTransformerConfig` has.
void read_pe_transformer(const char* who, const Json& json, PeTransformerConfig& config);

/// "audio_config" and "video_config"; and "text_config", whose defaults are not ModernBERT's own.
PeAudioEncoderConfig read_pe_audio(const char* who, const Json& json);
PeVideoEncoderConfig read_pe_video(const char* who, const Json& json);
ModernBertConfig read_pe_text(const char* who, const Json& json);

/// The head under `prefix`.
PeHead load_pe_head(const char* who, const Checkpoint& checkpoint, const std::string& prefix, std::int64_t in,
                    std::int64_t out);

/// Of an encoder and its head, under their prefixes: what comes before the transformer, the transformer, the head.
std::vector<TrainablePart> pe_parts(const std::string& prefix, const PeTransformerImpl& network,
                                    const std::string& head_prefix, const PeHead& head);

/// What makes a score of the product of two vectors.
struct PeScore {
  float scale = 1;
  float bias = 0;

  static PeScore load(const char* who, const Checkpoint& checkpoint, const std::string& pair);
  std::string describe() const;  ///< "sigmoid of 10 * product - 2"
};

/// Texts: ModernBERT's first token, and one of the heads.
struct PeTextPart {
  std::shared_ptr<const TextModel> model;

  static PeTextPart load(const char* who, const ModelFiles& files, const char* model_type,
                         const ModernBertConfig& config);
  torch::Tensor states(const std::vector<std::string>& texts) const;  ///< -> (N, hidden_size)
  /// `prefix`: of the head's keys
  std::unique_ptr<TextEncoder> tower(const PeHead& head, const std::string& prefix) const;
};

/// What PE's towers of clips and videos have of texts.
class PeTextScores : public TextScores {
 public:
  PeTextScores(std::unique_ptr<const TextEncoder> texts, PeScore score) : texts_(std::move(texts)), score_(score) {}
  const TextEncoder& texts() const override { return *texts_; }
  Similarity text_similarity() const override { return {SimilarityKind::sigmoid, score_.scale, score_.bias}; }

 private:
  std::unique_ptr<const TextEncoder> texts_;
  PeScore score_;
};

/// Sounds, and what compares them with texts.
struct PeAudioPart {
  PeAudioEncoderConfig config;
  Place place = {};
  int sample_rate = 0;          ///< Hz
  std::int64_t hop_length = 0;  ///< samples of a step
  std::int64_t most = 0;        ///< samples of a clip
  std::string prefix, encoder_prefix;
  PeAudioEncoder network{nullptr};
  PeHead head{nullptr}, text_head{nullptr};
  PeScore score = {};

  /// `prefix`: of the keys; `encoder_prefix`: of the network's. `dim`: of the shared space
  static PeAudioPart load(const char* who, const ModelFiles& files, const std::string& prefix,
                          const std::string& encoder_prefix, const PeAudioEncoderConfig& config, std::int64_t dim,
                          const PeAudioOptions& options);
  /// At the network's rate, filled up with their mirror image to whole steps. (n) -> (steps * hop_length)
  torch::Tensor extract(std::span<const float> samples) const;
  /// Where the network was loaded to, within a PlaceScope. (n) -> (1, 1 + steps, hidden_size)
  torch::Tensor states(std::span<const float> samples) const;
  std::unique_ptr<AudioEncoder> tower(const char* model_type, const PeTextPart& text) const;
};

/// Videos, and what compares them with texts.
struct PeVideoPart {
  PeVideoEncoderConfig config;
  Place place = {};
  VideoProcessor processor;
  std::string prefix, encoder_prefix;  ///< as those of sounds
  PeVideoEncoder network{nullptr};
  PeHead head{nullptr}, text_head{nullptr};
  PeScore score = {};

  static PeVideoPart load(const char* who, const ModelFiles& files, const std::string& prefix,
                          const std::string& encoder_prefix, const PeVideoEncoderConfig& config, std::int64_t dim);
  /// As those of sounds. (T, 3, H, W) -> (1, 1 + T', hidden_size)
  torch::Tensor states(const torch::Tensor& pixels) const;
  std::unique_ptr<ImageEncoder> tower(const char* model_type, const PeTextPart& text) const;
};

}  // namespace trine::detail
