#include "trine/encoders/efficientnet.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <sstream>

#include "convolve.h"
#include "detail/error.h"
#include "detail/json.h"
#include "encoders/text_network.h"
#include "linear/depthwise.h"
#include "linear/linear.h"
#include "linear/ours.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/preprocess.h"
#include "trine/layers.h"
#include "trine/precision.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "EfficientNetConfig";
constexpr double kBatchNormEps = 1e-3;
constexpr double kBatchNormMomentum = 0.1;

struct Scale {
  const char* architecture;
  double width;
  double depth;
};
constexpr std::array<Scale, 5> kScales{{{"tf_efficientnet_lite0", 1.0, 1.0},
                                        {"tf_efficientnet_lite1", 1.0, 1.1},
                                        {"tf_efficientnet_lite2", 1.1, 1.2},
                                        {"tf_efficientnet_lite3", 1.2, 1.4},
                                        {"tf_efficientnet_lite4", 1.4, 1.8}}};

/// One stage of the table in the paper, before scaling.
struct Stage {
  int repeats;
  std::int64_t kernel;
  std::int64_t stride;
  std::int64_t expansion;
  std::int64_t channels;
};
constexpr std::array<Stage, 7> kStages{{{1, 3, 1, 1, 16},
                                        {2, 3, 2, 6, 24},
                                        {2, 5, 2, 6, 40},
                                        {3, 3, 2, 6, 80},
                                        {3, 5, 1, 6, 112},
                                        {4, 5, 2, 6, 192},
                                        {1, 3, 1, 6, 320}}};
constexpr std::int64_t kStemChannels = 32, kStemKernel = 3, kStemStride = 2;

/// timm's make_divisible: the nearest multiple of 8 that does not lose more than a tenth.
std::int64_t scaled_channels(std::int64_t channels, double width) {
  const double wanted = static_cast<double>(channels) * width;
  std::int64_t rounded = std::max<std::int64_t>(8, (static_cast<std::int64_t>(wanted + 4.0)) / 8 * 8);
  if (static_cast<double>(rounded) < 0.9 * wanted) rounded += 8;
  return rounded;
}

/// A convolution as a layer over the inputs of each place. Small ones have many places: to round their inputs takes
/// longer than to compute them, so they stay in fp32.
detail::InferenceLinear packed(const Tensor& weight, const Tensor& bias) {
  constexpr std::int64_t kSmall = 16'384;  // weights
  std::optional<LoadPrecision> scope;
  if (weight.numel() < kSmall) scope.emplace(Precision::fp32);
  return detail::InferenceLinear({{weight, bias}});
}

/// Expansion 1x1 (left out in the first stage), depthwise, projection 1x1; the input is added where shapes allow.
/// Registered names are timm's: a first-stage block has conv_dw, bn1, conv_pw, bn2, the others conv_pw, bn1, conv_dw,
/// bn2, conv_pwl, bn3.
struct BlockImpl : torch::nn::Module {
  BlockImpl(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t expansion)
      : residual(in == out && stride == 1) {
    const std::int64_t middle = in * expansion;
    if (expansion == 1) {
      add("conv_dw", "bn1", SameConv2d(in, in, kernel, stride, in));
      add("conv_pw", "bn2", SameConv2d(in, out, 1, 1, 1));
    } else {
      add("conv_pw", "bn1", SameConv2d(in, middle, 1, 1, 1));
      add("conv_dw", "bn2", SameConv2d(middle, middle, kernel, stride, middle));
      add("conv_pwl", "bn3", SameConv2d(middle, out, 1, 1, 1));
    }
  }

  void add(const char* convolution_name, const char* norm_name, const SameConv2d& convolution) {
    convolutions.push_back(register_module(convolution_name, convolution));
    norms.push_back(register_module(norm_name, BatchNorm(convolution->weight.size(0))));
  }

  /// Merges the norms; a 1x1 convolution then is a linear layer over the channels of each place.
  void fold() {
    points.clear();
    for (std::size_t i = 0; i < convolutions.size(); ++i) {
      norms[i]->fold_into(*convolutions[i]);
      const Tensor &weight = convolutions[i]->weight, &bias = convolutions[i]->bias;
      if (weight.size(2) == 1) {
        points.push_back(packed(weight, bias));
      } else {
        depthwise.emplace(weight, bias, convolutions[i]->stride());
      }
    }
  }

  /// Of a folded block, without gradients. (N, H, W, C) contiguous -> (N, H', W', C')
  Tensor infer(const Tensor& input) const {
    const Tensor x = depthwise->forward(points.size() > 1 ? points.front().forward_relu6(input) : input);
    return residual ? points.back().forward_add(x, input) : points.back().forward(x);
  }

