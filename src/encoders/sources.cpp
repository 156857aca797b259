#include "encoders/sources.h"

#include <fstream>
#include <initializer_list>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "detail/json.h"

namespace trine::detail {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWho = "describe";

/// Where a part of a directory's settings may lie: a file, and the object of it; "*_config" is that of the modality.
struct Place {
  const char* file;
  const char* part;
};
using Places = std::vector<Place>;

/// The keys that make a fact. The families share them, so one table does for all.
struct Rule {
  std::string_view fact;
  Places places;
  std::vector<const char*> keys;
};

const Places kConfig{{"config.json", ""}, {"config.json", "*_config"}, {"config.json", "pretrained_cfg"}};
const Places kProcessor{{"processor_config.json", "image_processor"},
                        {"processor_config.json", "feature_extractor"},
                        {"preprocessor_config.json", ""},
                        {"config.json", "pretrained_cfg"},
                        {"config.json", ""},
                        {"config.json", "*_config"}};
const Places kModules{
    {"sentence_bert_config.json", ""}, {"tokenizer_config.json", ""}, {"config.json", ""}, {"config.json", "*_config"}};
const Places kPooling{{"1_Pooling/config.json", ""}, {"config.json", ""}, {"config.json", "*_config"}};
const Places kSentences{{"config_sentence_transformers.json", ""}};

const std::vector<Rule> kRules{
    {"model_type", {{"config.json", ""}}, {"model_type"}},
    {"architecture", {{"config.json", ""}}, {"architecture"}},
    {"processor", kProcessor, {"image_processor_type", "feature_extractor_type"}},
    {"input",
     kProcessor,
     {"do_resize", "size", "resample", "default_to_square", "do_center_crop", "crop_size", "do_pad", "pad_size",
      "max_num_patches", "input_size", "interpolation", "crop_pct", "sampling_rate", "max_source_positions",
      "chunk_length", "max_length", "max_length_s"}},
    {"scaling", kProcessor, {"do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "mean", "std"}},
    {"mel",
     kProcessor,
     {"num_mel_bins", "feature_size", "n_fft", "fft_window_size", "hop_length", "frequency_min", "frequency_max",
      "truncation"}},
    {"fusion", kProcessor, {"truncation", "enable_fusion"}},
    {"activation", kConfig, {"hidden_act", "hidden_activation", "activation_function", "use_swiglu_ffn"}},
    {"pooling",
     kPooling,
     {"pooling_mode", "pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_max_tokens",
      "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken",
      "include_prompt", "eos_token_id", "pooler_act"}},
    {"max_tokens", kModules, {"max_seq_length", "model_max_length", "max_position_embeddings"}},
    {"truncate_dim", kSentences, {"truncate_dim"}},
    {"prompts", kSentences, {"prompts", "default_prompt_name"}},
};

/// The JSON files of a directory, each read once. One that cannot be read says nothing: it has been read already, or is
/// not there.
class JsonFiles {
 public:
  explicit JsonFiles(fs::path directory) : directory_(std::move(directory)) {}

  const fs::path& directory() const { return directory_; }

  const Json& at(const std::string& file) {
    const auto [found, fresh] = files_.try_emplace(file);
    if (!fresh || !fs::exists(directory_ / file)) return found->second;
    try {
      found->second = read_json(kWho, directory_ / file);
    } catch (const std::runtime_error&) {
    }
    return found->second;
  }

 private:
  fs::path directory_;
  std::map<std::string, Json> files_;
};

/// "text_config" and its like; older files call it "text_config_dict".
std::vector<std::string> parts_of(const char* part, Modality modality) {
  if (std::string_view(part) != "*_config") return {part};
  const char* name = modality == Modality::image ? "vision" : modality == Modality::text ? "text" : "audio";
  return {std::string(name) + "_config_dict", std::string(name) + "_config"};
}

/// "config.json: vision_config.hidden_act"; nothing where no file has a key.
std::string keys_found(JsonFiles& files, Modality modality, const Rule& rule) {
  std::string all;
  for (const Place& place : rule.places) {
    const Json& json = files.at(place.file);
    std::string found;
    for (const std::string& part : parts_of(place.part, modality)) {
      const Json* object = &json;
      if (!part.empty()) {
        if (!json.is_object() || !json.contains(part)) continue;
        object = &json.at(part);
      }
      for (const char* key : rule.keys) {
        if (!object->is_object() || !object->contains(key)) continue;
        found += (found.empty() ? "" : ", ") + (part.empty() ? "" : part + ".") + key;
      }
    }
    if (!found.empty()) all += (all.empty() ? "" : "; ") + std::string(place.file) + ": " + found;
  }
  return all;
}

std::string first_of(const fs::path& directory, std::initializer_list<const char*> files) {
  for (const char* file : files) {
    if (fs::exists(directory / file)) return file;
  }
  return "";
}

std::string weights_of(const fs::path& directory) {
  return first_of(directory, {"model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors"});
}

std::string source_of(JsonFiles& files, Modality modality, const std::string& fact, const std::string& value) {
  const fs::path& directory = files.directory();
  if (fact == "tokenizer") {
    return first_of(directory, {"tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model",
                                "sentencepiece.bpe.model"});
  }
  if (fact == "parameters") return weights_of(directory);
  if (fact == "similarity") {
    const Json& config = files.at("config.json");
    if (value.find("product") != std::string::npos) {  // PE's, which keep one for each pair
      const bool audio = modality == Modality::audio,
                 both = config.is_object() && config.contains("audio_video_config");
      const std::string key =
          std::string(both ? (audio ? "audio_model." : "video_model.") : "") + (audio ? "text_audio" : "text_video");
      return weights_of(directory) + ": " + key + "_logit_scale, " + key + "_logit_bias";
    }
    if (config.is_object() && config.contains("audio_config")) return weights_of(directory) + ": logit_scale_a";
    const bool sigmoid = value.starts_with("sigmoid");
    return weights_of(directory) + (sigmoid ? ": logit_scale, logit_bias" : ": logit_scale");
  }
  if (fact == "after_pooling") return first_of(directory, {"modules.json"});
  for (const Rule& rule : kRules) {
    if (rule.fact != fact) continue;
    const std::string found = keys_found(files, modality, rule);
    return found.empty() ? "the family's default" : found;
  }
  return "";
}

/// "license: mit" between the lines "---" at the start of README.md.
std::optional<std::string> licence_of(const fs::path& directory) {
  constexpr int kMostLines = 200;
  constexpr std::string_view kKey = "license:";
  std::ifstream file(directory / "README.md");
  std::string line;
  if (!std::getline(file, line) || !line.starts_with("---")) return std::nullopt;
  for (int i = 0; i < kMostLines && std::getline(file, line) && !line.starts_with("---"); ++i) {
    if (!line.starts_with(kKey)) continue;
    const std::size_t begin = line.find_first_not_of(" \t\"'", kKey.size());
    const std::size_t end = line.find_last_not_of(" \t\r\"'");
    if (begin == std::string::npos || end < begin) return std::nullopt;
    const std::string name = shown(line.substr(begin, end - begin + 1));
    return name.substr(1, name.size() - 2);
  }
  return std::nullopt;
}

}  // namespace

Description with_sources(const fs::path& directory, Modality modality, const Description& facts) {
  Description lines;
  JsonFiles files(directory);
  for (const auto& [fact, value] : facts) {
    lines.emplace_back(fact, value);
    if (const std::string source = source_of(files, modality, fact, value); !source.empty()) {
      lines.emplace_back(fact + ".source", source);
    }
  }
  if (const auto licence = licence_of(directory)) {
    lines.emplace_back("licence", *licence);
    lines.emplace_back("licence.source", "README.md: license");
  }
  return lines;
}

}  // namespace trine::detail
