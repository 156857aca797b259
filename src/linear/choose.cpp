#include "linear/choose.h"

#include <torch/headeronly/version.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <vector>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "detail/names.h"
#include "linear/backend.h"
#include "linear/tile.h"
#include "place.h"
#include "trine/embedder.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using detail::LinearShape;
using torch::Tensor;

namespace {

constexpr const char* kWho = "LoadPrecision";
constexpr detail::Names<Precision, 5> kPrecisions{{{Precision::automatic, "auto"},
                                                   {Precision::fp32, "fp32"},
                                                   {Precision::bf16, "bf16"},
                                                   {Precision::int8, "int8"},
                                                   {Precision::fp16, "fp16"}}};
constexpr std::array kCandidates{Precision::fp32, Precision::bf16, Precision::int8};
constexpr std::int64_t kRows = 64;  ///< of a trial: a sentence or two, a picture
constexpr int kTrials = 3;
constexpr double kLeastGain = 1.05;  ///< over fp32, for which its accuracy is given up

thread_local Precision wanted = Precision::fp32;
thread_local double wanted_accuracy = 0.999;
thread_local detail::PrecisionLog* listener = nullptr;

/// What was found of a shape in one arithmetic.
struct Trial {
  double seconds;
  double cosine;  ///< of its outputs to those in fp32
};
using Trials = std::map<Precision, Trial>;

double cosine(const Tensor& a, const Tensor& b) { return (a * b).sum().div(a.norm() * b.norm()).item<double>(); }

/// The candidates in turn, the fastest of a few runs each: what disturbs one disturbs all.
Trials measure(LinearShape shape) {
  const torch::NoGradGuard no_grad;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
  const Tensor x = torch::randn({kRows, shape.first}, generator);
  const Tensor weight = torch::randn({shape.second, shape.first}, generator);
  std::map<Precision, std::unique_ptr<detail::PackedLinear>> packed;
  Trials trials;
  Tensor exact = torch::empty({kRows, shape.second}), out = torch::empty_like(exact);
  for (const Precision candidate : kCandidates) {
    if (!detail::has_kernel(candidate)) continue;
    packed[candidate] = detail::pack(candidate, weight, {});
    packed[candidate]->forward(x, detail::Function::identity, {}, out);  // kernels are made in the first run
    if (candidate == Precision::fp32) exact.copy_(out);
    trials[candidate] = {std::numeric_limits<double>::infinity(), cosine(out, exact)};
  }
  for (int i = 0; i < kTrials; ++i) {
    for (const auto& [candidate, layer] : packed) {
      const auto begin = std::chrono::steady_clock::now();
      layer->forward(x, detail::Function::identity, {}, out);
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      trials[candidate].seconds = std::min(trials[candidate].seconds, passed.count());
    }
  }
  return trials;
}

/// The CPU's own name for itself.
std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(':') != std::string::npos) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

/// What the machine was found to do, shape by shape: in memory, and in the cache folder for later processes.
class Memory {
 public:
  Trials of(LinearShape shape) {
    const std::lock_guard lock(mutex_);
    if (!read_) shapes_ = read();
    read_ = true;
    const std::string key = std::to_string(shape.first) + "x" + std::to_string(shape.second);
    if (const auto known = shapes_.find(key); known != shapes_.end()) return known->second;
    const Trials trials = measure(shape);
    shapes_[key] = trials;
    write();
    return trials;
  }

 private:
  using Shapes = std::map<std::string, Trials>;

  static fs::path path() { return cache_directory() / "precision.json"; }

  static std::string machine() {
    const char* loops = detail::tile_loops() == nullptr ? "no loops of ours" : detail::tile_loops()->name;
    return cpu_model() + ", " + at::get_cpu_capability() + ", " + loops + ", torch " + TORCH_VERSION + ", " +
           std::to_string(at::get_num_threads()) + " threads";
  }

  /// A file that is missing or not as we wrote it is as good as none.
  static Shapes read() {
    Shapes shapes;
    try {
      const Json json = detail::read_json(kWho, path(), {.max_bytes = 1u << 20});
      if (detail::get<std::string>(kWho, json, "machine") != machine()) return {};
      const Json known = detail::get<Json>(kWho, json, "shapes");
      for (const auto& [key, found] : known.items()) {
        Trials trials;
        for (const Precision candidate : kCandidates) {
          const std::string name(to_string(candidate));
          if (!found.contains(name)) continue;
          const Trial trial{detail::get<double>(kWho, found.at(name), "seconds"),
                            detail::get<double>(kWho, found.at(name), "cosine")};
          if (!(trial.seconds > 0 && std::isfinite(trial.seconds) && std::abs(trial.cosine) <= 1.001)) return {};
          trials[candidate] = trial;
        }
        if (trials.contains(Precision::fp32)) shapes[key] = trials;
      }
    } catch (const std::exception&) {
      return {};
    }
    return shapes;
  }

