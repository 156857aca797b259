#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/encoders/modernbert.h"
#include "trine/encoders/pe_audio.h"
#include "trine/encoders/pe_transformer.h"
#include "trine/encoders/pe_video.h"
#include "trine/export.h"
#include "trine/layers.h"

/// PE-AV, Meta's Perception Encoder of sounds, videos and texts: config.json with `model_type` "pe_audio_video", the
/// files of `pe_audio.h` and `pe_video.h` beside it. Reference: transformers PeAudioVideoModel.

namespace trine {

/// The keys of config.json's "audio_video_config".
struct TRINE_API PeAudioVideoEncoderConfig : PeTransformerConfig {
  PeAudioEncoderConfig audio_config;
  PeVideoEncoderConfig video_config;
};

struct TRINE_API PeAudioVideoConfig {
  PeAudioVideoEncoderConfig audio_video_config;
  ModernBertConfig text_config;

  static PeAudioVideoConfig load(const std::filesystem::path& config_json);
};

/// States of a clip's steps and of a video's frames, brought to as many as there are steps, to states of both; without
/// those of the class tokens. (N, T, audio hidden_size), (N, F, video hidden_size) -> (N, 1 + T, hidden_size)
class TRINE_API PeAudioVideoEncoderImpl : public PeTransformerImpl {
 public:
  explicit PeAudioVideoEncoderImpl(const PeAudioVideoEncoderConfig& config);
  torch::Tensor forward(const torch::Tensor& audio, const torch::Tensor& video) const;

 private:
  Conv1d video_projection_{nullptr};
  LayerNorm video_norm_{nullptr};
  Linear both_projection_{nullptr};
  Linear data_projection_{nullptr};
};
TORCH_MODULE(PeAudioVideoEncoder);

/// Two kinds of vectors that the model was trained to compare.
enum class PePair {
  audio_text,             ///< audio, text_audio
  video_text,             ///< video, text_video
  audio_video,            ///< audio, video
  audio_video_text,       ///< audio_video, text_audio_video
  audio_plus_text_video,  ///< audio_plus_text, video
  video_plus_text_audio   ///< video_plus_text, audio
};

TRINE_API std::string_view to_string(PePair pair);
/// "audio_text" ...; another name is std::invalid_argument.
TRINE_API PePair pe_pair(std::string_view name);

struct PeInputs {
  std::optional<Audio> audio = {};                    ///< any rate
  std::optional<std::vector<Image>> video = {};       ///< its frames, in their order
  std::optional<std::vector<std::string>> text = {};  ///< M of them
};

/// The reference's "..._embeds", not normalised; what the inputs or the model do not give is undefined.
struct PeEmbeddings {
  torch::Tensor audio;             ///< (dim)
  torch::Tensor video;             ///< (dim)
  torch::Tensor audio_video;       ///< (dim), of both together
  torch::Tensor text_audio;        ///< (M, dim), to compare with audio
  torch::Tensor text_video;        ///< (M, dim), to compare with video
  torch::Tensor text_audio_video;  ///< (M, dim), to compare with audio_video
  torch::Tensor audio_plus_text;   ///< (M, dim), of the clip and each text, to compare with video
  torch::Tensor video_plus_text;   ///< (M, dim), of the video and each text, to compare with audio
};

/// All that PE-AV makes of a clip, a video and texts, in one pass of each network; of "pe_audio" and "pe_video"
/// directories what they have. Calls from several threads are safe.
///
///     const trine::PeAudioVideo model = trine::PeAudioVideo::load("pe-av-small");
///     const trine::PeEmbeddings found = model.embed({.audio = clip, .video = frames, .text = {{"a dog barks"}}});
///     model.logits(trine::PePair::audio_video_text, found.audio_video, found.text_audio_video).sigmoid();  // (1, 1)
///
/// Errors: std::invalid_argument for an input that the model lacks, none at all, or one of a wrong size;
/// std::runtime_error for files.
class TRINE_API PeAudioVideo {
 public:
  static PeAudioVideo load(const std::filesystem::path& directory, const PeAudioOptions& options = {});

  std::int64_t dim() const;
  bool has_audio() const;
  bool has_video() const;
  std::vector<PePair> pairs() const;  ///< that the model has scores of
  PeEmbeddings embed(const PeInputs& inputs) const;
  /// Scale times product plus bias, whose sigmoid is how sure the model is. (N, dim) and (M, dim), or (dim) -> (N, M)
  torch::Tensor logits(PePair pair, const torch::Tensor& a, const torch::Tensor& b) const;
  Description describe() const;

 private:
  struct Impl;
  explicit PeAudioVideo(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// The towers for pictures (a `VideoEncoder`), texts and clips. A text has the vector that is compared with videos:
/// clips are trained to meet videos, so all three meet there; `PeAudioVideo` has the others.
TRINE_API AnyEncoder load_pe_audio_video(const std::filesystem::path& directory, const PeAudioOptions& options = {});

}  // namespace trine