  Tensor forward(const Tensor& input) const {
    Tensor x = input;
    for (std::size_t i = 0; i < convolutions.size(); ++i) {
      x = norms[i]->forward(*convolutions[i], x);
      if (i + 1 < convolutions.size()) x = torch::clamp(x, 0, 6);  // ReLU6; the projection is linear
    }
    return residual ? x + input : x;
  }

  bool residual;
  std::vector<SameConv2d> convolutions;
  std::vector<BatchNorm> norms;
  std::vector<detail::InferenceLinear> points;  ///< of a folded block: expansion, projection
  std::optional<detail::DepthwiseRelu6> depthwise;
};
TORCH_MODULE(Block);

/// Resize, centre crop and scaling of a checkpoint, and its network.
class EfficientNetEncoder : public ImageEncoder, public Trainable {
 public:
  EfficientNetEncoder(const std::filesystem::path& directory, const std::optional<std::filesystem::path>& tuned)
      : directory_(directory),
        tuned_(tuned),
        config_(EfficientNetConfig::load(directory / "config.json")),
        network_(load()) {
    network_->fold();
  }

  std::int64_t dim() const override { return EfficientNetImpl::kFeatures; }

  Tensor preprocess(const Image& image) const override {
    return to_tensor(resize(image, resizing(image.width, image.height)), config_.mean, config_.std);
  }
  Tensor preprocess_file(std::span<const std::byte> file, const ImageOptions& options) const override {
    const auto to = [this](int width, int height) { return resizing(width, height); };
    return to_tensor(decode_image(file, options, to), config_.mean, config_.std);
  }

  std::int64_t draft_side() const override { return resized_side(config_.input_size, config_.crop_pct); }

  Tensor encode(const Tensor& pixels) const override {
    if (pixels.dim() != 4 || pixels.size(1) != 3 || pixels.scalar_type() != torch::kFloat32) {
      detail::bad_argument("encode", "pixels are (N, 3, H, W) of Float, got ", pixels.sizes(), " of ",
                           pixels.scalar_type());
    }
    const torch::AutoGradMode record(RecordGradients::on());
    if (pixels.size(0) == 0) return torch::zeros({0, dim()});
    return place_.run([&](const Tensor& x) { return network_->forward(x); },
                      pixels.contiguous(torch::MemoryFormat::ChannelsLast));
  }

  /// Norms stand apart again, with their statistics as they are.
  std::vector<TrainablePart> trainable() override {
    const LoadDevice there(place_.device());
    if (folded_) network_ = load();
    folded_ = false;
    return {{"", network_.ptr()}};
  }

  Description describe() const override {
    std::ostringstream input;
    input << "short side to " << std::floor(config_.input_size / config_.crop_pct) << " px, "
          << to_string(config_.interpolation) << " (Pillow), centre crop " << config_.input_size << " x "
          << config_.input_size;
    return {{"architecture", config_.architecture},
            {"input", input.str()},
            {"scaling", "(x / 255 - mean) / std, mean " + to_string(config_.mean) + ", std " + to_string(config_.std)},
            {"activation", "relu6"},
            {"padding", "TensorFlow same"},
            {"pooling", "mean over the picture, 1280 features"},
            {"parameters", std::to_string(detail::count_parameters(*network_))}};
  }

 private:
  Resizing resizing(int width, int height) const {
    return resize_crop(width, height, config_.input_size, config_.crop_pct, config_.interpolation);
  }

  EfficientNet load() const {
    EfficientNet network(config_);
    load_weights(*network, Checkpoint::open(directory_));
    if (tuned_) copy_weights(*network, Checkpoint::open(*tuned_));
    network->eval();
    return network;
  }

  std::filesystem::path directory_;
  std::optional<std::filesystem::path> tuned_;
  detail::Place place_;
  EfficientNetConfig config_;
  EfficientNet network_;
  bool folded_ = true;
};

/// One number for each of red, green and blue.
std::array<float, 3> three(const std::filesystem::path& config_json, const detail::Json& cfg, const char* key) {
  const auto values = detail::get<std::vector<float>>(kConfig, cfg, key);
  if (values.size() != 3) {
    detail::failure(kConfig, config_json, " has ", values.size(), " values of ", key, ", wanted 3");
  }
  return {values[0], values[1], values[2]};
}

}  // namespace

