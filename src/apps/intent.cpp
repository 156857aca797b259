#include "trine/apps/intent.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "tensor_check.h"
#include "trine/layers.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "IntentClassifier";
constexpr const char* kOutOfScope = "out_of_scope";
/// Variances of the weights before anything is seen, from the strongest pull to zero to the weakest.
constexpr std::array kVariances{3.0, 10.0, 30.0, 100.0, 300.0};
constexpr std::int64_t kManyExamples = 2'000;  ///< from here on one fold says enough
/// How much of out_of_scope's own evidence counts against a text. Chosen on CLINC150's validation part.
constexpr float kOtherWeight = 0.5f;

using Examples = std::map<std::string, std::vector<std::string>>;

/// Evidence for each class is x W' + b.
struct Head {
  Tensor weight;  ///< (K, D)
  Tensor bias;    ///< (K)

  Tensor logits(const Tensor& x) const { return torch::addmm(bias, x, weight.t()); }
};

/// The multinomial logistic head that is most likely, from `head` on. x (N, D), y (N) int64
void fit_head(Head& head, const Tensor& x, const Tensor& y, double variance) {
  const torch::AutoGradMode gradients(true);
  head.weight = head.weight.detach().clone().requires_grad_();
  head.bias = head.bias.detach().clone().requires_grad_();
  torch::optim::LBFGS optimiser({head.weight, head.bias}, torch::optim::LBFGSOptions(1)
                                                              .max_iter(50)
                                                              .history_size(10)
                                                              .tolerance_grad(1e-5)
                                                              .tolerance_change(1e-8)
                                                              .line_search_fn("strong_wolfe"));
  const double pull = 0.5 / (variance * static_cast<double>(x.size(0)));
  optimiser.step([&] {
    optimiser.zero_grad();
    const Tensor loss = torch::nn::functional::cross_entropy(head.logits(x), y) + pull * head.weight.square().sum();
    loss.backward();
    return loss;
  });
  head.weight = head.weight.detach();
  head.bias = head.bias.detach();
}

/// Sentences as vectors with the numbers of their classes, and which fold each belongs to.
struct Table {
  Tensor x = {};     ///< (N, D)
  Tensor y = {};     ///< (N) int64
  Tensor fold = {};  ///< (N) int64
  std::int64_t classes = 0;
  std::int64_t intents = 0;  ///< the first of the classes; out_of_scope, if it is there, is the last

  Head blank() const { return {torch::zeros({classes, x.size(1)}), torch::zeros({classes})}; }
};

/// The temperature that makes the right classes most likely, and their log loss at it. logits (M, K), y (M)
std::pair<float, double> best_temperature(const Tensor& logits, const Tensor& y) {
  std::pair<float, double> best{1.0f, INFINITY};
  for (double temperature = 0.2; temperature < 5; temperature *= 1.05) {
    const double loss = torch::nn::functional::cross_entropy(logits / temperature, y).item<double>();
    if (loss < best.second) best = {static_cast<float>(temperature), loss};
  }
  return best;
}

/// What heads that have not seen a sentence say of it.
struct HeldOut {
  Tensor logits = {};  ///< (M, K)
  Tensor y = {};       ///< (M)
  double loss = INFINITY;
};

/// Cross-validation of every variance: what the best of them says, and which it is.
std::pair<HeldOut, double> cross_validate(const Table& table, std::int64_t folds) {
  std::vector<std::vector<Tensor>> logits(kVariances.size());
  std::vector<Tensor> y;
  const std::int64_t tried = table.x.size(0) > kManyExamples ? 1 : folds;
  for (std::int64_t fold = 0; fold < tried; ++fold) {
    const Tensor out = table.fold == fold;
    const Tensor x = table.x.index({~out}), wanted = table.y.index({~out});
    Head head = table.blank();
    for (std::size_t i = 0; i < kVariances.size(); ++i) {
      fit_head(head, x, wanted, kVariances[i]);
      logits[i].push_back(head.logits(table.x.index({out})));
    }
    y.push_back(table.y.index({out}));
  }
  HeldOut best{.y = torch::cat(y)};
  double variance = kVariances[0];
  for (std::size_t i = 0; i < kVariances.size(); ++i) {
    const Tensor all = torch::cat(logits[i]);
    const double loss = best_temperature(all, best.y).second;  // temperature is fitted anyway
    if (loss >= best.loss) continue;
    best.loss = loss;
    best.logits = all;
    variance = kVariances[i];
  }
  return {best, variance};
}

