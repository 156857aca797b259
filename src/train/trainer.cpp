#include "trine/train/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numbers>
#include <sstream>

#include "detail/error.h"
#include "trine/checkpoint.h"
#include "trine/layers.h"

namespace trine::train {

using torch::Tensor;

namespace {

constexpr const char* kWho = "Trainer";
constexpr const char* kFile = "checkpoint.safetensors";
constexpr const char* kWeights = "weights.";
constexpr const char* kAverage = "average.";
constexpr const char* kMoments = "moments.";
constexpr const char* kExtra = "extra.";
constexpr const char* kLossSum = "loss_sum";
constexpr const char* kLossCount = "loss_count";

/// All digits of a number, and back.
std::string exact(double value) {
  char digits[40];
  std::snprintf(digits, sizeof digits, "%a", value);
  return digits;
}

std::vector<torch::optim::OptimizerParamGroup> optimiser_groups(const std::vector<ParameterGroup>& groups,
                                                                double weight_decay) {
  std::vector<torch::optim::OptimizerParamGroup> result;
  for (const ParameterGroup& group : groups) {
    std::vector<Tensor> matrices, vectors;
    for (const Tensor& parameter : group.parameters) {
      if (parameter.requires_grad()) (parameter.dim() > 1 ? matrices : vectors).push_back(parameter);
    }
    using Options = torch::optim::AdamWOptions;
    result.emplace_back(matrices, std::make_unique<Options>(Options(group.learning_rate).weight_decay(weight_decay)));
    result.emplace_back(vectors, std::make_unique<Options>(Options(group.learning_rate).weight_decay(0)));
  }
  return result;
}

/// torch's clip_grad_norm_, which wants all gradients on one device: here a tower may lie on another than what follows
/// it.
void clip_gradients(const std::vector<Tensor>& parameters, double most) {
  using torch::nn::utils::clip_grad_norm_;
  constexpr double kUnclipped = std::numeric_limits<double>::infinity();
  std::map<std::string, std::vector<Tensor>> by_device;
  for (const Tensor& parameter : parameters) by_device[parameter.device().str()].push_back(parameter);
  if (by_device.size() == 1) {
    clip_grad_norm_(parameters, most);
    return;
  }
  double norm = 0;
  for (const auto& [device, some] : by_device) norm = std::hypot(norm, clip_grad_norm_(some, kUnclipped));
  const double share = std::min(1.0, most / (norm + 1e-6));
  for (const Tensor& parameter : parameters) {
    if (parameter.grad().defined()) parameter.grad().mul_(share);
  }
}

}  // namespace

Trainer::Trainer(std::shared_ptr<torch::nn::Module> module, std::vector<ParameterGroup> groups,
                 const TrainerOptions& options)
    : module_(std::move(module)), options_(options) {
  if (options.steps < 1) detail::bad_argument(kWho, "at least one step is wanted, got ", options.steps);
  for (const ParameterGroup& group : groups) highest_.insert(highest_.end(), 2, group.learning_rate);
  optimiser_ = std::make_unique<torch::optim::AdamW>(optimiser_groups(groups, options.weight_decay));
  if (options.averaging > 0) average_ = result();
}

double Trainer::rate() const {
  const double done = static_cast<double>(step_) / static_cast<double>(options_.steps);
  const double after = done + 1.0 / static_cast<double>(options_.steps);
  if (done < options_.warmup) return std::min(1.0, after / options_.warmup);  // a warm-up may be shorter than a step
  return 0.5 * (1.0 + std::cos(std::numbers::pi * (done - options_.warmup) / (1.0 - options_.warmup)));
}

double Trainer::learning_rate() const { return highest_.empty() ? 0.0 : highest_.front() * rate(); }

void Trainer::step(const Tensor& loss) {
  const double value = loss.item<double>();
  if (!std::isfinite(value)) detail::failure(kWho, "the loss of step ", step_, " is not finite");
  for (std::size_t i = 0; i < highest_.size(); ++i) {
    static_cast<torch::optim::AdamWOptions&>(optimiser_->param_groups()[i].options()).lr(highest_[i] * rate());
  }
  optimiser_->zero_grad();
  loss.backward();
  std::vector<Tensor> parameters;
  for (const auto& group : optimiser_->param_groups()) {
    parameters.insert(parameters.end(), group.params().begin(), group.params().end());
  }
  clip_gradients(parameters, options_.max_gradient_norm);
  optimiser_->step();
  ++step_;
  loss_sum_ += value;
  ++loss_count_;
  if (options_.averaging > 0) {
    const torch::NoGradGuard no_grad;
    // a young average follows quickly: it would otherwise remember the start
    const double decay =
        std::min(options_.averaging, (1.0 + static_cast<double>(step_)) / (10.0 + static_cast<double>(step_)));
    for (auto& [name, tensor] : state_dict(*module_)) {
      Tensor& kept = average_.at(name);
      if (kept.is_floating_point()) {
        kept.lerp_(tensor.detach(), 1.0 - decay);
      } else {
        kept.copy_(tensor.detach());
      }
    }
  }
}

double Trainer::take_mean_loss() {
  const double mean = loss_count_ > 0 ? loss_sum_ / static_cast<double>(loss_count_) : 0.0;
  loss_sum_ = 0;
  loss_count_ = 0;
  return mean;
}

std::map<std::string, Tensor> Trainer::result() const {
  std::map<std::string, Tensor> copies;
  for (const auto& [name, tensor] : average_.empty() ? state_dict(*module_) : average_) {
    copies.emplace(name, tensor.detach().clone());
  }
  return copies;
}

void Trainer::save(const TrainerExtra& extra) const {
  if (options_.folder.empty()) return;
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : state_dict(*module_)) tensors.emplace(kWeights + name, tensor);
  for (const auto& [name, tensor] : average_) tensors.emplace(kAverage + name, tensor);
  std::int64_t number = 0;
  for (const auto& group : optimiser_->param_groups()) {
    for (const Tensor& parameter : group.params()) {
      const auto found = optimiser_->state().find(parameter.unsafeGetTensorImpl());
      const std::string key = kMoments + std::to_string(number++);
      if (found == optimiser_->state().end()) continue;
      const auto& state = static_cast<const torch::optim::AdamWParamState&>(*found->second);
      tensors.emplace(key + ".first", state.exp_avg());
      tensors.emplace(key + ".second", state.exp_avg_sq());
      tensors.emplace(key + ".step",
                      torch::scalar_tensor(state.step(), torch::kInt64));  // fewer where it had no gradient
    }
  }
  std::map<std::string, std::string> metadata{{"step", std::to_string(step_)},
                                              {"steps", std::to_string(options_.steps)},
                                              {kLossSum, exact(loss_sum_)},
                                              {kLossCount, std::to_string(loss_count_)}};
  for (const auto& [name, tensor] : extra.tensors) tensors.emplace(kExtra + name, tensor);
  for (const auto& [name, text] : extra.metadata) metadata.emplace(kExtra + name, text);
  std::filesystem::create_directories(options_.folder);
  save_tensors(options_.folder / kFile, tensors, metadata);
}

