#include "trine/train/task_model.h"

#include <algorithm>
#include <array>
#include <set>

#include "detail/names.h"
#include "fusion_config.h"
#include "module_folder.h"
#include "tensor_check.h"

namespace trine::train {

using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "TaskModel";
constexpr const char* kModelType = "task_model";
constexpr std::size_t kMostInputs = 64;
constexpr std::size_t kMostLabels = 1'000'000;

constexpr detail::Names<Task, 3> kTasks{{{Task::classify, "classify"}, {Task::rank, "rank"}, {Task::align, "align"}}};

/// Every two modalities, all counting the same.
std::vector<ContrastivePair> all_pairs(const std::map<std::string, std::int64_t>& inputs) {
  std::vector<ContrastivePair> pairs;
  for (auto a = inputs.begin(); a != inputs.end(); ++a) {
    for (auto b = std::next(a); b != inputs.end(); ++b) pairs.push_back({a->first, b->first, 1.0});
  }
  return pairs;
}

void check_options(const TaskModelOptions& o) {
  if (o.inputs.empty()) detail::bad_argument(kWho, "wanted the dimensions of at least one modality, got none");
  for (const auto& [name, dim] : o.inputs) {
    if (name.empty() || name.find('.') != std::string::npos || dim < 1) {
      detail::bad_argument(kWho,
                           "the name of a modality must not be empty or hold a dot, and its dimension be at least",
                           " 1; got '", name, "' and ", dim);
    }
  }
  if (o.task == Task::align) {
    if (o.inputs.size() < 2) detail::bad_argument(kWho, "to align takes two modalities, got one");
    if (!o.labels.empty()) detail::bad_argument(kWho, "to align takes no labels, got ", o.labels.size());
  } else if (const std::set<std::string> distinct(o.labels.begin(), o.labels.end());
             o.labels.size() < 2 || distinct.size() != o.labels.size()) {
    detail::bad_argument(kWho, "wanted two labels at least, each once; got ", o.labels.size());
  }
  if (o.task != Task::classify && o.out_dim < 1) {
    detail::bad_argument(kWho, "out_dim must be at least 1, got ", o.out_dim);
  }
}

}  // namespace

std::string_view to_string(Task task) { return detail::name_of(kTasks, task); }

Task task(std::string_view name) {
  if (const auto known = detail::value_of(kTasks, name)) return *known;
  detail::bad_argument("task", "a task is classify, rank or align, not '", name, "'");
}

TaskModelImpl::TaskModelImpl(const TaskModelOptions& options) : options_(options) {
  check_options(options);
  const bool aligns = options.task == Task::align;
  const auto folder = register_module("inputs", std::make_shared<torch::nn::Module>());
  options_.network.modalities.clear();
  for (const auto& [name, dim] : options.inputs) {
    options_.network.modalities.push_back(name);
    const auto part = folder->register_module(name, std::make_shared<torch::nn::Module>());
    inputs_[name] = {
        .norm = part->register_module("norm", LayerNorm(dim)),
        .linear = part->register_module("linear", Linear(dim, aligns ? options.out_dim : options.network.hidden_dim))};
  }
  reset_parameters(*folder);
  if (aligns) {
    contrast_ = register_module("contrast", ContrastiveLoss(0.07, /*learnable=*/true, all_pairs(options.inputs)));
    return;
  }
  fusion_ = register_module("fusion", make_fusion(options.fusion, options_.network).ptr());
  const auto labels = std::ssize(options.labels);
  head_ = register_module("head",
                          Linear(options.network.hidden_dim, options.task == Task::rank ? options.out_dim : labels));
  reset_parameters(*head_);
  if (options.task == Task::rank) {
    label_vectors_ = register_parameter("label_vectors", torch::zeros({labels, options.out_dim}), false);
  }
}

void TaskModelImpl::set_label_vectors(const Tensor& vectors) {
  if (!label_vectors_.defined()) detail::bad_argument(kWho, "only a model that ranks has label vectors");
  if (!detail::is_floats(vectors, label_vectors_.sizes()) || !vectors.isfinite().all().item<bool>()) {
    detail::bad_argument(kWho, "the label vectors must be finite floats ", label_vectors_.sizes(), ", got ",
                         detail::shown(vectors));
  }
  const torch::NoGradGuard no_grad;
  label_vectors_.copy_(normalise(vectors));
}