/// How much speaks for the best intent, less what speaks for none. logits (N, K) -> (N)
Tensor evidence(const Tensor& logits, std::int64_t intents) {
  const Tensor best = logits.slice(1, 0, intents).amax(1);
  return logits.size(1) == intents ? best : best - kOtherWeight * logits.select(1, intents);
}

std::string rounded(double value) {
  std::ostringstream out;
  out.precision(3);
  out << std::fixed << value;
  return out.str();
}

/// Refuses what no head could learn from.
void check(const Examples& examples, const IntentOptions& options) {
  if (options.folds < 2) detail::bad_argument(kWho, "folds must be at least 2, got ", options.folds);
  if (!(options.kept > 0 && options.kept <= 1)) {
    detail::bad_argument(kWho, "kept must be above 0 and at most 1, got ", options.kept);
  }
  const std::size_t intents = examples.size() - (examples.contains(kOutOfScope) ? 1 : 0);
  if (intents < 2) detail::bad_argument(kWho, "wanted examples of two intents at least, got ", intents);
  for (const auto& [label, sentences] : examples) {
    if (label.empty()) detail::bad_argument(kWho, "the name of an intent must not be empty");
    if (sentences.size() < 2) {
      detail::bad_argument(kWho, "wanted two examples of ", detail::shown(label), " at least, got ", sentences.size());
    }
    for (const std::string& sentence : sentences) {
      if (sentence.find_first_not_of(" \t\r\n") == std::string::npos) {
        detail::bad_argument(kWho, "an example of ", detail::shown(label), " is empty");
      }
    }
  }
}

Examples read_examples(const fs::path& path) {
  const Json json = detail::read_json(kWho, path, {.unique_keys = true});
  if (!json.is_object()) detail::failure(kWho, path, " must hold an object {intent: [sentences]}");
  Examples examples;
  for (const auto& [label, sentences] : json.items()) {
    const bool texts =
        sentences.is_array() && std::ranges::all_of(sentences, [](const Json& s) { return s.is_string(); });
    if (!texts) detail::failure(kWho, path, ": ", detail::shown(label), " must be a list of sentences");
    examples[label] = sentences.get<std::vector<std::string>>();
  }
  return examples;
}

}  // namespace

struct IntentClassifier::Impl {
  Embedder embedder;
  std::vector<std::string> labels = {};
  Head head = {};
  float temperature = 1;
  float threshold = 0;  ///< least evidence of a text in scope
  Description facts = {};

  /// x (N, D), of unit length
  std::vector<Intent> understand(const Tensor& x) const {
    const torch::NoGradGuard no_grad;
    const Tensor logits = head.logits(x);
    const Tensor in_scope = evidence(logits, std::ssize(labels)) >= threshold;
    const auto [shares, order] = (logits.slice(1, 0, std::ssize(labels)) / temperature)
                                     .softmax(1)
                                     .sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    const auto share = shares.accessor<float, 2>();
    const auto label = order.accessor<std::int64_t, 2>();
    std::vector<Intent> intents(static_cast<std::size_t>(x.size(0)));
    for (std::int64_t i = 0; i < x.size(0); ++i) {
      Intent& intent = intents[static_cast<std::size_t>(i)];
      intent.in_scope = in_scope[i].item<bool>();
      for (std::int64_t j = 0; j < std::ssize(labels); ++j) {
        intent.scores.push_back({labels[static_cast<std::size_t>(label[i][j])], share[i][j]});
      }
    }
    return intents;
  }
};

