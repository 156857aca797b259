#include "train/tune.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "detail/error.h"
#include "trine/device.h"
#include "trine/encoders/gradients.h"

namespace trine::train {

using torch::Tensor;

namespace {

constexpr const char* kWho = "fit";
constexpr std::int64_t kFewestOfBlock = 4;  ///< weights: a norm and a linear layer with numbers for names are no block

using Weights = std::vector<std::pair<std::string, Tensor>>;

/// "encoder.layer.3" of "encoder.layer.3.output.dense.weight", "blocks.5.2" of "blocks.5.2.bn1.bias"; "" where a name
/// has no number.
std::string block_of(const std::string& name) {
  const auto is_number = [](std::string_view part) {
    return !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
  };
  std::size_t end = 0;  // of the numbers found
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t dot = std::min(name.find('.', begin), name.size());
    if (is_number(std::string_view(name).substr(begin, dot - begin))) {
      end = dot;
    } else if (end > 0) {
      break;
    }
    begin = dot + 1;
  }
  return name.substr(0, end);
}

/// From the first weight of the last `count` blocks on; those before are frozen.
Weights last_blocks(const Weights& all, std::int64_t count, Modality modality) {
  std::map<std::string, std::int64_t> sizes;
  std::vector<std::string> blocks;  // in their order
  for (const auto& [name, tensor] : all) {
    const std::string block = block_of(name);
    if (!block.empty() && ++sizes[block] == kFewestOfBlock) blocks.push_back(block);
  }
  if (count > std::ssize(blocks)) {
    detail::bad_argument(kWho, "tune_blocks is ", count, ", the ", to_string(modality), " tower has ", blocks.size(),
                         " blocks");
  }
  const std::string& first = blocks[blocks.size() - static_cast<std::size_t>(count)];
  const auto begin = std::ranges::find_if(all, [&](const auto& weight) { return block_of(weight.first) == first; });
  for (auto frozen = all.begin(); frozen != begin; ++frozen) Tensor(frozen->second).set_requires_grad(false);
  return {begin, all.end()};
}

}  // namespace

Embedder load_beside(const Embedder& other, const std::filesystem::path& folder) {
  const LoadDevice there(other.device());
  return Embedder::load(folder);
}

TunedTowers::TunedTowers(const Embedder& model, const FitOptions& options)
    : embedder_(load_beside(model, model.directory())), most_together_(options.tower_batch) {
  if (embedder_.fingerprint() != model.fingerprint()) {
    detail::bad_argument(kWho, "the weights of ", model.name(), " are not those of ", model.directory(),
                         ": save the model and load it from there");
  }
  for (const Modality modality : options.tune) {
    inputs_.try_emplace(modality);
    Weights weights = embedder_.weights(modality);
    if (options.tune_blocks > 0) weights = last_blocks(weights, options.tune_blocks, modality);
    const auto tower =
        module_->register_module(std::string(to_string(modality)), std::make_shared<torch::nn::Module>());
    for (auto& [name, tensor] : weights) {
      std::ranges::replace(name, '.', '/');  // a module's own parameters have names without dots
      tower->register_parameter(name, tensor);
    }
  }
}

void TunedTowers::set_samples(const std::vector<Sample>& samples, const std::vector<SkippedInput>& skipped) {
  std::set<std::tuple<std::size_t, Modality, std::string>> unread;
  for (const SkippedInput& input : skipped) unread.emplace(input.sample, input.modality, input.input);
  for (auto& [modality, lists] : inputs_) {
    lists.assign(samples.size(), {});
    bool some = false;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const auto given = samples[i].inputs.find(modality);
      if (given == samples[i].inputs.end()) continue;
      for (const std::string& input : given->second) {
        if (!unread.contains({i, modality, input})) lists[i].push_back(input);
      }
      some = some || !lists[i].empty();
    }
    if (!some) detail::bad_argument(kWho, "tune names ", to_string(modality), ", which no sample has");
  }
}

void TunedTowers::embed(Features& features, const Features& masks, const Tensor& samples, bool gradients) const {
  for (const auto& [modality, lists] : inputs_) {
    const std::string name(to_string(modality));
    const Tensor places = masks.at(name).nonzero();  // (P, 2)
    std::vector<std::string> inputs;                 // each once
    std::unordered_map<std::string, std::int64_t> known;
    std::vector<std::int64_t> rows;  // of each place
    for (std::int64_t p = 0; p < places.size(0); ++p) {
      const auto sample = samples[places[p][0].item<std::int64_t>()].item<std::int64_t>();
      const std::string& input =
          lists.at(static_cast<std::size_t>(sample)).at(static_cast<std::size_t>(places[p][1].item<std::int64_t>()));
      const auto [found, added] = known.try_emplace(input, std::ssize(inputs));
      if (added) inputs.push_back(input);
      rows.push_back(found->second);
    }
    Tensor& x = features.at(name);
    x = torch::zeros_like(x);
    if (inputs.empty()) continue;
    const Tensor vectors = gradients ? embed_recorded(modality, inputs) : embedder_.embed_inputs(modality, inputs);
    x = x.index_put({places.select(1, 0), places.select(1, 1)}, vectors.index_select(0, torch::tensor(rows)));
  }
}

/// Activations of a few inputs at most are held: of more, the vectors are computed alone, and again, a few at a time,
/// when their gradients are known. The sums are the same.
Tensor TunedTowers::embed_recorded(Modality modality, const std::vector<std::string>& inputs) const {
  const std::int64_t count = std::ssize(inputs);
  if (count <= most_together_) {
    const RecordGradients record;
    return embedder_.embed_inputs(modality, inputs);
  }
  const Tensor vectors = embedder_.embed_inputs(modality, inputs).requires_grad_();
  vectors.register_hook([model = embedder_, most = most_together_, modality, inputs, count](const Tensor& gradient) {
    const RecordGradients record;
    for (std::int64_t first = 0; first < count; first += most) {
      const std::int64_t last = std::min(first + most, count);
      const Tensor some = model.embed_inputs(modality, {inputs.begin() + first, inputs.begin() + last});
      some.backward(gradient.slice(0, first, last));
    }
  });
  return vectors;
}

}  // namespace trine::train