ContrastiveLossImpl& TaskModelImpl::contrast() {
  if (contrast_.is_empty()) detail::bad_argument(kWho, "only a model that aligns has a contrastive loss");
  return *contrast_;
}

Prediction TaskModelImpl::forward(const Features& features, const Features& masks) {
  if (features.empty()) detail::bad_argument(kWho, "wanted features of at least one modality, got none");
  for (const auto& [name, mask] : masks) {
    if (!features.contains(name)) detail::bad_argument(kWho, "there is a mask of '", name, "', but no features");
  }
  Features steps, real;
  const std::int64_t batch = features.begin()->second.defined() ? features.begin()->second.size(0) : -1;
  for (const auto& [name, x] : features) {
    const auto input = inputs_.find(name);
    if (input == inputs_.end()) detail::bad_argument(kWho, "there is no modality '", name, "' in this model");
    const std::int64_t dim = options_.inputs.at(name);
    if (!detail::is_floats(x, {batch, -1, dim})) {
      detail::bad_argument(kWho, "the features of '", name, "' must be floats (", batch, ", T, ", dim, "); got ",
                           detail::shown(x));
    }
    const auto mask = masks.find(name);
    real[name] = detail::mask_or_ones(kWho, "the mask of '" + name + "'", mask == masks.end() ? Tensor() : mask->second,
                                      x.sizes().slice(0, 2), x);
    const Tensor clean = x.masked_fill(~real[name].unsqueeze(-1), 0);
    steps[name] = input->second.linear->forward(input->second.norm->forward(clean));
  }
  Prediction prediction;
  if (options_.task == Task::align) {
    for (const auto& [name, x] : steps) prediction.vectors[name] = normalise(masked_mean(x, real.at(name)));
    return prediction;
  }
  Fused fused = fusion_->forward(steps, real);
  prediction.weights = std::move(fused.weights);
  const Tensor out = head_->forward(fused.vector);
  prediction.vector = options_.task == Task::rank ? normalise(out) : fused.vector;
  prediction.scores = options_.task == Task::rank ? prediction.vector.matmul(label_vectors_.t()) : out;
  return prediction;
}

void TaskModelImpl::save(const std::filesystem::path& directory) const {
  Json config{{"model_type", kModelType}, {"task", to_string(options_.task)}, {"inputs", options_.inputs}};
  if (options_.task != Task::classify) config["out_dim"] = options_.out_dim;
  if (fusion_) {
    config["fusion"] = detail::fusion_config(*fusion_);
    config["labels"] = options_.labels;
  }
  config["embedder"] = options_.embedder;
  detail::save_module(kWho, directory, config, *this);
}

std::shared_ptr<TaskModelImpl> TaskModelImpl::load(const std::filesystem::path& directory) {
  return detail::load_module(kWho, directory, kModelType, [](const Json& config) {
    TaskModelOptions o{.task = train::task(detail::get<std::string>(kWho, config, "task")),
                       .labels = detail::get_or<std::vector<std::string>>(kWho, config, "labels", {}),
                       .embedder = detail::get_or<std::string>(kWho, config, "embedder", "")};
    if (o.task != Task::classify) o.out_dim = detail::read_size(kWho, config, "out_dim", detail::kMostWidth);
    const auto inputs = config.find("inputs");
    if (inputs == config.end() || !inputs->is_object() || inputs->size() > kMostInputs) {
      detail::failure(kWho, "\"inputs\" must be an object of at most ", kMostInputs, " dimensions by modality");
    }
    for (const auto& [name, dim] : inputs->items()) {
      o.inputs[name] = detail::read_size(kWho, *inputs, name.c_str(), detail::kMostWidth);
    }
    if (o.labels.size() > kMostLabels) detail::failure(kWho, "at most ", kMostLabels, " labels are accepted");
    if (o.task != Task::align) {
      const auto fusion = config.find("fusion");
      if (fusion == config.end()) detail::failure(kWho, "no \"fusion\" in the JSON object");
      const auto made = detail::fusion_from(*fusion);  // checks the sizes
      o.fusion = made->type();
      o.network = made->options();
      detail::check_weights(
          kWho, static_cast<double>(o.labels.size()) * static_cast<double>(std::max(o.network.hidden_dim, o.out_dim)));
    }
    return std::make_shared<TaskModelImpl>(o);
  });
}

}  // namespace trine::train
