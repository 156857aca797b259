#pragma once

#include <filesystem>

#include "detail/json.h"
#include "trine/checkpoint.h"

namespace trine::detail {

/// A checkpoint directory, its files read once for all that is made of them.
struct ModelFiles {
  std::filesystem::path directory;
  Json config;  ///< config.json
  Checkpoint checkpoint;
};

inline ModelFiles open_model(const char* who, const std::filesystem::path& directory) {
  return {directory, read_json(who, directory / "config.json"), Checkpoint::open(directory)};
}

}  // namespace trine::detail
