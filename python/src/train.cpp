#include "trine/device.h"
#include "trine/train/fit.h"
#include "trine/train/loss.h"
#include "trine/train/sampler.h"

#include "module.h"

namespace trine::python {
namespace {

using namespace trine::train;
using Pairs = std::vector<std::tuple<std::string, std::string, double>>;

std::vector<ContrastivePair> pairs_from(const Pairs& given) {
  std::vector<ContrastivePair> pairs;
  for (const auto& [first, second, weight] : given) pairs.push_back({first, second, weight});
  return pairs;
}

/// The default pairs as the dict that Python shows: {(first, second): weight}
py::dict to_dict(const std::vector<ContrastivePair>& pairs) {
  py::dict result;
  for (const auto& [first, second, weight] : pairs) result[py::make_tuple(first, second)] = weight;
  return result;
}

void bind_loss(py::module_& m) {
  m.attr("CONTRASTIVE_PAIRS") = to_dict(ContrastiveLossOptions().pairs);
  m.def(
      "contrastive_loss",
      [](const Features& embeddings, const std::variant<double, torch::Tensor>& temperature,
         const std::optional<torch::Tensor>& ids, const Features& present, const Pairs& pairs) {
        return contrastive_loss(embeddings, {.temperature = temperature,
                                             .ids = ids.value_or(torch::Tensor()),
                                             .present = present,
                                             .pairs = pairs_from(pairs)});
      },
      NoGil());

  bind_learned<ContrastiveLossImpl>(m, "ContrastiveLoss")
      .def(py::init([](double temperature, bool learnable, const Pairs& pairs) {
        return std::make_shared<ContrastiveLossImpl>(temperature, learnable, pairs_from(pairs));
      }))
      .def_property_readonly("options",
                             [](const ContrastiveLossImpl& self) {
                               return py::dict(py::arg("temperature") = self.temperature(),
                                               py::arg("learnable") = self.learnable(),
                                               py::arg("pairs") = to_dict(self.pairs()));
                             })
      .def_property_readonly("temperature", &ContrastiveLossImpl::temperature)
      .def(
          "forward",
          [](ContrastiveLossImpl& self, const Features& embeddings, const std::optional<torch::Tensor>& ids,
             const Features& present) { return self.forward(embeddings, ids.value_or(torch::Tensor()), present); },
          NoGil());
}

void bind_sampler(py::module_& m) {
  py::class_<ModalityDropoutImpl, std::shared_ptr<ModalityDropoutImpl>>(m, "ModalityDropout")
      .def(py::init<double, std::uint64_t>())
      .def_property_readonly("probability", &ModalityDropoutImpl::probability)
      .def("train", [](ModalityDropoutImpl& self, bool on) { self.train(on); })
      .def("seed", &ModalityDropoutImpl::seed)
      .def_property("state", &ModalityDropoutImpl::state, &ModalityDropoutImpl::set_state)
      .def("forward", [](ModalityDropoutImpl& self, const Features& features, const Features& masks) {
        const py::gil_scoped_release unlocked;
        ModalityBatch batch = self.forward(features, masks);
        return std::pair(std::move(batch.features), std::move(batch.masks));
      });

  m.def("groups_of", [](const Features& present) { return torch::tensor(groups_of(present)); }, NoGil());
  py::class_<BalancedSampler>(m, "BalancedSampler")
      .def(py::init([](const torch::Tensor& numbers, const std::string& sampling, std::uint64_t seed) {
        if (sampling != "up" && sampling != "down") {
          throw std::invalid_argument("[BalancedSampler] sampling is up or down, not '" + sampling + "'");
        }
        const torch::Tensor groups = numbers.contiguous();
        const auto* first = groups.const_data_ptr<std::int64_t>();
        return BalancedSampler({first, first + groups.numel()}, sampling == "up" ? Sampling::up : Sampling::down, seed);
      }))
      .def("__len__", &BalancedSampler::size)
      .def(
          "indices", [](const BalancedSampler& self, std::int64_t epoch) { return torch::tensor(self.indices(epoch)); },
          NoGil());
}

/// The constructor's arguments, as the Python class names them.
py::dict model_options(const TaskModelImpl& model) {
  const TaskModelOptions& o = model.options();
  return py::dict(py::arg("task") = std::string(to_string(o.task)), py::arg("inputs") = o.inputs,
                  py::arg("labels") = o.labels, py::arg("out_dim") = o.out_dim,
                  py::arg("fusion") = std::string(to_string(o.fusion)), py::arg("hidden_dim") = o.network.hidden_dim,
                  py::arg("num_heads") = o.network.num_heads, py::arg("num_layers") = o.network.num_layers,
                  py::arg("num_self_layers") = o.network.num_self_layers,
                  py::arg("num_cross_layers") = o.network.num_cross_layers, py::arg("ff_dim") = o.network.ff_dim,
                  py::arg("embedder") = o.embedder);
}

void bind_model(py::module_& m) {
  bind_learned<TaskModelImpl>(m, "TaskModel")
      .def(py::init([](const std::string& task_name, const std::map<std::string, std::int64_t>& inputs,
                       const std::vector<std::string>& labels, std::int64_t out_dim, const std::string& fusion,
                       std::int64_t hidden_dim, std::int64_t num_heads, std::int64_t num_layers,
                       std::int64_t num_self_layers, std::int64_t num_cross_layers, std::int64_t ff_dim,
                       const std::string& embedder) {
             return std::make_shared<TaskModelImpl>(TaskModelOptions{.task = task(task_name),
                                                                     .inputs = inputs,
                                                                     .labels = labels,
                                                                     .out_dim = out_dim,
                                                                     .fusion = fusion_type(fusion),
                                                                     .network = {.modalities = {},
                                                                                 .hidden_dim = hidden_dim,
                                                                                 .num_heads = num_heads,
                                                                                 .num_layers = num_layers,
                                                                                 .num_self_layers = num_self_layers,
                                                                                 .num_cross_layers = num_cross_layers,
                                                                                 .ff_dim = ff_dim},
                                                                     .embedder = embedder});
           }),
           py::kw_only(), py::arg("task"), py::arg("inputs"), py::arg("labels"), py::arg("out_dim"), py::arg("fusion"),
           py::arg("hidden_dim"), py::arg("num_heads"), py::arg("num_layers"), py::arg("num_self_layers"),
           py::arg("num_cross_layers"), py::arg("ff_dim"), py::arg("embedder"))
      .def_property_readonly("options", &model_options)
      .def("forward", [](TaskModelImpl& self, const Features& features, const Features& masks) {
        const py::gil_scoped_release unlocked;
        Prediction p = self.forward(features, masks);
        return std::tuple(p.scores, p.vector, p.weights, p.vectors);
      });
}

std::vector<Split> splits_from(const std::vector<std::string>& names) {
  std::vector<Split> splits;
  for (const std::string& name : names) splits.push_back(split(name));
  return splits;
}

/// (features, masks, labels, ids, splits)
py::tuple to_tuple(const Dataset& data) {
  std::vector<std::string> splits;
  for (const Split s : data.splits) splits.emplace_back(to_string(s));
  return py::make_tuple(data.features, data.masks, data.labels, data.ids, splits);
}

/// [(sample, modality, input, why)]
py::list to_list(const std::vector<SkippedInput>& skipped) {
  py::list list;
  for (const auto& [sample, modality, input, why] : skipped) list.append(py::make_tuple(sample, modality, input, why));
  return list;
}

void bind_dataset(py::module_& m) {
  py::class_<Sample>(m, "Sample", "A line of a manifest.")
      .def_readonly("inputs", &Sample::inputs, "Files or texts by modality.")
      .def_readonly("label", &Sample::label, "Its class; empty where it has none.")
      .def_readonly("id", &Sample::id, "Samples of one id show one thing; empty where it has none.")
      .def_readonly("set", &Sample::set, "A group to count apart; empty where it has none.")
      .def_property_readonly(
          "split", [](const Sample& self) { return std::string(to_string(self.split)); }, "train, val or test.")
      .def_readonly("line", &Sample::line, "Its number in the manifest, from 1.")
      .def("__repr__", [](const Sample& self) {
        return "Sample(line " + std::to_string(self.line) + ", " + std::string(to_string(self.split)) + ", label '" +
               self.label + "')";
      });
  m.def("read_manifest", &read_manifest, NoGil());
  py::class_<FeatureStore>(m, "FeatureStore")
      .def(py::init<const Embedder&, const std::filesystem::path&>(), NoGil())
      .def_property_readonly("folder", &FeatureStore::folder)
      .def_property_readonly("computed", &FeatureStore::computed)
      .def("load", [](FeatureStore& self, const std::vector<Sample>& samples, const py::object& progress) {
        std::vector<SkippedInput> skipped;
        Dataset data;
        {
          const py::gil_scoped_release unlocked;
          data = self.load(samples, &skipped, reporter(progress));
        }
        return py::make_tuple(to_tuple(data), to_list(skipped));
      });
}

FitOptions fit_options(const py::dict& given) {
  FitOptions o;
  const auto take = [&](const char* key, auto& value) { value = given[key].cast<std::decay_t<decltype(value)>>(); };
  o.task = task(given["task"].cast<std::string>());
  o.fusion = fusion_type(given["fusion"].cast<std::string>());
  o.balance = balance(given["balance"].cast<std::string>());
  take("hidden_dim", o.network.hidden_dim);
  take("num_heads", o.network.num_heads);
  take("ff_dim", o.network.ff_dim);
  take("num_layers", o.network.num_layers);
  take("num_self_layers", o.network.num_self_layers);
  take("num_cross_layers", o.network.num_cross_layers);
  take("out_dim", o.out_dim);
  if (!given["label_vectors"].is_none()) take("label_vectors", o.label_vectors);
  take("temperature", o.temperature);
  take("label_smoothing", o.label_smoothing);
  take("epochs", o.epochs);
  take("batch_size", o.batch_size);
  take("learning_rate", o.learning_rate);
  take("weight_decay", o.weight_decay);
  take("warmup", o.warmup);
  take("max_gradient_norm", o.max_gradient_norm);
  take("modality_dropout", o.modality_dropout);
  take("patience", o.patience);
  take("seed", o.seed);
  if (!given["device"].is_none()) o.device = device(given["device"].cast<std::string>());
  for (const auto& name : given["tune"].cast<std::vector<std::string>>()) o.tune.push_back(modality(name));
  take("tower_learning_rate", o.tower_learning_rate);
  take("tune_blocks", o.tune_blocks);
  take("tower_batch", o.tower_batch);
  if (!given["folder"].is_none()) take("folder", o.folder);
  take("checkpoint_seconds", o.checkpoint_seconds);
  return o;
}

/// (model, history as dicts, best epoch, whether it was stopped)
py::tuple to_tuple(const FitResult& result) {
  py::list history;
  for (const EpochLog& log : result.history) {
    py::dict line(py::arg("epoch") = log.epoch, py::arg("loss") = log.loss);
    if (log.val_loss) line["val_loss"] = *log.val_loss;
    if (log.val_top1) line["val_top1"] = *log.val_top1;
    line["learning_rate"] = log.learning_rate;
    line["seconds"] = log.seconds;
    history.append(line);
  }
  return py::make_tuple(result.model.ptr(), history, result.best_epoch, result.stopped_early);
}

/// Runs `train`, which takes the options, without the lock.
template <typename Train>
py::tuple fitted(const py::dict& given, const py::object& progress, const Train& train) {
  FitOptions options = fit_options(given);
  options.progress = [&progress](const FitProgress& now) {
    tell(progress, [&] { progress(now.step, now.steps, now.epoch, now.loss, now.learning_rate, now.val_top1); });
  };
  FitResult result;
  {
    const py::gil_scoped_release unlocked;
    result = train(options);
  }
  return to_tuple(result);
}

void bind_fit(py::module_& m) {
  m.def("fit", [](const Features& features, const Features& masks, const std::vector<std::string>& labels,
                  const std::vector<std::string>& ids, const std::vector<std::string>& splits, const py::dict& options,
                  const py::object& progress) {
    const Dataset data{
        .features = features, .masks = masks, .labels = labels, .ids = ids, .splits = splits_from(splits)};
    return fitted(options, progress, [&](const FitOptions& o) { return fit(data, o); });
  });
  m.def("fit_samples", [](FeatureStore& store, const std::vector<Sample>& samples, const py::dict& options,
                          const py::object& progress, const py::object& embedding) {
    std::vector<SkippedInput> skipped;
    const py::tuple result = fitted(
        options, progress, [&](const FitOptions& o) { return fit(store, samples, o, &skipped, reporter(embedding)); });
    return py::make_tuple(result, to_list(skipped));
  });
}

}  // namespace

void bind_train(py::module_& m) {
  bind_loss(m);
  bind_sampler(m);
  bind_model(m);
  bind_dataset(m);
  bind_fit(m);
}

}  // namespace trine::python