bool Trainer::resume(TrainerExtra* extra) {
  const std::filesystem::path file = options_.folder / kFile;
  if (options_.folder.empty() || !std::filesystem::exists(file)) return false;
  const Checkpoint checkpoint = Checkpoint::open(file);
  const auto& metadata = checkpoint.metadata();
  if (!metadata.contains("steps") || metadata.at("steps") != std::to_string(options_.steps)) {
    detail::failure(kWho, file, " belongs to a training of other length: move it away to start anew");
  }
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : state_dict(*module_)) Tensor(tensor).copy_(load_tensor(checkpoint, kWeights + name));
  for (auto& [name, tensor] : average_) tensor.copy_(load_tensor(checkpoint, kAverage + name));
  step_ = std::stoll(metadata.at("step"));
  if (metadata.contains(kLossSum) && metadata.contains(kLossCount)) {
    loss_sum_ = std::strtod(metadata.at(kLossSum).c_str(), nullptr);
    loss_count_ = std::stoll(metadata.at(kLossCount));
  }
  if (extra != nullptr) {
    const std::string prefix = kExtra;
    for (const std::string& name : checkpoint.names()) {
      if (!name.starts_with(prefix)) continue;
      extra->tensors.emplace(name.substr(prefix.size()), load_tensor(checkpoint, name).clone());
    }
    for (const auto& [name, text] : metadata) {
      if (name.starts_with(prefix)) extra->metadata.emplace(name.substr(prefix.size()), text);
    }
  }
  std::int64_t number = 0;
  for (const auto& group : optimiser_->param_groups()) {
    for (const Tensor& parameter : group.params()) {
      const std::string key = kMoments + std::to_string(number++);
      if (!checkpoint.contains(key + ".first")) continue;
      auto state = std::make_unique<torch::optim::AdamWParamState>();
      const bool counted = checkpoint.contains(key + ".step");
      state->step(counted ? load_tensor(checkpoint, key + ".step").item<std::int64_t>() : step_);
      const auto moment = [&](const char* which) {
        return load_tensor(checkpoint, key + which).to(parameter.device(), torch::kFloat32, false, /*copy=*/true);
      };
      state->exp_avg(moment(".first"));
      state->exp_avg_sq(moment(".second"));
      optimiser_->state()[parameter.unsafeGetTensorImpl()] = std::move(state);
    }
  }
  return true;
}

ProgressBar::ProgressBar(std::string title, std::int64_t total, std::int64_t done)
    : title_(std::move(title)),
      total_(total),
      first_(done),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (terminal_) std::fputc('\n', stderr);
}

void ProgressBar::show(std::int64_t done, const std::string& note) {
  using namespace std::chrono;
  const auto now = steady_clock::now();
  const auto pause = terminal_ ? milliseconds(200) : milliseconds(60'000);
  if (done < total_ && now - shown_ < pause) return;
  shown_ = now;
  const double seconds = duration<double>(now - start_).count();
  const double left =
      done > first_ ? seconds / static_cast<double>(done - first_) * static_cast<double>(total_ - done) : 0;
  constexpr int kWidth = 24;
  const int filled = total_ > 0 ? static_cast<int>(kWidth * done / total_) : kWidth;
  std::fprintf(stderr, "%s%s [%s%s] %lld/%lld%s%s, %.0f:%02.0f left%s", terminal_ ? "\r" : "", title_.c_str(),
               std::string(static_cast<std::size_t>(filled), '#').c_str(),
               std::string(static_cast<std::size_t>(kWidth - filled), '.').c_str(), static_cast<long long>(done),
               static_cast<long long>(total_), note.empty() ? "" : ", ", note.c_str(), std::floor(left / 60),
               std::floor(std::fmod(left, 60)), terminal_ ? "   " : "\n");
}

}  // namespace trine::train
