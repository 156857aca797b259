#include "trine/apps/damage.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <sstream>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/encoder_directory.h"
#include "encoders/inputs.h"
#include "place.h"
#include "random_state.h"
#include "trine/checkpoint.h"
#include "trine/device.h"
#include "trine/encoders/efficientnet.h"
#include "trine/encoders/preprocess.h"
#include "trine/layers.h"
#include "trine/train/trainer.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "DamageDetector";
constexpr const char* kIntact = "intact";
constexpr float kSure = 0.7f;  ///< above it type and severity are told

constexpr int kShortSide = 256;            ///< px a photo is brought to, whole: damage may lie at its border
constexpr int kLongestSide = 768;          ///< longer photos are squeezed
constexpr std::int64_t kFine = 2;          ///< stages of the network whose maps are looked at: a cell is 8 px,
constexpr std::int64_t kMiddle = 4;        ///< 16 px,
constexpr std::int64_t kCoarse = 6;        ///< 32 px
constexpr std::int64_t kTopCells = 6;      ///< that decide together whether a kind of damage is there
constexpr std::int64_t kWidth = 48;        ///< of the head's layers
constexpr std::int64_t kBatch = 32;        ///< photos of a training step
constexpr std::size_t kFewPhotos = 1'000;  ///< below it each trains mirrored as well
constexpr std::size_t kMostTypes = 1'000;

std::string name_of(float severity) {
  return severity < 1 / 3.0f ? "light" : severity < 2 / 3.0f ? "moderate" : "severe";
}

/// What the head makes of photos.
struct Findings {
  Tensor logits;    ///< (N, 1 + T): intact, then the types
  Tensor severity;  ///< (N), before the sigmoid
};

/// Cells of a photo to its damage: two convolutions look at each cell and its neighbours, a third gives each type's
/// evidence in it; the cells where most speaks for a type decide on it.
struct HeadImpl : torch::nn::Module {
  HeadImpl(std::int64_t channels, std::int64_t types)
      : mean(register_buffer("mean", torch::zeros({channels}))),
        deviation(register_buffer("deviation", torch::ones({channels}))),
        reduce(register_module("reduce", Conv2d(channels, kWidth, Pair{1, 1}))),
        look(register_module("look", Conv2d(kWidth, kWidth, Pair{3, 3}, Pair{1, 1}, Pair{1, 1}))),
        evidence(register_module("evidence", Conv2d(kWidth, types, Pair{1, 1}))),
        severity(register_module("severity", Linear(kWidth + 2, 1))) {}

  /// (N, C, H, W)
  Findings forward(const Tensor& cells) {
    const Tensor x = (cells - mean.view({1, -1, 1, 1})) / deviation.view({1, -1, 1, 1});
    const Tensor seen = look->forward(reduce->forward(torch::dropout(x, dropout, is_training())).relu()).relu();
    const Tensor by_cell = evidence->forward(torch::dropout(seen, dropout, is_training())).flatten(2);  // (N, T, HW)
    const std::int64_t top = std::min<std::int64_t>(kTopCells, by_cell.size(2));
    const Tensor pooled = std::get<0>(by_cell.topk(top, 2)).mean(2);
    const Tensor intact = torch::zeros({cells.size(0), 1}, cells.options());
    // how much of each cell is damaged: the size, and what the damaged cells look like
    const Tensor damaged = torch::logsumexp(by_cell, 1).sigmoid().unsqueeze(2);  // (N, HW, 1)
    const Tensor size = damaged.sum(1) / static_cast<double>(by_cell.size(2));   // (N, 1)
    const Tensor looks = seen.flatten(2).matmul(damaged).squeeze(2) / damaged.sum(1).clamp_min(1e-6);
    const Tensor strongest = torch::logsumexp(pooled, 1, /*keepdim=*/true);
    return {torch::cat({intact, pooled}, 1),
            severity->forward(torch::cat({looks, (size + 1e-3).log(), strongest}, 1)).squeeze(1)};
  }

  Tensor mean, deviation;
  Conv2d reduce, look, evidence;
  Linear severity;
  double dropout = 0;
};
TORCH_MODULE(Head);

