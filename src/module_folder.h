#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <stdexcept>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/config.h"

/// A learned module as a folder: config.json says how to make it, model.safetensors holds its tensors and the same
/// config, so that the files of two savings are not taken for one.

namespace trine::detail {

/// Limits on what the config of a folder may ask for.
inline constexpr std::int64_t kMostWidth = 65'536;
inline constexpr std::int64_t kMostLayers = 256;

/// Makes the folder if need be; each file is written beside, synced, renamed.
void save_module(const char* who, const std::filesystem::path& directory, const Json& config,
                 const torch::nn::Module& module);

/// The config of a folder, which must be of this `model_type`.
Json read_module_config(const char* who, const std::filesystem::path& directory, const char* model_type);

/// Fills a module, whose tensors become copies that can be trained.
void read_module_weights(const char* who, const std::filesystem::path& directory, const Json& config,
                         torch::nn::Module& module);

/// The module that `make` makes of the config, with the folder's weights.
template <typename Make>
auto load_module(const char* who, const std::filesystem::path& directory, const char* model_type, const Make& make) {
  const Json config = read_module_config(who, directory, model_type);
  const auto module = [&] {
    try {
      return make(config);
    } catch (const std::invalid_argument& error) {  // the file's mistake, not the caller's
      failure(who, directory.string(), ": ", error.what());
    }
  }();
  read_module_weights(who, directory, config, *module);
  return module;
}

}  // namespace trine::detail
