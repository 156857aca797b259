#include "trine/train/dataset.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>
#include <set>
#include <unordered_map>

#include "detail/error.h"
#include "detail/json.h"
#include "detail/names.h"
#include "detail/sha256.h"
#include "tensor_check.h"
#include "trine/checkpoint.h"
#include "trine/layers.h"

namespace trine::train {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kReader = "read_manifest";
constexpr const char* kDataset = "Dataset";
constexpr const char* kStore = "FeatureStore";
constexpr std::uint64_t kMaxManifestBytes = 1u << 30;
constexpr std::size_t kMostInputs = 10'000;  ///< of one modality of a sample
constexpr std::size_t kBatch = 32;           ///< inputs embedded in one call
constexpr std::size_t kMostPending = 4'096;  ///< vectors that are written as one file at most
constexpr std::chrono::seconds kPause{20};   ///< between two files
constexpr std::int64_t kKeyBytes = 32;

constexpr detail::Names<Split, 3> kSplits{{{Split::train, "train"}, {Split::val, "val"}, {Split::test, "test"}}};

Sample sample_of(const Json& json, const std::string& place, std::size_t line, const fs::path& folder) {
  const auto fail = [&](const auto&... why) { detail::failure(kReader, place, ": ", why...); };
  if (!json.is_object()) fail("a JSON object is wanted");
  const auto text = [&](const char* key) -> std::string {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) return "";
    if (!found->is_string()) fail('"', key, "\" must be a text");
    return found->get<std::string>();
  };
  Sample sample{.inputs = {}, .label = text("label"), .id = text("id"), .set = text("set"), .line = line};
  if (const std::string name = text("split"); !name.empty()) {
    const auto known = detail::value_of(kSplits, name);
    if (!known) fail("\"split\" must be train, val or test, not ", detail::shown(name));
    sample.split = *known;
  }
  for (const Modality modality : kModalities) {
    const std::string key(to_string(modality));
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) continue;
    const Json list = found->is_array() ? *found : Json::array({*found});
    if (list.empty() || list.size() > kMostInputs) fail('"', key, "\" holds ", list.size(), " inputs");
    for (const Json& input : list) {
      if (!input.is_string() || input.get_ref<const std::string&>().empty()) {
        fail('"', key, "\" must be a text or a list of texts, none of them empty");
      }
      const auto given = input.get<std::string>();
      sample.inputs[modality].push_back(modality == Modality::text ? given : (folder / given).string());
    }
  }
  if (sample.inputs.empty()) fail("\"image\", \"text\" or \"audio\" is wanted, there is none");
  return sample;
}

std::vector<std::string> chosen(const std::vector<std::string>& all, const std::vector<std::int64_t>& rows) {
  std::vector<std::string> some;
  if (all.empty()) return some;
  for (const std::int64_t row : rows) some.push_back(all.at(static_cast<std::size_t>(row)));
  return some;
}

/// What a vector is found by.
std::string key_of(Modality modality, const std::string& input) {
  detail::Sha256 sum;
  sum.add(std::string(to_string(modality)) + '\0');
  modality == Modality::text ? sum.add(input) : sum.add_file(kStore, input);
  return sum.finish();
}

/// The sentence of an error; torch writes where it comes from on further lines.
std::string reason_of(const std::exception& error) {
  const std::string sentence = error.what();
  return sentence.substr(0, sentence.find('\n'));
}

}  // namespace

std::string_view to_string(Split split) { return detail::name_of(kSplits, split); }

Split split(std::string_view name) {
  if (const auto known = detail::value_of(kSplits, name)) return *known;
  detail::bad_argument("split", "a split is train, val or test, not '", name, "'");
}

std::vector<Sample> read_manifest(const fs::path& path) {
  std::vector<Sample> samples;
  detail::read_json_lines(kReader, path, kMaxManifestBytes,
                          [&](const Json& json, const std::string& place, std::size_t line) {
                            samples.push_back(sample_of(json, place, line, path.parent_path()));
                          });
  if (samples.empty()) detail::failure(kReader, path.string(), " holds no line");
  return samples;
}

