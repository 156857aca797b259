#include "trine/train/fit.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <set>
#include <unordered_map>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "detail/names.h"
#include "detail/sha256.h"
#include "place.h"
#include "random_state.h"
#include "set_values.h"
#include "tensor_check.h"
#include "train/tune.h"
#include "trine/layers.h"
#include "trine/train/sampler.h"
#include "trine/train/trainer.h"

namespace trine::train {

using detail::Json;
using torch::Tensor;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kWho = "fit";
constexpr const char* kLog = "log.jsonl";
constexpr const char* kEmbedder = "embedder";  ///< the folder of the tuned one
constexpr std::int64_t kPredictBatch = 256;

constexpr detail::Names<Balance, 3> kBalances{{{Balance::none, "none"}, {Balance::up, "up"}, {Balance::down, "down"}}};

/// A seed for each number of a run (splitmix64): neighbours have nothing in common.
std::uint64_t seed_of(std::uint64_t seed, std::uint64_t number) {
  std::uint64_t x = seed + 0x9e3779b97f4a7c15u * (number + 1);
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

void check_options(const FitOptions& o) {
  const auto least = [](const char* name, auto value, auto wanted) {
    if (!(value >= wanted) || !std::isfinite(static_cast<double>(value))) {
      detail::bad_argument(kWho, name, " must be at least ", wanted, ", got ", value);
    }
  };
  least("epochs", o.epochs, 1);
  least("batch_size", o.batch_size, o.task == Task::align ? 2 : 1);
  least("patience", o.patience, 0);
  least("weight_decay", o.weight_decay, 0.0);
  least("checkpoint_seconds", o.checkpoint_seconds, 0.0);
  least("tune_blocks", o.tune_blocks, 0);
  least("tower_batch", o.tower_batch, 1);
  for (const auto& [name, value] : {std::pair{"learning_rate", o.learning_rate},
                                    {"tower_learning_rate", o.tower_learning_rate},
                                    {"max_gradient_norm", o.max_gradient_norm},
                                    {"temperature", o.temperature}}) {
    if (!(value > 0) || !std::isfinite(value)) detail::bad_argument(kWho, name, " must be above 0, got ", value);
  }
  for (const auto& [name, value] : {std::pair{"warmup", o.warmup}, {"label_smoothing", o.label_smoothing}}) {
    if (!(value >= 0 && value < 1)) detail::bad_argument(kWho, name, " must be from 0 to below 1, got ", value);
  }
}

/// The labels a model chooses from; empty to align.
std::vector<std::string> labels_of(const Dataset& data, const Dataset& train, Task task) {
  if (task == Task::align) return {};
  for (std::size_t i = 0; i < static_cast<std::size_t>(data.size()); ++i) {
    if (data.labels.empty() || data.labels[i].empty()) detail::bad_argument(kWho, "sample ", i, " has no label");
  }
  const std::vector<std::string> known = (task == Task::rank ? data : train).classes();
  if (known.size() < 2)
    detail::bad_argument(kWho, "wanted two labels at least, all samples have '", known.front(), "'");
  for (std::size_t i = 0; i < data.labels.size(); ++i) {
    if (std::ranges::binary_search(known, data.labels[i])) continue;
    detail::bad_argument(kWho, "the label '", data.labels[i], "' of sample ", i, " (", to_string(data.splits[i]),
                         ") is not in train");
  }
  return known;
}

/// Samples of which a batch can be made, with what they are to become.
struct Part {
  Features features;
  Features masks;
  Tensor targets;  ///< (N) int64: numbers of labels, or of ids
  Tensor samples;  ///< (N) int64: their numbers among all

  std::int64_t size() const { return targets.size(0); }
  /// With its tensors on a device, but for the numbers of its samples.
  Part on(torch::Device device) const {
    Part there{.features = {}, .masks = {}, .targets = targets.to(device), .samples = samples};
    for (const auto& [name, x] : features) there.features[name] = x.to(device);
    for (const auto& [name, mask] : masks) there.masks[name] = mask.to(device);
    return there;
  }
  Part at(const Tensor& rows) const {
    Part some{.features = {},
              .masks = {},
              .targets = targets.index_select(0, rows),
              .samples = samples.index_select(0, rows)};
    for (const auto& [name, x] : features) some.features[name] = x.index_select(0, rows);
    for (const auto& [name, mask] : masks) some.masks[name] = mask.index_select(0, rows);
    return some;
  }
};

Part part_of(const Dataset& data, Split split, const std::vector<std::string>& labels, const Tensor& ids) {
  std::vector<std::int64_t> rows;
  const Features present = data.present();
  Tensor count = torch::zeros({data.size()}, torch::kInt64);
  for (const auto& [name, there] : present) count += there.to(torch::kInt64);
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const Split own = data.splits.empty() ? Split::train : data.splits[static_cast<std::size_t>(i)];
    if (own == split && (!labels.empty() || count[i].item<std::int64_t>() > 1)) rows.push_back(i);
  }
  const Tensor targets = labels.empty() ? ids : data.numbers(labels);
  Part all{.features = {}, .masks = data.masks, .targets = targets, .samples = torch::arange(data.size())};
  for (const auto& [name, x] : data.features) {
    all.features[name] = x.to(torch::kFloat32);
    if (!all.masks.contains(name)) all.masks[name] = torch::ones({x.size(0), x.size(1)}, torch::kBool);
  }
  return all.at(torch::tensor(rows, torch::kInt64));
}

Features present(const Features& masks) {
  Features there;
  for (const auto& [name, mask] : masks) there[name] = mask.any(1);
  return there;
}

bool shares_a_pair(const Features& there) {
  for (auto a = there.begin(); a != there.end(); ++a) {
    for (auto b = std::next(a); b != there.end(); ++b) {
      if ((a->second & b->second).sum().item<std::int64_t>() > 1) return true;
    }
  }
  return false;
}

Tensor loss_of(TaskModelImpl& model, const Part& part, const Prediction& prediction, const FitOptions& o) {
  switch (o.task) {
    case Task::classify: {
      const Tensor logs = prediction.scores.log_softmax(1);
      const Tensor right = logs.gather(1, part.targets.unsqueeze(1)).mean();
      return -((1 - o.label_smoothing) * right + o.label_smoothing * logs.mean());
    }
    case Task::rank: {
      const std::int64_t count = prediction.scores.size(1);
      return anchor_loss(prediction.vector, model.named_parameters()["label_vectors"],
                         torch::one_hot(part.targets, count).to(torch::kFloat32),
                         {.temperature = o.temperature, .label_smoothing = o.label_smoothing});
    }
    case Task::align:
      break;
  }
  const Features there = present(part.masks);
  if (shares_a_pair(there)) return model.contrast().forward(prediction.vectors, part.targets, there);
  Tensor nothing = torch::zeros({});  // the batch teaches nothing, but its step counts
  for (const auto& [name, x] : prediction.vectors) nothing = nothing + 0 * x.sum();
  return nothing;
}

/// By a model on any device of samples on the CPU; the prediction lies where the model does.
Prediction predict_all(TaskModelImpl& model, const Features& features, const Features& masks, std::int64_t count) {
  const torch::NoGradGuard no_grad;
  const bool training = model.is_training();
  const torch::Device device = model.parameters().front().device();
  model.eval();
  std::vector<Tensor> scores, vectors;
  std::map<std::string, std::vector<Tensor>> weights, each;
  for (std::int64_t first = 0; first < count; first += kPredictBatch) {
    const std::int64_t last = std::min(first + kPredictBatch, count);
    Features x, real;
    for (const auto& [name, all] : features) x[name] = all.slice(0, first, last).to(device, torch::kFloat32);
    for (const auto& [name, all] : masks) real[name] = all.slice(0, first, last).to(device);
    const Prediction part = model.forward(x, real);
    if (part.scores.defined()) scores.push_back(part.scores), vectors.push_back(part.vector);
    for (const auto& [name, w] : part.weights) weights[name].push_back(w);
    for (const auto& [name, v] : part.vectors) each[name].push_back(v);
  }
  model.train(training);
  Prediction whole;
  if (!scores.empty()) whole.scores = torch::cat(scores), whole.vector = torch::cat(vectors);
  for (const auto& [name, parts] : weights) whole.weights[name] = torch::cat(parts);
  for (const auto& [name, parts] : each) whole.vectors[name] = torch::cat(parts);
  return whole;
}

/// Share of first places in the validation split.
double top1_of(const Part& part, const Prediction& prediction) {
  const auto share = [](const Tensor& places) { return (places == 1).to(torch::kFloat64).mean().item<double>(); };
  if (prediction.scores.defined()) {
    return share(ranks(prediction.scores, torch::one_hot(part.targets, prediction.scores.size(1)).to(torch::kBool)));
  }
  const Features there = present(part.masks);
  double sum = 0;
  std::int64_t pairs = 0;
  for (const auto& [first, a] : prediction.vectors) {
    for (const auto& [second, b] : prediction.vectors) {
      const Tensor rows = (there.at(first) & there.at(second)).nonzero().squeeze(1);
      if (first == second || rows.size(0) == 0) continue;
      const Tensor ids = part.targets.index_select(0, rows);
      sum += share(
          ranks(a.index_select(0, rows).matmul(b.index_select(0, rows).t()), ids.unsqueeze(1) == ids.unsqueeze(0)));
      ++pairs;
    }
  }
  return pairs == 0 ? 0 : sum / static_cast<double>(pairs);
}

Json json_of(const EpochLog& log) {
  Json json{{"epoch", log.epoch}, {"loss", log.loss}};
  if (log.val_loss) json["val_loss"] = *log.val_loss;
  if (log.val_top1) json["val_top1"] = *log.val_top1;
  json["learning_rate"] = log.learning_rate;
  json["seconds"] = log.seconds;
  return json;
}

EpochLog epoch_of(const Json& json) {
  EpochLog log{.epoch = detail::get<std::int64_t>(kWho, json, "epoch"),
               .loss = detail::get<double>(kWho, json, "loss"),
               .learning_rate = detail::get<double>(kWho, json, "learning_rate"),
               .seconds = detail::get<double>(kWho, json, "seconds")};
  if (json.contains("val_loss")) log.val_loss = detail::get<double>(kWho, json, "val_loss");
  if (json.contains("val_top1")) log.val_top1 = detail::get<double>(kWho, json, "val_top1");
  return log;
}

/// Of all that decides the result.
std::string fingerprint(const Part& train, const Part& val, const FitOptions& o, const TaskModelOptions& model) {
  detail::Sha256 sum;
  const auto add = [&](const Tensor& tensor) {
    const Tensor whole = tensor.contiguous();
    sum.add(detail::shown(whole));
    sum.add(std::span(static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()));
  };
  for (const Part* part : {&train, &val}) {
    for (const auto& [name, x] : part->features) sum.add(name), add(x);
    for (const auto& [name, mask] : part->masks) sum.add(name), add(mask);
    add(part->targets);
  }
  if (o.label_vectors.defined()) add(o.label_vectors.to(torch::kCPU, torch::kFloat32));
  const FusionOptions& n = model.network;
  for (const Modality modality : o.tune) sum.add("tune " + std::string(to_string(modality)));
  if (!o.tune.empty()) sum.add(Json::array({o.tower_learning_rate, o.tune_blocks, o.tower_batch}).dump());
  sum.add(Json::array({to_string(o.task),
                       to_string(o.fusion),
                       n.hidden_dim,
                       n.num_heads,
                       n.num_layers,
                       n.num_self_layers,
                       n.num_cross_layers,
                       n.ff_dim,
                       model.out_dim,
                       model.labels,
                       model.embedder,
                       o.temperature,
                       o.label_smoothing,
                       o.epochs,
                       o.batch_size,
                       o.learning_rate,
                       o.weight_decay,
                       o.warmup,
                       o.max_gradient_norm,
                       o.modality_dropout,
                       to_string(o.balance),
                       o.patience,
                       o.seed})
              .dump());
  return detail::hex(sum.finish());
}

/// A training under way. Samples, towers' vectors, checkpoints and the result lie on the CPU; the model, what it is
/// given of a batch, losses and the optimiser's state lie on the device.
class Run {
 public:
  /// `towers`: those that are trained too; null: none.
  Run(const Part& train, const Part& val, const FitOptions& options, const TaskModelOptions& model,
      const TunedTowers* towers, torch::Device device)
      : train_(train),
        val_(val),
        options_(options),
        towers_(towers),
        device_(device),
        id_(fingerprint(train, val, options, model)) {
    torch::manual_seed(seed_of(options.seed, 0));
    model_ = TaskModel(model);
    all_ = model_.ptr();
    if (towers != nullptr) {
      all_ = std::make_shared<torch::nn::Module>();
      all_->register_module("model", model_.ptr());
      all_->register_module("towers", towers->module());
    }
    if (options.task == Task::rank) model_->set_label_vectors(options.label_vectors);
    for (auto& [name, tensor] : state_dict(*model_)) detail::set_values(tensor, tensor.detach().to(device));
    const std::vector<std::int64_t> groups = options.balance == Balance::none
                                                 ? std::vector<std::int64_t>(static_cast<std::size_t>(train.size()), 0)
                                                 : groups_of(present(train.masks));
    sampler_.emplace(groups, options.balance == Balance::down ? Sampling::down : Sampling::up, options.seed);
    per_epoch_ = (sampler_->size() + options.batch_size - 1) / options.batch_size;
    steps_ = per_epoch_ * options.epochs;
  }

