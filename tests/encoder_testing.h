#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "testing.h"
#include "trine/checkpoint.h"
#include "trine/encoders/encoder.h"
#include "trine/layers.h"

/// What the tests of layers and encoders share.

namespace trine::testing {

/// Tests run beside each other, and threads that wait for a core cost more than they bring.
inline const bool kOneThread = (at::set_num_threads(1), true);

inline const fs::path kGolden = fs::path(TRINE_TEST_DATA) / "golden/encoders";

/// Where `python -m trine.fetch` puts an encoder.
inline fs::path cached(const std::string& name) {
  const auto variable = [](const char* key) { return fs::path(std::getenv(key) ? std::getenv(key) : ""); };
  fs::path cache = variable("TRINE_CACHE");
  if (cache.empty()) {
    const fs::path base = variable("XDG_CACHE_HOME");
    cache = (base.empty() ? variable("HOME") / ".cache" : base) / "trine";
  }
  return cache / "encoders" / name;
}

/// A folder of its own, a copy of `source` if there is one.
class Directory : public Folder {
 public:
  explicit Directory(const fs::path& source = {}) {
    if (!source.empty()) fs::copy(source, path(), fs::copy_options::recursive);
  }

  void change(const std::string& name, const std::function<void(Json&)>& how) const {
    Json json = detail::read_json("test", *this / name);
    how(json);
    write(name, json.dump());
  }

  /// Rewrites the tensors of model.safetensors.
  void change_weights(const std::function<void(std::map<std::string, torch::Tensor>&)>& how) const {
    std::map<std::string, torch::Tensor> tensors;
    {
      const Checkpoint checkpoint = Checkpoint::open(path());
      for (const std::string& name : checkpoint.names()) tensors[name] = load_tensor(checkpoint, name).clone();
    }
    how(tensors);
    save_tensors(*this / "model.safetensors", tensors);
  }
};

/// One change of a JSON file: the value at a JSON pointer, null erases it.
struct Change {
  const char* pointer;
  Json value;
  const char* part = nullptr;  ///< of the sentence; by default the last key of the pointer
};

/// Every change of a file in a copy of `source` is refused by a sentence that names the key.
template <typename Copy = Directory, typename Load>
void expect_refusals(const fs::path& source, const std::string& file, const std::vector<Change>& changes, Load&& load) {
  for (const Change& change : changes) {
    const Copy directory(source);
    const Json::json_pointer pointer(change.pointer);
    directory.change(file, [&](Json& json) {
      if (change.value.is_null()) {
        json.at(pointer.parent_pointer()).erase(pointer.back());
      } else {
        json[pointer] = change.value;
      }
    });
    const std::string sentence = refusal<std::runtime_error>([&] { load(directory.path()); });
    EXPECT_NE(sentence.find(change.part ? change.part : pointer.back()), std::string::npos)
        << change.pointer << " = " << change.value << ": " << sentence;
  }
}

/// A tensor that is missing and one of another shape are refused by name, and so is one too many where `surplus` names
/// it.
template <typename Copy = Directory, typename Load>
void expect_weight_refusals(const fs::path& source, const std::string& key, const std::string& surplus, Load&& load) {
  const auto sentence = [&](const std::function<void(std::map<std::string, torch::Tensor>&)>& how) {
    const Copy directory(source);
    directory.change_weights(how);
    return refusal<std::runtime_error>([&] { load(directory.path()); });
  };
  const std::string missing = sentence([&](auto& tensors) { tensors.erase(key); });
  EXPECT_NE(missing.find(key), std::string::npos) << missing;
  const std::string shape = sentence([&](auto& tensors) { tensors[key] = torch::ones({3, 1}); });
  EXPECT_NE(shape.find(key + " of shape [3, 1], wanted ["), std::string::npos) << shape;
  if (surplus.empty()) return;
  const std::string more = sentence([&](auto& tensors) { tensors[surplus] = torch::ones({3}); });
  EXPECT_NE(more.find(surplus), std::string::npos) << more;
}

inline double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  return a.numel() == 0 ? 0.0 : (a - b).abs().max().item<double>();
}

/// The largest difference over the largest value wanted.
inline double relative_difference(const torch::Tensor& found, const torch::Tensor& wanted) {
  return largest_difference(found, wanted) / wanted.abs().max().item<double>();
}

inline double smallest_cosine(const torch::Tensor& a, const torch::Tensor& b) {
  return (normalise(a.to(torch::kFloat64)) * normalise(b.to(torch::kFloat64))).sum(-1).min().item<double>();
}

/// One line a key.
inline std::string described(const Description& description) {
  std::string all;
  for (const auto& [key, value] : description) all += key + ": " + value + "\n";
  return all;
}

/// Numbers in [-1, 1) from a name, the same as in make_encoders.py.
inline torch::Tensor noise(const std::string& name, std::vector<std::int64_t> shape) {
  std::uint32_t seed = 2166136261u;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 16777619u;
  torch::Tensor values = torch::empty(shape);
  float* out = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    std::uint32_t h = (static_cast<std::uint32_t>(i) + seed) * 2654435761u;
    h = (h ^ (h >> 15)) * 2246822519u;
    h ^= h >> 13;
    out[i] = static_cast<float>(h >> 8) / 8388608.0f - 1.0f;
  }
  return values;
}

/// Runs `action` with 1 and then with 2 threads inside operators; the number is restored.
template <typename Action>
std::pair<torch::Tensor, torch::Tensor> with_one_and_two_threads(Action&& action) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const torch::Tensor one = action();
  at::set_num_threads(2);
  const torch::Tensor two = action();
  at::set_num_threads(before);
  return {one, two};
}

}  // namespace trine::testing

/// Ends a test that needs downloaded weights which are not there.
#define TRINE_NEEDS_CACHED(directory)                              \
  if (!std::filesystem::exists((directory) / "model.safetensors")) \
  GTEST_SKIP() << "no weights in " << (directory) << ": fetch them with `python -m trine.fetch`"