// --- Dataset
// ----------------------------------------------------------------------------------------------------------

std::int64_t Dataset::size() const { return features.empty() ? 0 : features.begin()->second.size(0); }

Dataset Dataset::at(const std::vector<std::int64_t>& rows) const {
  Dataset some{.labels = chosen(labels, rows), .ids = chosen(ids, rows)};
  const Tensor index = torch::tensor(rows, torch::kInt64);
  for (const auto& [name, x] : features) some.features[name] = x.index_select(0, index);
  for (const auto& [name, mask] : masks) some.masks[name] = mask.index_select(0, index);
  if (splits.empty()) return some;
  for (const std::int64_t row : rows) some.splits.push_back(splits.at(static_cast<std::size_t>(row)));
  return some;
}

Dataset Dataset::of(Split wanted) const {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < size(); ++i) {
    if ((splits.empty() ? Split::train : splits[static_cast<std::size_t>(i)]) == wanted) rows.push_back(i);
  }
  return at(rows);
}

Features Dataset::present() const {
  Features present;
  for (const auto& [name, x] : features) {
    const auto mask = masks.find(name);
    present[name] = mask == masks.end() ? torch::full({x.size(0)}, x.size(1) > 0, torch::kBool) : mask->second.any(1);
  }
  return present;
}

std::vector<std::string> Dataset::classes() const {
  std::set<std::string> distinct(labels.begin(), labels.end());
  distinct.erase("");
  return {distinct.begin(), distinct.end()};
}

Tensor Dataset::numbers(const std::vector<std::string>& classes) const {
  std::unordered_map<std::string, std::int64_t> place;
  for (const std::string& name : classes) place.emplace(name, std::ssize(place));
  Tensor numbers = torch::full({size()}, -1, torch::kInt64);
  auto* values = numbers.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (const auto found = place.find(labels[i]); found != place.end()) values[i] = found->second;
  }
  return numbers;
}

void Dataset::check() const {
  if (features.empty()) detail::bad_argument(kDataset, "wanted features of at least one modality, got none");
  for (const auto& [name, mask] : masks) {
    if (!features.contains(name)) detail::bad_argument(kDataset, "there is a mask of '", name, "', but no features");
  }
  Tensor some = torch::zeros({size()}, torch::kBool);
  for (const auto& [name, x] : features) {
    if (!detail::is_floats(x, {size(), -1, -1})) {
      detail::bad_argument(kDataset, "the features of '", name, "' must be floats (", size(), ", T, D); got ",
                           detail::shown(x));
    }
    const auto given = masks.find(name);
    const Tensor mask = detail::mask_or_ones(kDataset, "the mask of '" + name + "'",
                                             given == masks.end() ? Tensor() : given->second, x.sizes().slice(0, 2), x);
    const Tensor bad = (mask & ~x.isfinite().all(2)).any(1);
    if (bad.any().item<bool>()) {
      detail::bad_argument(kDataset, "the features of '", name, "' of sample ", bad.nonzero()[0].item<std::int64_t>(),
                           " are not finite");
    }
    some = some | mask.any(1);
  }
  if (!some.all().item<bool>()) {
    detail::bad_argument(kDataset, "sample ", (~some).nonzero()[0].item<std::int64_t>(), " has no modality");
  }
  const auto fits = [&](const char* what, std::size_t count) {
    if (count != 0 && std::cmp_not_equal(count, size())) {
      detail::bad_argument(kDataset, what, " must be as many as samples (", size(), "); got ", count);
    }
  };
  fits("labels", labels.size());
  fits("ids", ids.size());
  fits("splits", splits.size());
}

// --- FeatureStore
// -----------------------------------------------------------------------------------------------------

struct FeatureStore::Impl {
  Embedder embedder;
  fs::path folder;
  std::unordered_map<std::string, Tensor> vectors;  ///< (D) by key; rows of mapped files, or new ones
  std::vector<std::string> pending;                 ///< keys of those that are not on disk
  std::chrono::steady_clock::time_point written = std::chrono::steady_clock::now();
  std::int64_t computed = 0;

