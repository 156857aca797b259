#pragma once

#include <filesystem>
#include <string>

namespace trine::detail {

/// The folder of an encoder that a model names: beside the model's config, else in the cache ($TRINE_CACHE, else
/// $XDG_CACHE_HOME/trine, else ~/.cache/trine).
std::filesystem::path encoder_directory(const char* who, const std::filesystem::path& model, const std::string& name);

}  // namespace trine::detail