EfficientNetConfig EfficientNetConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  EfficientNetConfig config;
  config.architecture = detail::get<std::string>(kConfig, json, "architecture");
  const auto scale = std::find_if(kScales.begin(), kScales.end(),
                                  [&](const Scale& s) { return config.architecture == s.architecture; });
  if (scale == kScales.end()) {
    detail::failure(kConfig, config_json, " names architecture ", detail::shown(config.architecture),
                    ", known are tf_efficientnet_lite0 to lite4");
  }
  config.width = scale->width;
  config.depth = scale->depth;
  const auto cfg = json.find("pretrained_cfg");
  if (cfg == json.end()) return config;
  const auto size = detail::get<std::vector<int>>(kConfig, *cfg, "input_size");
  if (size.size() != 3 || size[1] != size[2] || size[1] < 32 || size[1] > 4096) {
    detail::failure(kConfig, config_json, " has an input_size that is not [3, S, S] with 32 <= S <= 4096");
  }
  config.input_size = size[1];
  config.crop_pct = detail::get<double>(kConfig, *cfg, "crop_pct");
  if (!(config.crop_pct > 0.1 && config.crop_pct <= 1.0)) {
    detail::failure(kConfig, config_json, " has crop_pct ", config.crop_pct, ", outside (0.1, 1]");
  }
  config.interpolation = resize_filter(detail::get<std::string>(kConfig, *cfg, "interpolation"));
  config.mean = three(config_json, *cfg, "mean");
  config.std = three(config_json, *cfg, "std");
  if (std::any_of(config.std.begin(), config.std.end(), [](float s) { return !(s > 0); })) {
    detail::failure(kConfig, config_json, " has a std that is not positive");
  }
  return config;
}

SameConv2dImpl::SameConv2dImpl(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                               std::int64_t groups)
    : weight(register_parameter("weight", torch::empty({out, in / groups, kernel, kernel}))),
      stride_(stride),
      groups_(groups) {}

Tensor SameConv2dImpl::forward(const Tensor& x) const { return convolve(x, weight, bias); }

Tensor SameConv2dImpl::convolve(const Tensor& x, const Tensor& kernels, const Tensor& shift) const {
  const std::int64_t kernel = weight.size(2);
  const std::int64_t rows = detail::missing(x.size(2), kernel, stride_);
  const std::int64_t columns = detail::missing(x.size(3), kernel, stride_);
  if (rows % 2 == 0 && columns % 2 == 0) {
    return detail::convolve(x, kernels, shift, {stride_, stride_}, {rows / 2, columns / 2}, {1, 1}, groups_);
  }
  const Tensor padded = torch::constant_pad_nd(x, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2});
  return detail::convolve(padded, kernels, shift, {stride_, stride_}, {0, 0}, {1, 1}, groups_);
}

BatchNormImpl::BatchNormImpl(std::int64_t channels)
    : weight(register_parameter("weight", torch::empty({channels}))),
      bias(register_parameter("bias", torch::empty({channels}))),
      running_mean(register_buffer("running_mean", torch::empty({channels}))),
      running_var(register_buffer("running_var", torch::empty({channels}))) {}

std::pair<Tensor, Tensor> BatchNormImpl::scale_and_shift() const {
  const Tensor scale = weight / (running_var + kBatchNormEps).sqrt();
  return {scale, bias - running_mean * scale};
}

Tensor BatchNormImpl::forward(const SameConv2dImpl& convolution, const Tensor& x) const {
  if (folded_) return convolution.forward(x);
  if (is_training() && !keeps_statistics_) {
    return torch::batch_norm(convolution.forward(x), weight, bias, running_mean, running_var, true, kBatchNormMomentum,
                             kBatchNormEps, /*cudnn_enabled=*/true);
  }
  const auto [scale, shift] = scale_and_shift();
  return convolution.convolve(x, convolution.weight * scale.view({-1, 1, 1, 1}), shift);
}

void BatchNormImpl::keep_statistics(bool keep) { keeps_statistics_ = keep; }

void BatchNormImpl::fold_into(SameConv2dImpl& convolution) {
  if (folded_) return;
  const torch::NoGradGuard no_grad;
  const auto [scale, shift] = scale_and_shift();
  convolution.weight.set_data(convolution.weight * scale.view({-1, 1, 1, 1}));
  convolution.bias = shift;
  folded_ = true;
}

EfficientNetImpl::EfficientNetImpl(const EfficientNetConfig& config) {
  pair("conv_stem", "bn1", SameConv2d(3, kStemChannels, kStemKernel, kStemStride, 1));
  torch::nn::ModuleList stages;
  std::int64_t channels = kStemChannels;
  for (std::size_t s = 0; s < kStages.size(); ++s) {
    const Stage& stage = kStages[s];
    const bool scaled_depth = s != 0 && s + 1 != kStages.size();  // the Lite variants keep the first and last stage
    const int repeats = scaled_depth ? static_cast<int>(std::ceil(stage.repeats * config.depth)) : stage.repeats;
    const std::int64_t out = scaled_channels(stage.channels, config.width);
    torch::nn::ModuleList blocks;
    for (int r = 0; r < repeats; ++r) {
      const Block block(channels, out, stage.kernel, r == 0 ? stage.stride : 1, stage.expansion);
      blocks->push_back(block);
      blocks_.push_back(block.ptr());
      channels = out;
    }
    stages->push_back(blocks);
    stage_ends_.push_back(blocks_.size());
  }
  register_module("blocks", stages);
  pair("conv_head", "bn2", SameConv2d(channels, kFeatures, 1, 1, 1));
}