  Impl(const Embedder& model, const fs::path& path)
      : embedder(model),
        folder((path.empty() ? cache_directory() / "features" : path) / model.fingerprint().substr(0, 32)) {
    fs::create_directories(folder);
    std::set<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".safetensors") files.insert(entry.path());
    }
    for (const fs::path& file : files) read(file);
  }

  /// A file holds "keys" (N, 32) bytes and "vectors" (N, D) floats.
  void read(const fs::path& file) {
    const Checkpoint checkpoint = Checkpoint::open(file);
    const Tensor rows = load_tensor(checkpoint, "vectors");
    const TensorView& keys = checkpoint.at("keys");
    if (!detail::is_floats(rows, {-1, embedder.dim()}) || keys.dtype != DType::U8 ||
        keys.shape != std::vector<std::int64_t>{rows.size(0), kKeyBytes}) {
      detail::failure(kStore, file.string(), " is no file of vectors of ", embedder.dim(), " numbers: delete it");
    }
    const auto* bytes = reinterpret_cast<const char*>(keys.data.data());
    for (std::int64_t i = 0; i < rows.size(0); ++i)
      vectors.emplace(std::string(bytes + i * kKeyBytes, kKeyBytes), rows[i]);
  }

  void write() {
    written = std::chrono::steady_clock::now();
    if (pending.empty()) return;
    std::vector<Tensor> rows;
    std::string keys;
    for (const std::string& key : pending) {
      rows.push_back(vectors.at(key));
      keys += key;
    }
    const Tensor all = torch::stack(rows);
    const auto count = std::ssize(pending);
    detail::Sha256 name;
    name.add(keys);
    save_safetensors(
        folder / (detail::hex(name.finish().substr(0, 16)) + ".safetensors"),
        {{"keys", {DType::U8, {count, kKeyBytes}, std::as_bytes(std::span(keys))}},
         {"vectors",
          {DType::F32, {count, embedder.dim()}, {static_cast<const std::byte*>(all.const_data_ptr()), all.nbytes()}}}});
    pending.clear();
  }

  void keep(const std::string& key, const Tensor& vector) {
    if (!vectors.emplace(key, vector).second) return;
    pending.push_back(key);
    ++computed;
    if (pending.size() >= kMostPending || std::chrono::steady_clock::now() - written > kPause) write();
  }

  /// Embeds what has these keys; why not, by input, of what cannot be read.
  std::map<std::string, std::string> embed_missing(Modality modality,
                                                   const std::vector<std::pair<std::string, std::string>>& inputs,
                                                   const std::function<void(std::int64_t)>& progress) {
    std::map<std::string, std::string> failed;
    for (std::size_t first = 0; first < inputs.size(); first += kBatch) {
      const std::span part(inputs.data() + first, std::min(kBatch, inputs.size() - first));
      std::vector<std::string> batch;
      for (const auto& [input, key] : part) batch.push_back(input);
      try {
        const Tensor rows = embedder.embed_inputs(modality, batch);
        for (std::size_t i = 0; i < part.size(); ++i) keep(part[i].second, rows[static_cast<std::int64_t>(i)].clone());
      } catch (const std::runtime_error&) {  // one of them: each by itself
        for (const auto& [input, key] : part) {
          try {
            keep(key, embedder.embed_inputs(modality, {input})[0].clone());
          } catch (const std::runtime_error& error) {
            failed[input] = reason_of(error);
          }
        }
      }
      progress(std::ssize(part));
    }
    return failed;
  }
};

FeatureStore::FeatureStore(const Embedder& embedder, const fs::path& folder)
    : impl_(std::make_shared<Impl>(embedder, folder)) {}

const Embedder& FeatureStore::embedder() const { return impl_->embedder; }
const fs::path& FeatureStore::folder() const { return impl_->folder; }
std::int64_t FeatureStore::computed() const { return impl_->computed; }

