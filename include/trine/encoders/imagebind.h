#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <span>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"
#include "trine/layers.h"

/// The towers of ImageBind for images, texts and sounds, which share one space: config.json with `model_type`
/// "imagebind" and model.safetensors with the keys of the published imagebind_huge.pth, as `trine.convert_imagebind`
/// writes them, and CLIP's tokenizer files. Depth, thermal and motion towers are left out. Girdhar et al. (2023).
/// Reference: the published code and weights, whose licence is CC-BY-NC 4.0.

namespace trine {

/// The keys of config.json, with the values of imagebind_huge.
struct TRINE_API ImageBindConfig {
  std::int64_t out_embed_dim = 1024;
  std::int64_t image_size = 224;
  std::int64_t patch_size = 14;
  std::int64_t video_frames = 2;  ///< of the first layer; a picture is shown as often
  TransformerConfig vision{.layer_norm_eps =
                               1e-6};              ///< vision_embed_dim 1280, vision_num_blocks 32, vision_num_heads 16
  TransformerConfig text{.layer_norm_eps = 1e-6};  ///< text_embed_dim 1024, text_num_blocks 24, text_num_heads 16
  TransformerConfig audio{.layer_norm_eps = 1e-6, .bias_kv = true};  ///< audio_embed_dim 768, 12 and 12
  std::int64_t vocab_size = 49'408;
  std::int64_t context_length = 77;
  std::int64_t audio_kernel_size = 16;
  std::int64_t audio_stride = 10;
  std::int64_t audio_num_mel_bins = 128;
  std::int64_t audio_target_len = 204;  ///< frames of 10 ms

  static ImageBindConfig load(const std::filesystem::path& config_json);

  Pair audio_grid() const;  ///< patches of a piece of sound
};

/// (N, 3, image_size, image_size) -> (N, out_embed_dim): the class token after the last norm, projected.
class TRINE_API ImageBindVisionImpl : public torch::nn::Module {
 public:
  explicit ImageBindVisionImpl(const ImageBindConfig& config);
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  std::int64_t image_size_;
  torch::Tensor class_token_;
  torch::Tensor patches_;  ///< (dim, 3, video_frames, patch_size, patch_size)
  torch::Tensor positions_;
  LayerNorm pre_norm_{nullptr};
  Transformer trunk_{nullptr};
  LayerNorm norm_{nullptr};
  Linear projection_{nullptr};
};
TORCH_MODULE(ImageBindVision);

/// ids (N, T) int64 -> (N, out_embed_dim): the first token of the highest id, which is the end token, projected.
class TRINE_API ImageBindTextImpl : public torch::nn::Module {
 public:
  explicit ImageBindTextImpl(const ImageBindConfig& config);
  torch::Tensor forward(const torch::Tensor& ids) const;

 private:
  Embedding tokens_{nullptr};
  torch::Tensor positions_;
  Transformer trunk_{nullptr};
  LayerNorm norm_{nullptr};
  Linear projection_{nullptr};
};
TORCH_MODULE(ImageBindText);

/// (N, 1, audio_num_mel_bins, audio_target_len) -> (N, out_embed_dim): the class token after the last norm, projected.
class TRINE_API ImageBindAudioImpl : public torch::nn::Module {
 public:
  explicit ImageBindAudioImpl(const ImageBindConfig& config);
  torch::Tensor forward(const torch::Tensor& mels) const;

 private:
  ImageBindConfig config_;
  torch::Tensor class_token_;
  torch::Tensor patches_;  ///< (dim, 1, audio_kernel_size, audio_kernel_size)
  LayerNorm patch_norm_{nullptr};
  torch::Tensor positions_;
  Transformer trunk_{nullptr};
  LayerNorm norm_{nullptr};
  Linear projection_{nullptr};
};
TORCH_MODULE(ImageBindAudio);

/// Three pieces of 2 s of a clip at 16 kHz, evenly placed; a clip of at most 2 s is one piece. Each is a spectrogram of
/// Kaldi's mels, filled up with zeros or cut to `audio_target_len` frames and scaled as in training.
/// (n), n >= 400 -> (3 or 1, 1, audio_num_mel_bins, audio_target_len)
TRINE_API torch::Tensor imagebind_mels(std::span<const float> samples, const ImageBindConfig& config);

struct ImageBindOptions {
  /// Clips of up to an hour in one call, as the reference takes them: what lies between the three pieces is not heard.
  /// Otherwise the limit is 6 s, which the pieces cover.
  bool whole_clips = false;
};

/// The towers and the similarity of a directory, which has the texts' scale. Images and texts are the projected
/// features, not normalised; a clip is one vector, the mean of its pieces at unit length.
TRINE_API AnyEncoder load_imagebind(const std::filesystem::path& directory, const ImageBindOptions& options = {});

}  // namespace trine