  FitResult finish() {
    std::vector<ParameterGroup> groups{{model_->parameters(), options_.learning_rate}};
    if (towers_ != nullptr) groups.push_back({towers_->module()->parameters(), options_.tower_learning_rate});
    Trainer trainer(all_, groups,
                    {.steps = steps_,
                     .warmup = options_.warmup,
                     .weight_decay = options_.weight_decay,
                     .max_gradient_norm = options_.max_gradient_norm,
                     .folder = options_.folder});
    resume(trainer);
    model_->train();
    ModalityDropout dropout(options_.modality_dropout);
    std::vector<std::int64_t> order;
    std::int64_t ordered = -1;  // the epoch that `order` is of
    auto began = Clock::now(), saved = began;
    const auto since = [](Clock::time_point then) {
      return std::chrono::duration<double>(Clock::now() - then).count();
    };
    while (trainer.step_count() < steps_ && !stopped()) {
      const std::int64_t step = trainer.step_count(), epoch = step / per_epoch_, place = step % per_epoch_;
      if (epoch != ordered) order = sampler_->indices(ordered = epoch);
      const auto first = order.begin() + place * options_.batch_size;
      const std::vector<std::int64_t> rows(first,
                                           first + std::min<std::int64_t>(options_.batch_size, order.end() - first));
      const double rate = trainer.learning_rate();
      const double loss = update(trainer, dropout, train_.at(torch::tensor(rows, torch::kInt64)));
      if (place + 1 == per_epoch_) {
        end_epoch(
            {.epoch = epoch + 1, .loss = trainer.take_mean_loss(), .learning_rate = rate, .seconds = since(began)});
        began = Clock::now();
      }
      if (place + 1 == per_epoch_ || since(saved) > options_.checkpoint_seconds) {
        trainer.save(state());
        saved = Clock::now();
      }
      if (options_.progress) {
        options_.progress({.step = step + 1,
                           .steps = steps_,
                           .epoch = epoch + 1,
                           .loss = loss,
                           .learning_rate = rate,
                           .val_top1 = history_.empty() ? std::nullopt : history_.back().val_top1});
      }
    }
    return result();
  }