IntentClassifier::IntentClassifier(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

IntentClassifier IntentClassifier::load(const Embedder& embedder, const fs::path& path) {
  const fs::path file = path.empty() ? embedder.directory() / "intents.json" : path;
  const Examples examples = read_examples(file);
  try {
    return fit(embedder, examples);
  } catch (const std::invalid_argument& error) {  // the file's mistake, not the caller's
    detail::failure(kWho, file, ": ", error.what());
  }
}

IntentClassifier IntentClassifier::fit(const Embedder& embedder, const Examples& examples,
                                       const IntentOptions& options) {
  check(examples, options);
  auto impl = std::make_shared<Impl>(Impl{.embedder = embedder});
  for (const auto& [label, sentences] : examples) {
    if (label != kOutOfScope) impl->labels.push_back(label);
  }
  Table table{.classes = std::ssize(examples), .intents = std::ssize(impl->labels)};
  std::vector<std::string> names = impl->labels, texts;
  if (table.classes > table.intents) names.emplace_back(kOutOfScope);
  std::vector<std::int64_t> y, fold;
  for (std::size_t k = 0; k < names.size(); ++k) {
    for (const std::string& sentence : examples.at(names[k])) {
      fold.push_back((y.empty() || y.back() != static_cast<std::int64_t>(k) ? 0 : fold.back() + 1) % options.folds);
      y.push_back(static_cast<std::int64_t>(k));
      texts.push_back(sentence);
    }
  }
  table.x = embedder.embed_texts(texts);
  table.y = torch::tensor(y);
  table.fold = torch::tensor(fold);

  const auto [held_out, variance] = cross_validate(table, options.folds);
  const Tensor inside = held_out.y < table.intents;
  const Tensor logits = held_out.logits.index({inside}), wanted = held_out.y.index({inside});
  const Tensor own = logits.slice(1, 0, table.intents);
  impl->temperature = best_temperature(own, wanted).first;
  const Tensor found = evidence(held_out.logits, table.intents);
  impl->threshold = found.index({inside}).quantile(1 - options.kept).item<float>();
  impl->head = table.blank();
  for (const double step : kVariances) {
    if (step <= variance) fit_head(impl->head, table.x, table.y, step);
  }

  const auto count = [](const Tensor& which) { return which.sum().item<std::int64_t>(); };
  const std::int64_t examples_in = count(table.y < table.intents);
  impl->facts = {
      {"intents", std::to_string(table.intents) + ", from " + std::to_string(examples_in) + " examples"},
      {"head", "multinomial logistic on sentence vectors, variance of the weights " + rounded(variance) +
                   " and temperature " + rounded(impl->temperature) + " by cross-validation"},
      {"cross-validation", "accuracy " + rounded((own.argmax(1) == wanted).to(torch::kFloat32).mean().item<double>()) +
                               " of " + std::to_string(wanted.size(0)) + " held-out examples"}};
  if (table.classes > table.intents) {
    const Tensor caught = found.index({~inside}) < impl->threshold;
    impl->facts.emplace_back(
        "out of scope", std::to_string(table.x.size(0) - examples_in) + " examples, " + std::to_string(count(caught)) +
                            " of " + std::to_string(caught.size(0)) + " found when held out; threshold keeps " +
                            rounded(options.kept) + " of the others");
  } else {
    impl->facts.emplace_back("out of scope",
                             "no examples; threshold keeps " + rounded(options.kept) + " of the others");
  }
  return IntentClassifier(impl);
}

Intent IntentClassifier::understand(const std::string& text) const { return understand(std::vector{text})[0]; }

Intent IntentClassifier::understand(const Tensor& text_vector) const {
  if (!detail::is_floats(text_vector, {impl_->embedder.dim()}) || !text_vector.isfinite().all().item<bool>()) {
    detail::bad_argument(kWho, "wanted a vector of ", impl_->embedder.dim(), " finite floats, got ",
                         detail::shown(text_vector));
  }
  return impl_->understand(normalise(text_vector.detach().to(torch::kFloat32)).unsqueeze(0))[0];
}

std::vector<Intent> IntentClassifier::understand(const std::vector<std::string>& texts) const {
  return impl_->understand(impl_->embedder.embed_texts(texts));
}

const std::vector<std::string>& IntentClassifier::labels() const { return impl_->labels; }

Description IntentClassifier::describe() const { return impl_->facts; }

}  // namespace trine