/// The pretrained network as a map of cells, where this thread loads to.
class Eye {
 public:
  explicit Eye(const fs::path& folder) : config_(EfficientNetConfig::load(folder / "config.json")), network_(config_) {
    load_weights(*network_, Checkpoint::open(folder));
    network_->fold();
    network_->eval();
  }

  /// -> (C, H, W), a cell for 16 x 16 px
  Tensor cells(const Image& photo) const {
    const torch::NoGradGuard no_grad;
    const double scale = static_cast<double>(kShortSide) / std::min(photo.width, photo.height);
    const auto side = [&](int length) {
      return std::clamp(static_cast<int>(std::lround(length * scale)), kShortSide, kLongestSide);
    };
    const Image fitted = resize(photo, side(photo.width), side(photo.height), config_.interpolation);
    const Tensor pixels = to_tensor(fitted, config_.mean, config_.std).unsqueeze(0);
    return place_.run([this](const Tensor& x) { return look(x); },
                      pixels.contiguous(torch::MemoryFormat::ChannelsLast));
  }

  const std::string& architecture() const { return config_.architecture; }

 private:
  Tensor look(const Tensor& pixels) const {
    const std::vector<Tensor> maps = network_->stages(pixels, kCoarse + 1);
    const Tensor& middle = maps[kMiddle];
    const auto fit = [&](const Tensor& map) { return map.slice(2, 0, middle.size(2)).slice(3, 0, middle.size(3)); };
    const Tensor &fine = maps[kFine], coarse = maps[kCoarse].repeat_interleave(2, 2).repeat_interleave(2, 3);
    return torch::cat({fit(torch::avg_pool2d(fine, 2, 2, 0, /*ceil_mode=*/true)),
                       fit(torch::max_pool2d(fine, 2, 2, 0, 1, /*ceil_mode=*/true)), middle, fit(coarse)},
                      1)[0];
  }

  detail::Place place_;
  EfficientNetConfig config_;
  EfficientNet network_;
};

/// The folder of the EfficientNet that looks at photos: the model itself, or "image.encoder" of its config.
fs::path eye_folder(const Embedder& embedder) {
  const Json config = detail::read_json(kWho, embedder.directory() / "config.json");
  if (config.contains("architecture")) return embedder.directory();
  const auto image = config.find("image");
  if (image == config.end() || !image->contains("encoder")) {
    detail::failure(kWho, "the config.json of ", embedder.directory(),
                    " names no EfficientNet-Lite as \"image.encoder\", which looks at the photos");
  }
  return detail::encoder_directory(kWho, embedder.directory(), detail::get<std::string>(kWho, *image, "encoder"));
}

Eye eye_of(const Embedder& embedder) {
  const LoadDevice there(embedder.device());
  return Eye(eye_folder(embedder));
}

/// The types that the labels name, sorted.
std::vector<std::string> types_of(const std::vector<ImageInput>& photos, const std::vector<DamageLabel>& labels,
                                  const DamageOptions& options) {
  if (photos.size() != labels.size()) {
    detail::bad_argument(kWho, "wanted a label for each photo, got ", photos.size(), " photos and ", labels.size(),
                         " labels");
  }
  if (options.epochs < 1) detail::bad_argument(kWho, "epochs must be at least 1, got ", options.epochs);
  std::map<std::string, std::int64_t> counts{{kIntact, 0}};
  for (const DamageLabel& label : labels) {
    if (label.type.empty()) detail::bad_argument(kWho, "a label must be \"intact\" or name a type, one is empty");
    if (label.severity && !(*label.severity >= 0 && *label.severity <= 1)) {
      detail::bad_argument(kWho, "a severity must be 0 to 1, got ", *label.severity);
    }
    ++counts[label.type];
  }
  if (counts.size() < 2) detail::bad_argument(kWho, "wanted intact photos and damaged ones, got intact ones only");
  std::vector<std::string> types;
  for (const auto& [type, count] : counts) {
    if (count < 2) {
      detail::bad_argument(kWho, "wanted two photos of ", detail::shown(type), " at least, got ", count);
    }
    if (type != kIntact) types.push_back(type);
  }
  return types;
}