 private:
  double update(Trainer& trainer, ModalityDropout& dropout, Part batch) {
    const auto step = static_cast<std::uint64_t>(trainer.step_count());
    dropout->seed(seed_of(options_.seed, 2 * step + 1));
    torch::manual_seed(seed_of(options_.seed, 2 * step + 2));
    ModalityBatch kept = dropout->forward(batch.features, batch.masks);
    batch.features = std::move(kept.features);
    batch.masks = std::move(kept.masks);
    if (towers_ != nullptr) towers_->embed(batch.features, batch.masks, batch.samples, /*gradients=*/true);
    batch = batch.on(device_);
    const Tensor loss = loss_of(*model_, batch, model_->forward(batch.features, batch.masks), options_);
    trainer.step(loss);
    return loss.item<double>();
  }

  void end_epoch(EpochLog log) {
    if (val_.size() > 0) {
      const torch::NoGradGuard no_grad;
      Features features = val_.features;
      if (towers_ != nullptr) towers_->embed(features, val_.masks, val_.samples, /*gradients=*/false);
      const Prediction prediction = predict_all(*model_, features, val_.masks, val_.size());
      const Part asked = Part{.features = {}, .masks = val_.masks, .targets = val_.targets, .samples = {}}.on(device_);
      log.val_loss = loss_of(*model_, asked, prediction, options_).item<double>();
      log.val_top1 = top1_of(asked, prediction);
    }
    history_.push_back(log);
    write_log();
    const EpochLog* best = best_epoch_ == 0 ? nullptr : &history_[static_cast<std::size_t>(best_epoch_ - 1)];
    const bool better = best == nullptr || !log.val_top1 || *log.val_top1 > *best->val_top1 ||
                        (*log.val_top1 == *best->val_top1 && *log.val_loss < *best->val_loss);
    if (!better) return;
    best_epoch_ = log.epoch;
    best_.clear();
    for (const auto& [name, tensor] : state_dict(*all_)) {
      best_.emplace(name, tensor.detach().to(torch::kCPU, tensor.scalar_type(), false, /*copy=*/true));
    }
  }

