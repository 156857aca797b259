#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"

/// EfficientNet-Lite in timm's layout (`tf_efficientnet_lite0` .. `lite4`): config.json with `architecture` and
/// `pretrained_cfg`, model.safetensors with timm's keys.
/// Tan, Le: EfficientNet (2019); the Lite variants drop squeeze-and-excitation and use ReLU6.
/// Reference: timm `tf_efficientnet_lite*` (TensorFlow "same" padding, batch norm eps 1e-3).

namespace trine {

struct TRINE_API EfficientNetConfig {
  std::string architecture;  ///< "tf_efficientnet_lite0"
  double width = 1.0;        ///< channel multiplier
  double depth = 1.0;        ///< block multiplier
  int input_size = 224;      ///< pixels
  double crop_pct = 0.875;   ///< share of the resized short side that the centre crop keeps
  ResizeFilter interpolation = ResizeFilter::bicubic;
  std::array<float, 3> mean{0.5f, 0.5f, 0.5f};
  std::array<float, 3> std{0.5f, 0.5f, 0.5f};

  static EfficientNetConfig load(const std::filesystem::path& config_json);
};

/// Convolution with TensorFlow's "same" padding (the odd pixel goes right and bottom).
class TRINE_API SameConv2dImpl : public torch::nn::Module {
 public:
  SameConv2dImpl(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t groups);
  torch::Tensor forward(const torch::Tensor& x) const;
  /// The same with other weights.
  torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& kernels, const torch::Tensor& shift) const;
  std::int64_t stride() const { return stride_; }

  torch::Tensor weight;
  torch::Tensor bias;  ///< undefined until a batch norm is folded in

 private:
  std::int64_t stride_;
  std::int64_t groups_;
};
TORCH_MODULE(SameConv2d);

class TRINE_API BatchNormImpl : public torch::nn::Module {
 public:
  explicit BatchNormImpl(std::int64_t channels);
  /// The convolution of `x`, normalised. While the statistics stand still, scale and shift go into the weights first:
  /// half the memory traffic, in training too.
  torch::Tensor forward(const SameConv2dImpl& convolution, const torch::Tensor& x) const;
  /// Whether training leaves the running statistics, and uses them.
  void keep_statistics(bool keep);
  /// Moves scale and shift into the convolution for good; forward is the plain convolution from then on.
  void fold_into(SameConv2dImpl& convolution);

  torch::Tensor weight;
  torch::Tensor bias;
  torch::Tensor running_mean;
  torch::Tensor running_var;

 private:
  std::pair<torch::Tensor, torch::Tensor> scale_and_shift() const;

  bool keeps_statistics_ = false;
  bool folded_ = false;
};
TORCH_MODULE(BatchNorm);

/// (N, 3, H, W) -> (N, 1280): stem, seven stages of blocks, head convolution, mean over the picture.
class TRINE_API EfficientNetImpl : public torch::nn::Module {
 public:
  explicit EfficientNetImpl(const EfficientNetConfig& config);
  torch::Tensor forward(const torch::Tensor& pixels) const;
  /// What leaves each of the first `count` of the seven stages: a cell is 2, 4, 8, 16, 16, 32 and 32 px.
  /// (N, 3, H, W) -> (N, C, H / cell, W / cell) each
  std::vector<torch::Tensor> stages(const torch::Tensor& pixels, std::size_t count) const;
  /// Merges every batch norm into its convolution and packs the layers: for inference only.
  void fold();
  /// Freezes the stem and the first `count` blocks, their batch norm statistics included.
  void freeze_blocks(std::int64_t count);
  /// BatchNorm::keep_statistics of every norm.
  void keep_statistics(bool keep);
  void train(bool on = true) override;

  std::int64_t block_count() const;

  static constexpr std::int64_t kFeatures = 1280;

 private:
  bool infers(const torch::Tensor& pixels) const;
  /// What goes into the first block, what a block makes of it: (N, H, W, C) where the network infers.
  torch::Tensor stem(const torch::Tensor& pixels) const;
  torch::Tensor through(std::size_t block, const torch::Tensor& x) const;
  void pair(const char* convolution_name, const char* norm_name, const SameConv2d& convolution);

  std::vector<SameConv2d> convolutions_;                    ///< stem and head
  std::vector<BatchNorm> norms_;                            ///< theirs
  std::vector<std::shared_ptr<torch::nn::Module>> blocks_;  ///< of all stages, in order
  std::vector<std::size_t> stage_ends_;                     ///< blocks up to each stage's last
  std::vector<std::shared_ptr<torch::nn::Module>> frozen_;
  struct Ends;
  std::shared_ptr<Ends> ends_;  ///< of a folded network: stem and head, packed
};
TORCH_MODULE(EfficientNet);

/// The encoder of a checkpoint directory, batch norms folded. `tuned`: a safetensors file whose tensors replace those
/// of the same name (the blocks that were fine-tuned).
TRINE_API std::unique_ptr<ImageEncoder> load_efficientnet(const std::filesystem::path& directory,
                                                          const std::optional<std::filesystem::path>& tuned = {});

}  // namespace trine
