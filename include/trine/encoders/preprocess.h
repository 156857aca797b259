#pragma once

#include <torch/torch.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/input/image.h"

/// What image encoders share between a decoded picture and their first layer.

namespace trine {

TRINE_API std::string_view to_string(ResizeFilter filter);

/// "bilinear", "bicubic" ..., as checkpoints write it; another name is std::runtime_error.
TRINE_API ResizeFilter resize_filter(std::string_view name);

/// "(0.5, 0.5, 0.5)"
TRINE_API std::string to_string(const std::array<float, 3>& values);

/// (x / 255 - mean) / std. -> (3, H, W) fp32
TRINE_API torch::Tensor to_tensor(const Image& image, const std::array<float, 3>& mean,
                                  const std::array<float, 3>& std);

/// timm's evaluation transform of a picture of width x height, before it is scaled: the short side to
/// floor(size / crop_pct), the centre crop of `size`. std::invalid_argument for a picture longer than 1000 : 1.
/// Reference: timm.data.create_transform (torchvision Resize and CenterCrop over Pillow).
TRINE_API Resizing resize_crop(int width, int height, int size, double crop_pct, ResizeFilter filter);

/// The short side's pixels after that resizing.
TRINE_API int resized_side(int size, double crop_pct);

/// A size as image processors write it, in pixels; 0 for what is not set. Which are set is the rule of resizing:
/// height and width; shortest_edge, with longest_edge as its limit; or the box max_height x max_width to fit in.
struct ImageSize {
  int height = 0;
  int width = 0;
  int shortest_edge = 0;
  int longest_edge = 0;
  int max_height = 0;
  int max_width = 0;
};

/// transformers' image processors over Pillow: resize, centre crop, rescale, normalise, pad, in this order, as far as
/// the file asks for them. Known are those of CLIP, SigLIP, SigLIP 2 (naflex), ViT and BiT; fields are the JSON keys.
/// Reference: transformers CLIPImageProcessorPil and its like.
struct TRINE_API ImageProcessor {
  std::string image_processor_type;
  bool do_resize = true;
  ImageSize size;
  ResizeFilter resample = ResizeFilter::bicubic;
  bool do_center_crop = false;
  ImageSize crop_size;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255;
  bool do_normalize = true;
  std::array<float, 3> image_mean{0.5f, 0.5f, 0.5f};
  std::array<float, 3> image_std{0.5f, 0.5f, 0.5f};
  bool do_pad = false;
  ImageSize pad_size;
  int patch_size = 0;         ///< naflex: the sides become multiples of it,
  int max_num_patches = 0;    ///< of at most so many patches together
  bool even_offsets = false;  ///< a crop whose middle lies between two pixels starts at the even one, as torchvision's

  /// From the "image_processor" of processor_config.json, else from preprocessor_config.json. `fallback`: the type
  /// where the file names none. Errors: std::runtime_error naming the key, wanted and got.
  static ImageProcessor load(const std::filesystem::path& directory, std::string_view fallback);
  /// timm's evaluation transform, from "pretrained_cfg" of its config.json. Reference: timm.data.create_transform.
  static ImageProcessor load_timm(const std::filesystem::path& config_json);
  /// Of "preprocess_cfg" and the size in "model_cfg" of an open_clip_config.json. Reference: open_clip.image_transform.
  static ImageProcessor load_open_clip(const std::filesystem::path& open_clip_config_json);

  /// The bytes before anything is scaled: resized and cropped; black where the crop sticks out.
  Image resize_and_crop(const Image& image) const;
  /// -> (3, H, W) fp32. std::invalid_argument for a picture too long to be resized.
  torch::Tensor operator()(const Image& image) const;
  /// The same of decode_image(file, options), in one.
  torch::Tensor operator()(std::span<const std::byte> file, const ImageOptions& options = {}) const;

  /// Height and width of every result, where they do not depend on the picture.
  std::optional<std::array<int, 2>> output_size() const;
  /// See ImageEncoder::draft_side.
  std::int64_t draft_side() const;
  Description describe() const;
};

}  // namespace trine