  void write_log() const {
    if (options_.folder.empty()) return;
    std::filesystem::create_directories(options_.folder);
    detail::write_atomically(kWho, options_.folder / kLog, [&](std::ostream& out) {
      for (const EpochLog& log : history_) out << json_of(log).dump() << '\n';
    });
  }

  bool stopped() const {
    return options_.patience > 0 && val_.size() > 0 && std::ssize(history_) - best_epoch_ >= options_.patience;
  }

  TrainerExtra state() const {
    TrainerExtra extra{.tensors = best_, .metadata = {{"run", id_}, {"best_epoch", std::to_string(best_epoch_)}}};
    Json history = Json::array();
    for (const EpochLog& log : history_) history.push_back(json_of(log));
    extra.metadata["history"] = history.dump();
    return extra;
  }

  void resume(Trainer& trainer) {
    TrainerExtra extra;
    if (!trainer.resume(&extra)) return;
    if (extra.metadata["run"] != id_) {
      detail::failure(kWho, options_.folder.string(),
                      " holds a training of other data or options: move it away or choose another folder");
    }
    for (const Json& log : detail::parse_json(kWho, extra.metadata["history"], "the history of the checkpoint")) {
      history_.push_back(epoch_of(log));
    }
    best_epoch_ = std::stoll(extra.metadata.at("best_epoch"));
    best_ = std::move(extra.tensors);
  }

