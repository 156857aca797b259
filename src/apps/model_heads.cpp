#include "apps/model_heads.h"

#include <algorithm>

#include "detail/error.h"
#include "encoders/encoder_directory.h"

namespace trine::detail {

namespace fs = std::filesystem;

std::optional<Json> model_entry(const char* who, const Embedder& embedder, const char* key) {
  const fs::path file = embedder.directory() / "config.json";
  if (!fs::exists(file)) return std::nullopt;  // OpenCLIP's
  const Json config = read_json(who, file);
  if (get_or<std::string>(who, config, "model_type", "") != "trine" || !config.contains(key)) return std::nullopt;
  return config.at(key);
}

Json heads_entry(const char* who, const Embedder& embedder, const char* key) {
  if (const std::optional<Json> entry = model_entry(who, embedder, key)) return *entry;
  failure(who, "the model in ", embedder.directory(), " has no such heads (config.json: ", key, ")");
}

Checkpoint heads_file(const char* who, const Embedder& embedder, const Json& entry) {
  return Checkpoint::open(embedder.directory() / get<std::string>(who, entry, "weights"));
}

fs::path encoder_folder(const char* who, const Embedder& embedder, Modality modality, const char* model_type) {
  const std::string tower(to_string(modality));
  const std::optional<Json> entry = model_entry(who, embedder, tower.c_str());
  if (!entry) failure(who, "the model in ", embedder.directory(), " has no ", tower, " tower");
  const fs::path folder = encoder_directory(who, embedder.directory(), get<std::string>(who, *entry, "encoder"));
  const auto type = get_or<std::string>(who, read_json(who, folder / "config.json"), "model_type", "");
  if (type != model_type) {
    failure(who, "the heads are for the encoder ", model_type, ", ", folder, " holds ", shown(type));
  }
  return folder;
}

std::vector<Score> scores_of(const std::vector<std::string>& labels, const torch::Tensor& probabilities) {
  std::vector<Score> scores;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    scores.push_back({labels[i], probabilities[static_cast<std::int64_t>(i)].item<float>()});
  }
  std::ranges::stable_sort(scores, [](const Score& a, const Score& b) { return a.probability > b.probability; });
  return scores;
}

}  // namespace trine::detail