/// Photos as cells, and what they show.
struct Lesson {
  std::vector<Tensor> cells = {};       ///< (C, H, W) each, fp16
  std::vector<std::int64_t> kind = {};  ///< 0 for intact, then the types
  std::vector<float> severity = {};     ///< below 0 where it is not known
};

/// Numbers of photos whose maps have one size, by batches in random order.
std::vector<std::vector<std::size_t>> batches(const Lesson& lesson, std::mt19937_64& random) {
  std::vector<std::size_t> order(lesson.cells.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::shuffle(order, random);
  std::map<std::vector<std::int64_t>, std::vector<std::size_t>> open;
  std::vector<std::vector<std::size_t>> ready;
  for (const std::size_t photo : order) {
    auto& batch = open[lesson.cells[photo].sizes().vec()];
    batch.push_back(photo);
    if (std::ssize(batch) == kBatch) ready.push_back(std::exchange(batch, {}));
  }
  for (auto& [size, batch] : open) {
    if (!batch.empty()) ready.push_back(std::move(batch));
  }
  std::ranges::shuffle(ready, random);
  return ready;
}

Tensor loss_of(Head& head, const Lesson& lesson, const std::vector<std::size_t>& batch) {
  std::vector<Tensor> cells;
  std::vector<std::int64_t> kind;
  std::vector<float> severity;
  for (const std::size_t photo : batch) {
    cells.push_back(lesson.cells[photo]);
    kind.push_back(lesson.kind[photo]);
    severity.push_back(lesson.severity[photo]);
  }
  const Findings found = head->forward(torch::stack(cells).to(torch::kFloat32));
  const Tensor wanted = torch::tensor(severity), known = (wanted >= 0).to(torch::kFloat32);
  const Tensor error = ((found.severity.sigmoid() - wanted).square() * known).sum() / known.sum().clamp_min(1);
  namespace F = torch::nn::functional;
  return F::cross_entropy(found.logits, torch::tensor(kind), F::CrossEntropyFuncOptions().label_smoothing(0.05)) +
         2 * error;
}

}  // namespace

struct DamageDetector::Impl {
  Eye eye;
  Head head;
  std::vector<std::string> types;
  std::string trained_on;
};

DamageDetector::DamageDetector(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

DamageDetector DamageDetector::load(const Embedder& embedder, const fs::path& path) {
  const fs::path file = path.empty() ? embedder.directory() / "damage.safetensors" : path;
  if (path.empty() && !fs::exists(file)) {
    detail::failure(kWho, "the model in ", embedder.directory(), " has no head for damage: fit one, or name a file");
  }
  const Checkpoint weights = Checkpoint::open(file);
  const auto told = [&](const char* key) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) detail::failure(kWho, file, " is no head for damage: it has no ", key);
    return found->second;
  };
  Eye eye = eye_of(embedder);
  if (told("encoder") != eye.architecture()) {
    detail::failure(kWho, file, " was trained on the maps of ", detail::shown(told("encoder")), ", the model has ",
                    eye.architecture());
  }
  const Json types = detail::parse_json(kWho, told("types"), "the types of a head for damage");
  if (!types.is_array() || types.empty() || types.size() > kMostTypes ||
      !std::ranges::all_of(types, [](const Json& type) { return type.is_string(); })) {
    detail::failure(kWho, file, ": its types are no list of names");
  }
  Head head(weights.at("mean").numel(), std::ssize(types));
  copy_weights(*head, weights);
  for (const auto& [name, tensor] : state_dict(*head)) weights.at(name);  // a missing one is refused by its name
  head->eval();
  return DamageDetector(std::make_shared<const Impl>(
      Impl{std::move(eye), head, types.get<std::vector<std::string>>(), told("trained_on")}));
}

