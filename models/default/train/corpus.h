#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "trine/embedder.h"

/// What the training programs share: photos and clips of the data, titles of the products, and noise.

namespace training {

inline constexpr int kRate = 16'000;  ///< Hz of every clip

/// A spoken sentence of the corpus that synthesise.py writes.
struct Clip {
  std::string path;    ///< under the corpus's folder
  std::string target;  ///< the sentence as the text encoder shall see it
  std::string split;
  std::string set;
  std::string label;  ///< id of the product that is meant, empty where there is none
};

std::vector<Clip> read_corpus(const std::filesystem::path& corpus, const std::vector<std::string>& splits);

struct PhotoPath {
  std::filesystem::path path;
  std::string product;
};

/// The photos of a split of the grocery data: `train`, `val` or `test`.
std::vector<PhotoPath> read_photo_list(const std::filesystem::path& data, const std::string& split);

/// The products of a catalogue in its order: their titles are what photos and clips are pulled to.
struct Titles {
  std::map<std::string, std::int64_t> number;  ///< by id, the row of `vectors`
  torch::Tensor vectors;                       ///< (P, D), unit
};

Titles read_titles(const std::filesystem::path& catalogue, const trine::Embedder& text);

/// Sounds of the given ESC-10 folds (the first digit of a file's name), at kRate, without the silence they end in.
std::vector<std::vector<float>> read_noise(const std::filesystem::path& folder, const std::string& folds);

/// Mixes a random stretch of `noise` in, `decibels` below the samples.
void add_noise(std::vector<float>& samples, const std::vector<float>& noise, double decibels, std::mt19937_64& random);

}  // namespace training
