#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>

#include "trine/encoders/encoder.h"
#include "trine/encoders/modernbert.h"
#include "trine/encoders/pe_transformer.h"
#include "trine/encoders/vit_pe.h"
#include "trine/export.h"
#include "trine/layers.h"

/// The towers of Meta's Perception Encoder for videos and texts: config.json with `model_type` "pe_video",
/// model.safetensors, video_preprocessor_config.json (or processor_config.json), tokenizer. Frames go through PE-Core,
/// their unit vectors through a transformer; a text goes through ModernBERT. Reference: transformers PeVideoModel.

namespace trine {

/// The keys of config.json's "video_config".
struct TRINE_API PeVideoEncoderConfig : PeTransformerConfig {
  VitPeConfig vision_config;  ///< timm's; "vit_pe_core_large_patch14_336" of 1024 classes where nothing is said
};

struct TRINE_API PeVideoConfig {
  PeVideoEncoderConfig video_config;
  ModernBertConfig text_config;

  static PeVideoConfig load(const std::filesystem::path& config_json);
};

/// Frames to what PE-Core sees in each, and that to states.
class TRINE_API PeVideoEncoderImpl : public PeTransformerImpl {
 public:
  explicit PeVideoEncoderImpl(const PeVideoEncoderConfig& config);
  /// (M, 3, img_size, img_size) -> (M, num_classes), of unit length
  torch::Tensor look(const torch::Tensor& frames) const;
  /// What was seen of the frames of each video: the first state is of the class token, the others of the frames.
  /// (N, T, num_classes) -> (N, 1 + T, hidden_size)
  torch::Tensor forward(const torch::Tensor& looks) const;

 private:
  VitPe vision_model_{nullptr};
  Linear projection_{nullptr};
  Linear data_projection_{nullptr};
};
TORCH_MODULE(PeVideoEncoder);

/// Both towers; the image encoder is a `VideoEncoder`. Features are not normalised, and there is no similarity of
/// vectors, as of `load_pe_audio`.
TRINE_API AnyEncoder load_pe_video(const std::filesystem::path& directory);

}  // namespace trine