Dataset FeatureStore::load(const std::vector<Sample>& samples, std::vector<SkippedInput>* skipped,
                           const std::function<void(std::int64_t, std::int64_t)>& progress) {
  if (samples.empty()) detail::bad_argument(kStore, "wanted samples, got none");
  struct Input {
    std::string key;  ///< empty: it cannot be read
    std::string why;
  };
  std::map<Modality, std::map<std::string, Input>> inputs;
  std::int64_t total = 0, done = 0;
  for (const Sample& sample : samples) {
    for (const auto& [modality, names] : sample.inputs) {
      if (!impl_->embedder.supports(modality)) {
        detail::bad_argument(kStore, "the samples have ", to_string(modality), " inputs and the model ",
                             impl_->embedder.name(), " has no such tower");
      }
      for (const std::string& name : names) total += inputs[modality].try_emplace(name).second;
    }
  }
  const auto advance = [&](std::int64_t count) {
    done += count;
    if (progress) progress(done, total);
  };
  for (auto& [modality, list] : inputs) {
    std::vector<std::pair<std::string, std::string>> missing;  // (input, key)
    std::set<std::string> seen;
    std::int64_t found = 0;
    for (auto& [name, input] : list) {
      try {
        input.key = key_of(modality, name);
      } catch (const std::runtime_error& error) {
        input.why = reason_of(error);
      }
      const bool wanted = !input.key.empty() && !impl_->vectors.contains(input.key) && seen.insert(input.key).second;
      wanted ? missing.emplace_back(name, input.key), void() : void(++found);
    }
    advance(found);
    const auto failed = impl_->embed_missing(modality, missing, advance);
    for (auto& [name, input] : list) {  // by key: two files may hold the same bytes
      if (!input.key.empty() && !impl_->vectors.contains(input.key)) {
        const auto same = std::ranges::find(missing, input.key, &std::pair<std::string, std::string>::second);
        input = {.key = "", .why = failed.at(same->first)};
      }
    }
  }
  impl_->write();

  Dataset data;
  const auto count = std::ssize(samples);
  std::map<Modality, std::vector<std::vector<Tensor>>> rows;
  for (const auto& [modality, list] : inputs) rows[modality].resize(samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    std::string why;
    bool readable = false;
    for (const auto& [modality, names] : samples[i].inputs) {
      for (const std::string& name : names) {
        const Input& input = inputs.at(modality).at(name);
        if (!input.key.empty()) {
          rows.at(modality)[i].push_back(impl_->vectors.at(input.key));
          readable = true;
          continue;
        }
        why = input.why;
        if (skipped != nullptr) skipped->push_back({i, modality, name, input.why});
      }
    }
    if (!readable) {
      const bool numbered = samples[i].line > 0;
      detail::failure(kStore, numbered ? "line " : "sample ", numbered ? samples[i].line : i,
                      " has no input that can be read: ", why.empty() ? "it has none" : why);
    }
    data.labels.push_back(samples[i].label);
    data.ids.push_back(samples[i].id);
    data.splits.push_back(samples[i].split);
  }
  for (const auto& [modality, lists] : rows) {
    std::size_t steps = 0;
    for (const auto& list : lists) steps = std::max(steps, list.size());
    if (steps == 0) continue;
    const auto length = static_cast<std::int64_t>(steps);
    Tensor x = torch::zeros({count, length, impl_->embedder.dim()});
    Tensor mask = torch::zeros({count, length}, torch::kBool);
    for (std::size_t i = 0; i < lists.size(); ++i) {
      for (std::size_t t = 0; t < lists[i].size(); ++t) {
        const auto row = static_cast<std::int64_t>(i), step = static_cast<std::int64_t>(t);
        x[row][step].copy_(lists[i][t]);
        mask[row][step].fill_(true);
      }
    }
    const std::string name(to_string(modality));
    data.features[name] = x;
    data.masks[name] = mask;
  }
  return data;
}

Tensor FeatureStore::texts(const std::vector<std::string>& texts) {
  std::vector<Sample> samples;
  for (const std::string& text : texts) samples.push_back({.inputs = {{Modality::text, {text}}}});
  return load(samples).features.at("text").select(1, 0);
}

}  // namespace trine::train