DamageDetector DamageDetector::fit(const Embedder& embedder, const std::vector<ImageInput>& photos,
                                   const std::vector<DamageLabel>& labels, const DamageOptions& options) {
  const std::vector<std::string> types = types_of(photos, labels, options);
  Eye eye = eye_of(embedder);
  Lesson lesson;
  for (std::size_t i = 0; i < photos.size(); ++i) {
    const auto type = std::ranges::find(types, labels[i].type);
    const Tensor cells = eye.cells(detail::pixels_of(kWho, photos[i])).to(torch::kFloat16);
    for (const bool mirrored : {false, true}) {
      if (mirrored && photos.size() >= kFewPhotos) break;
      lesson.cells.push_back(mirrored ? cells.flip(2) : cells);
      lesson.kind.push_back(type == types.end() ? 0 : 1 + std::distance(types.begin(), type));
      lesson.severity.push_back(type == types.end() ? -1 : labels[i].severity.value_or(-1));
    }
    if (options.progress) options.progress(std::ssize(lesson.cells), std::ssize(photos));
  }

  std::mt19937_64 random(options.seed);
  const detail::RandomState callers;
  torch::manual_seed(options.seed);
  Head head(lesson.cells[0].size(0), std::ssize(types));
  reset_parameters(*head);
  {
    const torch::NoGradGuard no_grad;
    std::vector<Tensor> sample;
    for (std::size_t i = 0; i < lesson.cells.size(); i += 1 + lesson.cells.size() / 200) {
      sample.push_back(lesson.cells[i].to(torch::kFloat32).flatten(1));
    }
    const Tensor all = torch::cat(sample, 1);  // (C, cells)
    head->mean.copy_(all.mean(1));
    head->deviation.copy_(all.std(1).clamp_min(1e-3));
  }
  head->dropout = 0.2;
  std::vector<std::vector<std::vector<std::size_t>>> epochs;
  std::int64_t steps = 0;
  for (std::int64_t epoch = 0; epoch < options.epochs; ++epoch)
    steps += std::ssize(epochs.emplace_back(batches(lesson, random)));
  train::Trainer trainer(head.ptr(), {{head->parameters(), 2e-3}},
                         {.steps = steps, .weight_decay = 0.05, .averaging = 0.99});
  head->train();
  for (const auto& epoch : epochs) {
    for (const auto& batch : epoch) {
      trainer.step(loss_of(head, lesson, batch));
      if (options.progress) options.progress(trainer.step_count(), steps);
    }
  }
  copy_weights(*head, trainer.result());
  head->eval();
  return DamageDetector(std::make_shared<const Impl>(Impl{std::move(eye), head, types, options.trained_on}));
}

Damage DamageDetector::inspect(const ImageInput& photo) const {
  const torch::NoGradGuard no_grad;
  const Tensor cells = impl_->eye.cells(detail::pixels_of(kWho, photo)).unsqueeze(0);
  const Findings found = Head(impl_->head)->forward(cells);
  const Tensor shares = found.logits[0].softmax(0);
  Damage damage{.probability = 1 - shares[0].item<float>(),
                .types = {},
                .severity = 0,
                .severity_name = {},
                .trained_on = impl_->trained_on};
  if (!(damage.probability > kSure)) return damage;
  for (std::size_t i = 0; i < impl_->types.size(); ++i) {
    damage.types.push_back(
        {impl_->types[i], shares[static_cast<std::int64_t>(i) + 1].item<float>() / damage.probability});
  }
  std::ranges::stable_sort(damage.types, [](const Score& a, const Score& b) { return a.probability > b.probability; });
  damage.severity = found.severity[0].sigmoid().item<float>();
  damage.severity_name = name_of(damage.severity);
  return damage;
}

void DamageDetector::save(const fs::path& path) const {
  save_tensors(
      path, state_dict(*impl_->head),
      {{"types", Json(impl_->types).dump()}, {"trained_on", impl_->trained_on}, {"encoder", impl_->eye.architecture()}},
      /*half=*/true);
}

const std::vector<std::string>& DamageDetector::types() const { return impl_->types; }

Description DamageDetector::describe() const {
  std::string types;
  for (const std::string& type : impl_->types) types += (types.empty() ? "" : ", ") + type;
  std::ostringstream input, head;
  input << "the whole photo, short side to " << kShortSide << " px, long side to " << kLongestSide << " at most";
  head << "cells of 16 px from three stages, two convolutions, the " << kTopCells
       << " strongest cells of each type; type and severity above " << kSure;
  return {{"trained on", impl_->trained_on},
          {"types", types},
          {"input", input.str()},
          {"encoder", impl_->eye.architecture()},
          {"head", head.str()}};
}

}  // namespace trine
