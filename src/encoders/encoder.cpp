#include "trine/encoders/encoder.h"

#include <algorithm>
#include <array>
#include <string>

#include "detail/error.h"
#include "detail/json.h"
#include "input/detail/image_file.h"
#include "trine/encoders/ast.h"
#include "trine/encoders/bert.h"
#include "trine/encoders/clap.h"
#include "trine/encoders/clip.h"
#include "trine/encoders/dinov2.h"
#include "trine/encoders/distilbert.h"
#include "trine/encoders/efficientnet.h"
#include "trine/encoders/imagebind.h"
#include "trine/encoders/modernbert.h"
#include "trine/encoders/mpnet.h"
#include "trine/encoders/open_clip.h"
#include "trine/encoders/pe_audio.h"
#include "trine/encoders/pe_audio_video.h"
#include "trine/encoders/pe_video.h"
#include "trine/encoders/roberta.h"
#include "trine/encoders/siglip.h"
#include "trine/encoders/vit.h"
#include "trine/encoders/vit_pe.h"
#include "trine/encoders/wav2vec2.h"
#include "trine/encoders/whisper.h"

namespace trine {

namespace {

constexpr const char* kLoad = "load_encoder";

using Loader = AnyEncoder (*)(const std::filesystem::path& directory);

AnyEncoder efficientnet(const std::filesystem::path& directory) { return {.image = load_efficientnet(directory)}; }
AnyEncoder bert(const std::filesystem::path& directory) { return {.text = load_bert(directory)}; }
AnyEncoder clap(const std::filesystem::path& directory) { return load_clap(directory); }
AnyEncoder dinov2(const std::filesystem::path& directory) { return {.image = load_dinov2(directory)}; }
AnyEncoder distilbert(const std::filesystem::path& directory) { return {.text = load_distilbert(directory)}; }
AnyEncoder imagebind(const std::filesystem::path& directory) { return load_imagebind(directory); }
AnyEncoder modernbert(const std::filesystem::path& directory) { return {.text = load_modernbert(directory)}; }
AnyEncoder mpnet(const std::filesystem::path& directory) { return {.text = load_mpnet(directory)}; }
AnyEncoder pe_audio(const std::filesystem::path& directory) { return load_pe_audio(directory); }
AnyEncoder pe_audio_video(const std::filesystem::path& directory) { return load_pe_audio_video(directory); }
AnyEncoder roberta(const std::filesystem::path& directory) { return {.text = load_roberta(directory)}; }
AnyEncoder vit(const std::filesystem::path& directory) { return {.image = load_vit(directory)}; }
AnyEncoder ast(const std::filesystem::path& directory) { return {.audio = load_ast(directory)}; }
AnyEncoder wav2vec2(const std::filesystem::path& directory) { return {.audio = load_wav2vec2(directory)}; }
AnyEncoder whisper(const std::filesystem::path& directory) { return {.audio = load_whisper(directory)}; }

struct Family {
  const char* name;  ///< transformers' model_type or timm's architecture
  Loader load;
};
constexpr auto kFamilies = std::to_array<Family>({{"bert", bert},
                                                  {"distilbert", distilbert},
                                                  {"modernbert", modernbert},
                                                  {"mpnet", mpnet},
                                                  {"roberta", roberta},
                                                  {"xlm-roberta", roberta},
                                                  {"whisper", whisper},
                                                  {"hubert", wav2vec2},
                                                  {"wav2vec2", wav2vec2},
                                                  {"wavlm", wav2vec2},
                                                  {"audio-spectrogram-transformer", ast},
                                                  {"clap", clap},
                                                  {"clap_audio_model", clap},
                                                  {"clap_text_model", clap},
                                                  {"clip", load_clip},
                                                  {"clip_vision_model", load_clip},
                                                  {"clip_text_model", load_clip},
                                                  {"siglip", load_siglip},
                                                  {"siglip_vision_model", load_siglip},
                                                  {"siglip_text_model", load_siglip},
                                                  {"siglip2", load_siglip},
                                                  {"siglip2_vision_model", load_siglip},
                                                  {"siglip2_text_model", load_siglip},
                                                  {"imagebind", imagebind},
                                                  {"pe_audio", pe_audio},
                                                  {"pe_audio_video", pe_audio_video},
                                                  {"pe_video", load_pe_video},
                                                  {"vit", vit},
                                                  {"dinov2", dinov2},
                                                  {"dinov2_with_registers", dinov2},
                                                  {"tf_efficientnet_lite0", efficientnet},
                                                  {"tf_efficientnet_lite1", efficientnet},
                                                  {"tf_efficientnet_lite2", efficientnet},
                                                  {"tf_efficientnet_lite3", efficientnet},
                                                  {"tf_efficientnet_lite4", efficientnet}});

}  // namespace

torch::Tensor TextEncoder::encode_after(const std::string& prompt, const std::vector<std::string>& texts) const {
  std::vector<std::string> prompted;
  for (const std::string& text : texts) prompted.push_back(prompt + text);
  return encode(prompted);
}

const Prompts& TextEncoder::prompts() const {
  static const Prompts none;
  return none;
}

torch::Tensor ImageEncoder::preprocess_file(std::span<const std::byte> file, const ImageOptions& options) const {
  return preprocess(decode_image(file, options));
}

torch::Tensor ImageEncoder::preprocess_file(const std::filesystem::path& path, const ImageOptions& options) const {
  return detail::from_image_file(path, options.max_bytes,
                                 [&](std::span<const std::byte> file) { return preprocess_file(file, options); });
}

std::int64_t ImageEncoder::draft_side() const { return 0; }

std::int64_t TextEncoder::padded_length() const { return 0; }

std::int64_t TextEncoder::count_tokens(const std::string& text) const {
  return std::ssize(tokenizer().encode(text).ids);
}

std::vector<std::int32_t> TextEncoder::tokenize(const std::string& text) const {
  std::vector<std::int32_t> ids = tokenizer().encode(text, max_tokens()).ids;
  if (std::ssize(ids) < padded_length()) ids.resize(static_cast<std::size_t>(padded_length()), tokenizer().pad_id());
  return ids;
}

torch::Tensor AudioEncoder::preprocess(const Audio& clip) const {
  std::vector<float> samples = resample(clip.samples, clip.sample_rate, sample_rate());
  return torch::from_blob(samples.data(), {std::ssize(samples)}).clone();
}

AnyEncoder load_encoder(const std::filesystem::path& directory) {
  if (is_open_clip(directory)) return load_open_clip(directory);
  const std::filesystem::path path = directory / "config.json";
  const detail::Json json = detail::read_json(kLoad, path);
  const bool timm = json.is_object() && (!json.contains("model_type") || json.at("model_type") == "timm_wrapper");
  const char* key = timm ? "architecture" : "model_type";
  if (!json.is_object() || !json.contains(key)) {
    detail::failure(kLoad, path, " has neither \"model_type\" nor \"architecture\"");
  }
  const auto name = detail::get<std::string>(kLoad, json, key);
  const auto family = std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family& f) { return name == f.name; });
  if (family == kFamilies.end() && is_vit_pe(name)) return {.image = load_vit_pe(directory)};
  if (family == kFamilies.end()) {
    std::string known;
    for (const Family& f : kFamilies) known += f.name + std::string(", ");
    detail::failure(kLoad, path, ": \"", key, "\" is ", detail::shown(name), ", known are ", known, "vit_pe_...");
  }
  return family->load(directory);
}

}  // namespace trine
