#include "corpus.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <span>
#include <sstream>

#include "detail/error.h"
#include "detail/json.h"
#include "trine/apps/product_search.h"
#include "trine/input/audio.h"

namespace training {

namespace fs = std::filesystem;

std::vector<Clip> read_corpus(const fs::path& corpus, const std::vector<std::string>& splits) {
  constexpr const char* who = "read_corpus";
  std::ifstream file(corpus / "manifest.jsonl");
  if (!file) trine::detail::failure(who, "there is no ", corpus / "manifest.jsonl", ": run synthesise.py first");
  std::vector<Clip> clips;
  for (std::string line; std::getline(file, line);) {
    const trine::detail::Json json = trine::detail::parse_json(who, line, "manifest.jsonl");
    Clip clip{.path = json.at("audio"),
              .target = json.at("target"),
              .split = json.at("split"),
              .set = json.at("set"),
              .label = trine::detail::get_or<std::string>(who, json, "label", "")};
    if (std::find(splits.begin(), splits.end(), clip.split) != splits.end()) clips.push_back(std::move(clip));
  }
  return clips;
}

std::vector<PhotoPath> read_photo_list(const fs::path& data, const std::string& split) {
  std::ifstream list(data / (split + ".csv"));
  if (!list) trine::detail::failure("read_photo_list", "there is no ", data / (split + ".csv"));
  std::vector<PhotoPath> photos;
  std::string line;
  std::getline(list, line);
  while (std::getline(list, line)) {
    std::istringstream fields(line);
    std::string path, product;
    std::getline(fields, path, ',');
    std::getline(fields, product, ',');
    photos.push_back({data / path, product});
  }
  return photos;
}

Titles read_titles(const fs::path& catalogue, const trine::Embedder& text) {
  Titles titles;
  std::vector<torch::Tensor> rows;
  for (const trine::Product& product : trine::read_catalogue(catalogue)) {
    titles.number.emplace(product.id, static_cast<std::int64_t>(rows.size()));
    rows.push_back(trine::title_vector(text, product.title));
  }
  titles.vectors = torch::stack(rows);
  return titles;
}

std::vector<std::vector<float>> read_noise(const fs::path& folder, const std::string& folds) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && name.size() > 2 && name[1] == '-' && folds.find(name[0]) != std::string::npos) {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) trine::detail::failure("read_noise", "there is no sound of the folds ", folds, " in ", folder);
  std::vector<std::vector<float>> sounds;
  for (const fs::path& path : paths) {
    sounds.push_back(trine::read_audio(path, {.sample_rate = kRate}).samples);
    std::erase_if(sounds.back(), [](float sample) { return std::abs(sample) <= 1e-5f; });  // files are filled up
  }
  return sounds;
}

static double power(std::span<const float> samples) {
  double sum = 0;
  for (const float sample : samples) sum += static_cast<double>(sample) * sample;
  return samples.empty() ? 0.0 : sum / static_cast<double>(samples.size());
}

void add_noise(std::vector<float>& samples, const std::vector<float>& noise, double decibels, std::mt19937_64& random) {
  const std::size_t start = random() % noise.size();
  std::vector<float> piece(samples.size());
  for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = noise[(start + i) % noise.size()];
  const double loud = power(piece);
  if (loud < 1e-10) return;
  const auto gain = static_cast<float>(std::sqrt(power(samples) / loud * std::pow(10.0, -decibels / 10.0)));
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] += gain * piece[i];
}

}  // namespace training
