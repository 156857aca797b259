#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trine::detail {

/// The folder of an encoder that a model names: beside the model's config, else in the cache ($TRINE_CACHE, else
/// $XDG_CACHE_HOME/trine, else ~/.cache/trine).
std::filesystem::path encoder_directory(const char* who, const std::filesystem::path& model, const std::string& name);

/// The files of a checkpoint directory that may decide what comes out of it, sorted.
std::vector<std::filesystem::path> deciding_files(const std::filesystem::path& directory);

/// Writes a file again, atomically and with the folders above it.
void copy_file(const char* who, const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes `from` again as `to`: its deciding files, licence and README, its weights as one model.safetensors (OpenCLIP's
/// under its own name) in which `changed` replaces the tensors of the same names.
void save_encoder(const char* who, const std::filesystem::path& from,
                  const std::map<std::string, torch::Tensor>& changed, const std::filesystem::path& to);

}  // namespace trine::detail