void EfficientNetImpl::pair(const char* convolution_name, const char* norm_name, const SameConv2d& convolution) {
  convolutions_.push_back(register_module(convolution_name, convolution));
  norms_.push_back(register_module(norm_name, BatchNorm(convolution->weight.size(0))));
}

struct EfficientNetImpl::Ends {
  detail::InferenceLinear stem, head;
};

bool EfficientNetImpl::infers(const Tensor& pixels) const { return ends_ != nullptr && detail::is_ours(pixels); }

Tensor EfficientNetImpl::stem(const Tensor& pixels) const {
  if (!infers(pixels)) return torch::clamp(norms_[0]->forward(*convolutions_[0], pixels), 0, 6);
  const Tensor picture = pixels.permute({0, 2, 3, 1}).contiguous();
  return ends_->stem.forward_relu6(detail::places_of(picture, kStemKernel, kStemStride));
}

Tensor EfficientNetImpl::through(std::size_t block, const Tensor& x) const {
  const auto* one = blocks_[block]->as<BlockImpl>();
  return infers(x) ? one->infer(x) : one->forward(x);
}

Tensor EfficientNetImpl::forward(const Tensor& pixels) const {
  if (infers(pixels) && pixels.size(0) > 1) {  // picture after picture, whose numbers stay in the cache
    Tensor found = torch::empty({pixels.size(0), kFeatures});
    for (std::int64_t i = 0; i < pixels.size(0); ++i) found[i].copy_(forward(pixels.narrow(0, i, 1)).squeeze(0));
    return found;
  }
  Tensor x = stem(pixels);
  for (std::size_t i = 0; i < blocks_.size(); ++i) x = through(i, x);
  if (infers(pixels)) return ends_->head.forward_relu6(x).mean({1, 2});
  return torch::clamp(norms_[1]->forward(*convolutions_[1], x), 0, 6).mean({2, 3});
}

std::vector<Tensor> EfficientNetImpl::stages(const Tensor& pixels, std::size_t count) const {
  std::vector<Tensor> maps;
  Tensor x = stem(pixels);
  for (std::size_t i = 0; maps.size() < count && i < blocks_.size(); ++i) {
    x = through(i, x);
    if (i + 1 == stage_ends_[maps.size()]) maps.push_back(infers(pixels) ? x.permute({0, 3, 1, 2}) : x);
  }
  return maps;
}

void EfficientNetImpl::fold() {
  for (std::size_t i = 0; i < norms_.size(); ++i) norms_[i]->fold_into(*convolutions_[i]);
  for (const auto& module : blocks_) module->as<BlockImpl>()->fold();
  const SameConv2dImpl &first = *convolutions_[0], &last = *convolutions_[1];
  const Tensor stem = first.weight.permute({0, 2, 3, 1}).contiguous();  // as places_of lays out its inputs
  ends_ = std::make_shared<Ends>(Ends{packed(stem, first.bias), packed(last.weight, last.bias)});
}

void EfficientNetImpl::freeze_blocks(std::int64_t count) {
  frozen_ = {convolutions_[0].ptr(), norms_[0].ptr()};
  frozen_.insert(frozen_.end(), blocks_.begin(), blocks_.begin() + std::min<std::int64_t>(count, block_count()));
  for (const auto& module : frozen_) {
    module->eval();
    for (auto& parameter : module->parameters()) parameter.set_requires_grad(false);
  }
}

void EfficientNetImpl::keep_statistics(bool keep) {
  for (const auto& module : modules()) {
    if (auto* norm = module->as<BatchNormImpl>()) norm->keep_statistics(keep);
  }
}

std::int64_t EfficientNetImpl::block_count() const { return static_cast<std::int64_t>(blocks_.size()); }

void EfficientNetImpl::train(bool on) {
  torch::nn::Module::train(on);
  for (const auto& module : frozen_) module->eval();
}

std::unique_ptr<ImageEncoder> load_efficientnet(const std::filesystem::path& directory,
                                                const std::optional<std::filesystem::path>& tuned) {
  return std::make_unique<EfficientNetEncoder>(directory, tuned);
}

}  // namespace trine