  FitResult result() {
    const torch::NoGradGuard no_grad;
    copy_weights(*all_, best_);
    TaskModelOptions named = model_->options();
    std::optional<Embedder> embedder;
    if (towers_ != nullptr) {
      const std::filesystem::path folder = options_.folder / kEmbedder;
      towers_->save(folder);
      embedder = load_beside(towers_->model(), folder);
      named.embedder = embedder->fingerprint();
    }
    TaskModel kept(named);
    copy_weights(*kept, state_dict(*model_));
    kept->eval();
    if (!options_.folder.empty()) {
      write_log();
      kept->save(options_.folder);
    }
    return {.model = kept,
            .history = history_,
            .best_epoch = best_epoch_,
            .stopped_early = stopped(),
            .embedder = embedder};
  }

  const Part& train_;
  const Part& val_;
  const FitOptions& options_;
  const TunedTowers* towers_;
  torch::Device device_;
  std::string id_;
  TaskModel model_{nullptr};
  std::shared_ptr<torch::nn::Module> all_;  ///< the model, with the towers where some are tuned
  std::optional<BalancedSampler> sampler_;
  std::int64_t per_epoch_ = 0;
  std::int64_t steps_ = 0;
  std::vector<EpochLog> history_;
  std::int64_t best_epoch_ = 0;
  std::map<std::string, Tensor> best_;
};

FitResult fit_data(const Dataset& data, const FitOptions& options, const std::string& embedder,
                   const TunedTowers* towers) {
  check_options(options);
  const torch::Device device = options.device.value_or(detail::load_device());
  const LoadDevice scope(device);  // refuses one that is not here
  Dataset split = data;
  for (Features* some : {&split.features, &split.masks}) {
    for (auto& [name, x] : *some) x = x.defined() ? x.to(torch::kCPU) : x;
  }
  split.check();
  if (split.splits.empty()) split.splits.assign(static_cast<std::size_t>(data.size()), Split::train);
  const Dataset train_data = split.of(Split::train);
  if (train_data.size() == 0) detail::bad_argument(kWho, "there is no train sample");
  for (const auto& [name, there] : train_data.present()) {
    if (!there.any().item<bool>()) detail::bad_argument(kWho, "no train sample has the modality '", name, "'");
  }
  TaskModelOptions model{.task = options.task,
                         .labels = labels_of(split, train_data, options.task),
                         .fusion = options.fusion,
                         .network = options.network,
                         .embedder = embedder};
  for (const auto& [name, x] : data.features) model.inputs[name] = x.size(2);
  if (options.task == Task::align) model.out_dim = options.out_dim;
  if (options.task == Task::rank) {
    if (!detail::is_floats(options.label_vectors, {std::ssize(model.labels), -1})) {
      detail::bad_argument(kWho, "label_vectors must be floats (", model.labels.size(),
                           ", D), a row for each label; got ", detail::shown(options.label_vectors));
    }
    model.out_dim = options.label_vectors.size(1);
  }
  const Tensor ids = id_numbers(split);
  const Part train = part_of(split, Split::train, model.labels, ids),
             val = part_of(split, Split::val, model.labels, ids);
  if (options.task == Task::align && !shares_a_pair(present(train.masks))) {
    detail::bad_argument(kWho, "no two train samples have the same two modalities: there is nothing to align");
  }
  const detail::RandomState untouched;
  return Run(train, val, options, model, towers, device).finish();
}

}  // namespace

