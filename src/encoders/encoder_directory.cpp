#include "encoders/encoder_directory.h"

#include <algorithm>
#include <array>

#include "detail/error.h"
#include "detail/file.h"
#include "trine/checkpoint.h"
#include "trine/embedder.h"
#include "trine/encoders/open_clip.h"
#include "trine/layers.h"

namespace trine::detail {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOpenClipWeights = "open_clip_model.safetensors";
constexpr std::uint64_t kMostBytes = 1u << 30;  ///< of a file that is copied

/// Of a file of the weights, whole or in shards, and their index.
bool holds_weights(const fs::path& file) {
  return file.extension() == ".safetensors" || file.filename().string().ends_with(".safetensors.index.json");
}

}  // namespace

fs::path encoder_directory(const char* who, const fs::path& model, const std::string& name) {
  if (fs::is_directory(model / name)) return model / name;
  const fs::path cached = cache_directory() / "encoders" / name;
  if (fs::is_directory(cached)) return cached;
  failure(who, "the encoder ", name, " of ", model, " is not in the cache ", cache_directory(),
          ": run `python -m trine.fetch`, or set TRINE_CACHE");
}

std::vector<fs::path> deciding_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string kind = entry.path().extension().string();
    const bool decides = kind == ".json" || kind == ".safetensors" || kind == ".txt" || kind == ".model";
    if (decides && entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

void copy_file(const char* who, const fs::path& from, const fs::path& to) {
  const std::vector<std::byte> bytes = read_file(who, from, kMostBytes);
  fs::create_directories(to.parent_path());
  write_atomically(who, to, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
}

void save_encoder(const char* who, const fs::path& from, const std::map<std::string, torch::Tensor>& changed,
                  const fs::path& to) {
  fs::create_directories(to);
  std::vector<fs::path> files = deciding_files(from);
  for (const char* name : {"LICENSE", "LICENSE.md", "NOTICE", "README.md"}) {
    if (fs::is_regular_file(from / name)) files.push_back(from / name);
  }
  for (const fs::path& file : files) {
    const bool replaced = file.parent_path() == from && holds_weights(file);
    if (!replaced) copy_file(who, file, to / file.lexically_relative(from));
  }
  const bool of_open_clip = is_open_clip(from) && fs::exists(from / kOpenClipWeights);
  const Checkpoint checkpoint = Checkpoint::open(of_open_clip ? from / kOpenClipWeights : from);
  std::map<std::string, TensorView> tensors;
  for (const std::string& name : checkpoint.names()) tensors.emplace(name, checkpoint.at(name));
  std::vector<torch::Tensor> kept;  // they must outlive the views
  for (const auto& [name, tensor] : changed) {
    const torch::Tensor here = tensor.detach().cpu();
    if (load_tensor(checkpoint, name).equal(here)) continue;  // its type stays too
    const torch::Tensor& whole = kept.emplace_back(here.contiguous());
    tensors[name] = {
        DType::F32, whole.sizes().vec(), {static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()}};
  }
  save_safetensors(to / (of_open_clip ? kOpenClipWeights : "model.safetensors"), tensors, checkpoint.metadata());
}

}  // namespace trine::detail
