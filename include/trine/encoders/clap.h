#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/encoders/roberta.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"
#include "trine/layers.h"

/// CLAP (LAION) in transformers' layout: config.json with `model_type` "clap", or "clap_audio_model" or
/// "clap_text_model" for one tower alone, model.safetensors, preprocessor_config.json, tokenizer. The audio tower is
/// HTS-AT, a Swin transformer over a log-mel spectrogram, with or without the fusion of long clips; the text tower is
/// RoBERTa. Wu et al. (2023), Chen et al. (2022). Reference: transformers ClapModel, ClapAudioModelWithProjection,
/// ClapTextModelWithProjection.

namespace trine {

enum class ClapTruncation { fusion, rand_trunc };

/// A clip shorter than the window: as often as it fits whole, then zeros; repeated to the end; zeros alone.
enum class ClapPadding { repeatpad, repeat, pad };

/// What the audio tower gets of one clip.
struct ClapFeatures {
  torch::Tensor mels;   ///< (4, frames, feature_size) of fusion: the whole clip, then three pieces; else (1, ...)
  bool longer = false;  ///< whether the pieces are of a clip longer than the window
};

/// Log-mel spectrograms in decibels; fields are the JSON keys. Reference: transformers ClapFeatureExtractor.
struct TRINE_API ClapFeatureExtractor {
  int feature_size = 64;       ///< mel bands, htk's for fusion and slaney's otherwise
  int sampling_rate = 48'000;  ///< Hz
  int hop_length = 480;
  int max_length_s = 10;  ///< seconds
  int fft_window_size = 1'024;
  double frequency_min = 0;  ///< Hz
  double frequency_max = 14'000;
  ClapTruncation truncation = ClapTruncation::fusion;
  ClapPadding padding = ClapPadding::repeatpad;

  /// From the "feature_extractor" of processor_config.json, else from preprocessor_config.json. Errors:
  /// std::runtime_error naming the key, wanted and got.
  static ClapFeatureExtractor load(const std::filesystem::path& directory);

  /// (n), n >= 1. Where the reference draws a piece of a long clip at random, `seed` is numpy.random.seed's before each
  /// clip. Without a seed fusion takes the first, the middle and the last piece, and rand_trunc refuses long clips with
  /// std::invalid_argument.
  ClapFeatures operator()(std::span<const float> samples, std::optional<std::uint32_t> seed = {}) const;

  std::int64_t max_samples() const { return std::int64_t{max_length_s} * sampling_rate; }
  std::int64_t frames() const { return max_samples() / hop_length + 1; }
  Description describe() const;
};

/// The keys of config.json's "audio_config", with transformers' defaults.
struct TRINE_API ClapAudioConfig {
  std::int64_t window_size = 8;  ///< patches along a side
  std::int64_t num_mel_bins = 64;
  std::int64_t spec_size = 256;  ///< side of the picture that a spectrogram is folded into
  Activation hidden_act = Activation::gelu;
  Pair patch_size{4, 4};
  Pair patch_stride{4, 4};
  std::int64_t hidden_size = 768;                ///< of the last stage
  std::vector<std::int64_t> depths{2, 2, 6, 2};  ///< blocks of each stage
  std::vector<std::int64_t> num_attention_heads{4, 8, 16, 32};
  bool enable_fusion = false;
  std::int64_t patch_embeds_hidden_size = 96;  ///< of the first stage; each stage doubles it
  bool enable_patch_layer_norm = true;
  bool qkv_bias = true;
  double mlp_ratio = 4;
  std::int64_t aff_block_r = 4;
  double layer_norm_eps = 1e-5;

  std::int64_t freq_ratio() const { return spec_size / num_mel_bins; }  ///< strips laid below each other
  std::int64_t max_frames() const { return spec_size * freq_ratio(); }
  std::int64_t width(std::size_t stage) const { return patch_embeds_hidden_size << stage; }
  Pair grid(std::size_t stage) const;  ///< patches
};

struct TRINE_API ClapConfig {
  ClapAudioConfig audio_config;
  RobertaConfig text_config;
  std::int64_t projection_dim = 512;
  Activation projection_hidden_act = Activation::relu;

  /// A directory of one tower alone fills that tower's part.
  static ClapConfig load(const std::filesystem::path& config_json);
};

namespace detail {
class ClapBatchNorm;
class ClapPatches;
class ClapStage;
}  // namespace detail

/// (N, C, frames, num_mel_bins) -> (N, hidden_size): the mean over the patches after the last norm. With fusion C is 4,
/// and `longer` tells whether the three pieces behind the whole clip are used.
class TRINE_API ClapAudioImpl : public torch::nn::Module {
 public:
  explicit ClapAudioImpl(const ClapAudioConfig& config);
  torch::Tensor forward(const torch::Tensor& mels, bool longer = false) const;

 private:
  torch::Tensor fold(const torch::Tensor& mels) const;

  ClapAudioConfig config_;
  std::shared_ptr<detail::ClapBatchNorm> batch_norm_;
  std::shared_ptr<detail::ClapPatches> patches_;
  std::vector<std::shared_ptr<detail::ClapStage>> stages_;
  LayerNorm norm_{nullptr};
};
TORCH_MODULE(ClapAudio);

struct ClapOptions {
  /// Clips of up to an hour in one call, as the reference takes them: fusion of the whole and three pieces, or with
  /// rand_trunc one piece. Otherwise the limit is the window, `max_length_s`.
  bool whole_clips = false;
  /// Draws those pieces; rand_trunc with `whole_clips` wants one. See ClapFeatureExtractor.
  std::optional<std::uint32_t> seed = {};
  /// The reference fuses a clip that fits the window with copies of itself where it is alone in its batch (else one at
  /// random of a batch without a longer one). True does so for every clip, false for none.
  bool fuse_short_clips = true;
};

/// The towers of a directory and their similarity, which has the audio's scale. They give the projected features at
/// unit length; a tower alone gives them as they are, without a projection its pooled state. The audio tower gives one
/// vector a clip.
TRINE_API AnyEncoder load_clap(const std::filesystem::path& directory, const ClapOptions& options = {});

}  // namespace trine