  void write() const {
    Json json{{"machine", machine()}, {"shapes", Json::object()}};
    for (const auto& [key, trials] : shapes_) {
      for (const auto& [candidate, trial] : trials) {
        json["shapes"][key][std::string(to_string(candidate))] = {{"seconds", trial.seconds}, {"cosine", trial.cosine}};
      }
    }
    try {
      fs::create_directories(path().parent_path());
      detail::write_atomically(kWho, path(), [&](std::ostream& out) { out << json.dump(2) << '\n'; });
    } catch (const std::exception&) {
      // a cache that cannot be written costs the next process the measurement, no more
    }
  }

  std::mutex mutex_;
  bool read_ = false;
  Shapes shapes_;
};

Precision fastest(const Trials& trials, double accuracy) {
  Precision best = Precision::fp32;
  double limit = trials.contains(best) ? trials.at(best).seconds / kLeastGain : 0;
  for (const auto& [candidate, trial] : trials) {
    if (candidate == Precision::fp32 || trial.cosine < accuracy || trial.seconds >= limit) continue;
    best = candidate;
    limit = trial.seconds;
  }
  return best;
}

}  // namespace

std::string_view to_string(Precision precision) { return detail::name_of(kPrecisions, precision); }

Precision precision(std::string_view name) {
  if (const auto known = detail::value_of(kPrecisions, name)) return *known;
  detail::bad_argument(kWho, "precision is ", detail::shown(name), ", wanted auto, fp32, bf16, int8 or fp16");
}

bool supports(Precision precision) {
  if (precision == Precision::fp32 || precision == Precision::automatic) return true;
  return detail::load_device().is_cpu() ? precision != Precision::fp16 && detail::has_kernel(precision)
                                        : precision != Precision::int8;
}

LoadPrecision::LoadPrecision(Precision precision, double accuracy)
    : previous_(wanted), previous_accuracy_(wanted_accuracy) {
  if (!(accuracy >= 0 && accuracy <= 1)) {
    detail::bad_argument(kWho, "accuracy is ", accuracy, ", wanted a cosine from 0 to 1");
  }
  detail::check_precision(kWho, precision, detail::load_device());
  if (!supports(precision)) {
    detail::failure(kWho, "this machine does not compute in ", to_string(precision), ": use fp32 or auto");
  }
  wanted = precision;
  wanted_accuracy = accuracy;
}

LoadPrecision::~LoadPrecision() {
  wanted = previous_;
  wanted_accuracy = previous_accuracy_;
}

namespace detail {

Precision asked_precision() { return wanted; }
double asked_accuracy() { return wanted_accuracy; }

void check_precision(const char* who, Precision precision, torch::Device device) {
  if (precision != (device.is_cpu() ? Precision::fp16 : Precision::int8)) return;
  bad_argument(who, "wanted auto, fp32, bf16 or ", device.is_cpu() ? "int8" : "fp16", " on ", device.str(), ", got ",
               to_string(precision));
}

Precision precision_of(LinearShape shape) {
  static Memory memory;
  if (!load_device().is_cpu()) return Precision::fp32;  // layers there are torch's own
  const Precision chosen = wanted == Precision::automatic ? fastest(memory.of(shape), wanted_accuracy) : wanted;
  if (listener != nullptr) listener->shapes_[shape] = chosen;
  return chosen;
}

PrecisionLog::PrecisionLog() : asked_(wanted), outer_(listener) { listener = this; }
PrecisionLog::~PrecisionLog() { listener = outer_; }

std::string PrecisionLog::describe() const {
  const std::string asked(to_string(asked_));
  if (const Place there; !there.is_cpu()) {
    return (asked_ == Precision::automatic ? asked + ": " : "") + std::string(to_string(there.precision()));
  }
  if (asked_ == Precision::fp32) return asked;
  if (shapes_.empty()) return "fp32: this family has no layers in " + asked;
  std::string lines;
  for (const auto& [shape, chosen] : shapes_) {
    if (chosen == asked_) continue;
    lines += (lines.empty() ? "" : ", ") + std::to_string(shape.first) + " x " + std::to_string(shape.second) + " " +
             std::string(to_string(chosen));
  }
  return lines.empty() ? asked : asked + ": " + lines;
}

}  // namespace detail

}  // namespace trine
