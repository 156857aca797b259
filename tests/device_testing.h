#pragma once

#include <ATen/autocast_mode.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text_testing.h"
#include "trine/embedder.h"
#include "trine/encoders/efficientnet.h"

/// What the tests of devices share: every tower there is, and how torch's operators are chosen and counted.

namespace trine::testing {

/// A tower of a tiny checkpoint below tests/golden; "efficientnet" is made here.
struct TowerCase {
  std::string folder;
  Modality modality;
};

inline std::vector<TowerCase> every_tower() {
  std::vector<TowerCase> all{{"efficientnet", Modality::image}};
  for (const char* name :
       {"vision/clip", "vision/clip_vision", "vision/clip_vision_pooled", "vision/siglip", "vision/siglip2",
        "vision/siglip_vision", "vision/vit", "vision/dinov2", "vision/dinov2_registers", "vision/dinov2_swiglu",
        "pe/core", "pe/giant", "pe/lang", "pe/spatial", "pe/open_clip", "pe/open_clip_custom", "imagebind/small",
        "pe_video/small", "pe_video/both"}) {
    all.push_back({name, Modality::image});
  }
  for (const char* name : {"texts/bert", "texts/distilbert", "texts/modernbert", "texts/modernbert_other",
                           "texts/mpnet", "texts/roberta", "texts/xlm-roberta", "vision/clip", "vision/clip_text",
                           "vision/siglip", "vision/siglip2", "pe/open_clip", "pe/open_clip_custom", "imagebind/small",
                           "pe_video/both", "pe_audio/small", "spectrograms/clap_fused", "spectrograms/clap_text"}) {
    all.push_back({name, Modality::text});
  }
  for (const char* name :
       {"encoders/whisper", "spectrograms/ast", "spectrograms/clap_fused", "spectrograms/clap_unfused",
        "spectrograms/clap_audio", "imagebind/small", "pe_audio/small", "pe_video/both", "waves/wav2vec2",
        "waves/wav2vec2_stable", "waves/hubert", "waves/hubert_batch_norm", "waves/wavlm", "waves/wavlm_stable"}) {
    all.push_back({name, Modality::audio});
  }
  return all;
}

/// An EfficientNet-Lite0 whose weights keep the signal's size.
inline const fs::path& efficientnet_folder() {
  static const Directory folder;
  static const bool written = [] {
    folder.write("config.json",
                 R"({"architecture": "tf_efficientnet_lite0", "pretrained_cfg": {"input_size": [3, 64, 64],
        "crop_pct": 0.875, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}})");
    EfficientNet network(EfficientNetConfig::load(folder / "config.json"));
    const torch::NoGradGuard no_grad;
    for (const auto& [name, tensor] : state_dict(*network)) {
      const bool scale = name.ends_with("running_var") || name.ends_with("weight");
      const torch::Tensor values = noise(name, tensor.sizes().vec());
      torch::Tensor(tensor).copy_(tensor.dim() > 1 ? values * (2 / std::sqrt(static_cast<double>(tensor[0].numel())))
                                                   : values / 4 + (scale ? 1 : 0));
    }
    save_tensors(folder / "model.safetensors", state_dict(*network));
    return true;
  }();
  (void)written;
  return folder.path();
}

/// Loads a tower; families of texts need the tokenizer that all of them share.
inline Embedder load_tower(const TowerCase& tower) {
  if (tower.folder == "efficientnet") return Embedder::load(efficientnet_folder());
  const fs::path folder = fs::path(TRINE_TEST_DATA) / "golden" / tower.folder;
  if (tower.folder.starts_with("texts/")) return Embedder::load(TextDirectory(folder).path());
  return Embedder::load(folder);
}

/// `count` pictures, texts or clips, all different. -> (count, dim)
inline torch::Tensor embed_some(const Embedder& model, Modality modality, int count) {
  std::vector<ImageInput> pictures;
  std::vector<std::string> texts;
  std::vector<AudioInput> clips;
  const std::string words = "a sour lemon and two litres of milk ";
  for (int i = 0; i < count; ++i) {
    Image image{.width = 40, .height = 30, .pixels = std::vector<std::uint8_t>(40 * 30 * 3)};
    for (std::size_t p = 0; p < image.pixels.size(); ++p) {
      image.pixels[p] = static_cast<std::uint8_t>(p * (7 + static_cast<std::size_t>(i)) % (90 + 20 * i));
    }
    pictures.emplace_back(std::move(image));
    texts.push_back(words.substr(0, 7 + 4 * static_cast<std::size_t>(i)));
    Audio clip{16'000, std::vector<float>(8'000 + 1'000 * static_cast<std::size_t>(i))};
    for (std::size_t s = 0; s < clip.samples.size(); ++s) {
      const auto t = static_cast<float>(s);
      clip.samples[s] = 0.3f * std::sin((0.05f + 0.04f * static_cast<float>(i)) * t) * std::cos(0.002f * t);
    }
    clips.emplace_back(std::move(clip));
  }
  switch (modality) {
    case Modality::image:
      return model.embed_images(pictures);
    case Modality::text:
      return model.embed_texts(texts);
    case Modality::audio:
      break;
  }
  return model.embed_audios(clips);
}

/// While one lives: how often this thread called torch's operators for linear layers and convolutions.
class Products {
 public:
  Products() : handle_(at::addThreadLocalCallback(at::RecordFunctionCallback(&Products::note))) { count_ = 0; }
  ~Products() { at::removeCallback(handle_); }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  int count() const { return count_; }

 private:
  static std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& call) {
    for (const std::string_view name : {"aten::linear", "aten::conv1d", "aten::conv2d"}) count_ += call.name() == name;
    return nullptr;
  }

  inline static thread_local int count_ = 0;
  at::CallbackHandle handle_;
};

/// While one lives, torch casts to `type` on the CPU, as on CUDA for a network in bf16; fp32 changes no number. The
/// library's own loops stand aside, so that what runs is what runs on any device.
class CpuAutocast {
 public:
  explicit CpuAutocast(torch::ScalarType type) : previous_(at::autocast::get_autocast_dtype(torch::kCPU)) {
    at::autocast::set_autocast_dtype(torch::kCPU, type);
    at::autocast::set_autocast_enabled(torch::kCPU, true);
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~CpuAutocast() {
    at::autocast::set_autocast_cache_enabled(true);
    at::autocast::set_autocast_enabled(torch::kCPU, false);
    at::autocast::set_autocast_dtype(torch::kCPU, previous_);
  }
  CpuAutocast(const CpuAutocast&) = delete;
  CpuAutocast& operator=(const CpuAutocast&) = delete;

 private:
  torch::ScalarType previous_;
};

}  // namespace trine::testing
