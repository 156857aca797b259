#include "module_folder.h"

#include "detail/file.h"
#include "trine/checkpoint.h"
#include "trine/layers.h"

namespace trine::detail {

namespace {
constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfigKey = "config";  ///< of the copy in the weights' metadata
}  // namespace

void save_module(const char* who, const std::filesystem::path& directory, const Json& config,
                 const torch::nn::Module& module) {
  std::filesystem::create_directories(directory);
  save_tensors(directory / kWeights, state_dict(module), {{kConfigKey, config.dump()}});
  write_atomically(who, directory / kConfig, [&](std::ostream& out) { out << config.dump(2) << '\n'; });
}

Json read_module_config(const char* who, const std::filesystem::path& directory, const char* model_type) {
  const Json config = read_json(who, directory / kConfig);
  if (const auto found = get<std::string>(who, config, "model_type"); found != model_type) {
    failure(who, directory.string(), " holds a ", shown(found), ", wanted \"", model_type, '"');
  }
  return config;
}

void read_module_weights(const char* who, const std::filesystem::path& directory, const Json& config,
                         torch::nn::Module& module) {
  const Checkpoint checkpoint = Checkpoint::open(directory / kWeights);
  const auto copy = checkpoint.metadata().find(kConfigKey);
  if (copy != checkpoint.metadata().end() && copy->second != config.dump()) {
    failure(who, directory.string(), ": ", kConfig, " and ", kWeights, " were not saved together");
  }
  for (const auto& [name, tensor] : state_dict(module)) checkpoint.at(name);  // a missing one is refused by its name
  copy_weights(module, checkpoint);
}

}  // namespace trine::detail