std::string_view to_string(Balance balance) { return detail::name_of(kBalances, balance); }

Balance balance(std::string_view name) {
  if (const auto known = detail::value_of(kBalances, name)) return *known;
  detail::bad_argument("balance", "a balance is none, up or down, not '", name, "'");
}

FitResult fit(const Dataset& data, const FitOptions& options) {
  if (!options.tune.empty()) detail::bad_argument(kWho, "towers are tuned by samples, the data are vectors");
  return fit_data(data, options, "", nullptr);
}

FitResult fit(FeatureStore& store, const std::vector<Sample>& samples, FitOptions options,
              std::vector<SkippedInput>* skipped, const std::function<void(std::int64_t, std::int64_t)>& embedding) {
  if (!options.device) options.device = store.embedder().device();
  std::optional<TunedTowers> towers;
  if (!options.tune.empty()) {
    check_options(options);  // before anything is embedded
    if (options.folder.empty()) detail::bad_argument(kWho, "to tune towers a folder is wanted, where they are written");
    std::ranges::sort(options.tune);
    const auto twice = std::ranges::unique(options.tune);
    options.tune.erase(twice.begin(), twice.end());
    towers.emplace(store.embedder(), options);
  }
  std::vector<SkippedInput> unread;
  const Dataset data = store.load(samples, &unread, embedding);
  if (towers) towers->set_samples(samples, unread);
  if (skipped != nullptr) skipped->insert(skipped->end(), unread.begin(), unread.end());
  if (options.task == Task::rank && !options.label_vectors.defined()) {
    if (const auto classes = data.classes(); !classes.empty()) options.label_vectors = store.texts(classes);
  }
  return fit_data(data, options, store.embedder().fingerprint(), towers ? &*towers : nullptr);
}

Tensor ranks(const Tensor& scores, const Tensor& right) {
  const Tensor best = scores.masked_fill(~right, -INFINITY).amax(1, /*keepdim=*/true);
  return ((scores >= best) & ~right).sum(1) + 1;
}

Prediction predict(TaskModel& model, const Dataset& data) {
  Prediction made = predict_all(*model, data.features, data.masks, data.size());
  for (Tensor* one : {&made.scores, &made.vector}) {
    if (one->defined()) *one = one->to(torch::kCPU);
  }
  for (Features* some : {&made.weights, &made.vectors}) {
    for (auto& [name, x] : *some) x = x.to(torch::kCPU);
  }
  return made;
}

Tensor id_numbers(const Dataset& data) {
  std::unordered_map<std::string, std::int64_t> places;
  Tensor numbers = torch::empty({data.size()}, torch::kInt64);
  auto* values = numbers.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < static_cast<std::size_t>(data.size()); ++i) {
    const std::string id = data.ids.empty() ? "" : data.ids[i], label = data.labels.empty() ? "" : data.labels[i];
    const std::string own = !id.empty()      ? "id " + id
                            : !label.empty() ? "label " + label
                                             : "sample " + std::to_string(i);
    values[i] = places.emplace(own, std::ssize(places)).first->second;
  }
  return numbers;
}

}  // namespace trine::train
