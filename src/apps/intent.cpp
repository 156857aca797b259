#include "trine/apps/intent.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "apps/word_evidence.h"
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
/// How much of the evidence of single words is added to that of the sentence's vector.
constexpr std::array kShares{0.0f, 0.1f, 0.2f};
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
  Tensor x = {};  ///< (N, D)
  Tensor y = {};  ///< (N) int64
  std::vector<detail::Tokens> tokens = {};
  Tensor fold = {};  ///< (N) int64
  std::int64_t classes = 0;
  std::int64_t intents = 0;  ///< the first of the classes; out_of_scope, if it is there, is the last

  Head blank() const { return {torch::zeros({classes, x.size(1)}), torch::zeros({classes})}; }

  /// Of the sentences that `which` (N) bool has.
  std::vector<detail::Tokens> tokens_of(const Tensor& which) const {
    std::vector<detail::Tokens> chosen;
    for (std::int64_t i = 0; i < x.size(0); ++i) {
      if (which[i].item<bool>()) chosen.push_back(tokens[static_cast<std::size_t>(i)]);
    }
    return chosen;
  }
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

/// What a fit that has not seen a sentence says of it, and with which choices it says most.
struct HeldOut {
  Tensor of_vectors = {};  ///< (M, K)
  Tensor of_words = {};    ///< (M, K)
  Tensor y = {};           ///< (M)
  double variance = 0;
  float share = 0;  ///< of the words
};

/// Cross-validation of every variance and share of the words.
HeldOut cross_validate(const Table& table, std::int64_t folds) {
  std::vector<std::vector<Tensor>> of_vectors(kVariances.size());
  std::vector<Tensor> of_words, y;
  const std::int64_t tried = table.x.size(0) > kManyExamples ? 1 : folds;
  for (std::int64_t fold = 0; fold < tried; ++fold) {
    const Tensor out = table.fold == fold;
    const Tensor x = table.x.index({~out}), wanted = table.y.index({~out});
    Head head = table.blank();
    for (std::size_t i = 0; i < kVariances.size(); ++i) {
      fit_head(head, x, wanted, kVariances[i]);
      of_vectors[i].push_back(head.logits(table.x.index({out})));
    }
    of_words.push_back(detail::WordEvidence(table.tokens_of(~out), wanted, table.classes).of(table.tokens_of(out)));
    y.push_back(table.y.index({out}));
  }
  HeldOut best{.of_words = torch::cat(of_words), .y = torch::cat(y)};
  double least = INFINITY;
  for (std::size_t i = 0; i < kVariances.size(); ++i) {
    const Tensor logits = torch::cat(of_vectors[i]);
    for (const float share : kShares) {
      const double loss = best_temperature(logits + share * best.of_words, best.y).second;  // it is fitted anyway
      if (loss >= least) continue;
      least = loss;
      best.of_vectors = logits;
      best.variance = kVariances[i];
      best.share = share;
    }
  }
  return best;
}

/// How much speaks for the best intent, less what speaks for none. logits (N, K) -> (N)
Tensor evidence(const Tensor& logits, std::int64_t intents) {
  const Tensor best = logits.slice(1, 0, intents).amax(1);
  return logits.size(1) == intents ? best : best - kOtherWeight * logits.select(1, intents);
}

/// What makes evidence a probability and a yes or no.
struct Scale {
  float temperature = 1;
  float threshold = 0;  ///< least evidence of a text in scope
};

/// logits (M, K), y (M)
Scale fit_scale(const Tensor& logits, const Tensor& y, std::int64_t intents, double kept) {
  const Tensor inside = logits.index({y < intents});
  return {best_temperature(inside.slice(1, 0, intents), y.index({y < intents})).first,
          evidence(inside, intents).quantile(1 - kept).item<float>()};
}

std::vector<detail::Tokens> tokens_of(const Embedder& embedder, const std::vector<std::string>& texts) {
  std::vector<detail::Tokens> tokens;
  for (const std::string& text : texts) tokens.push_back(embedder.tokenize(text));
  return tokens;
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
  detail::WordEvidence words = {};
  float share_of_words = 0;  ///< in the evidence for a text
  Scale of_vectors = {};     ///< of a vector alone
  Scale of_texts = {};       ///< with the words
  Description facts = {};

  std::vector<Intent> intents_of(const Tensor& logits, const Scale& scale) const {
    const torch::NoGradGuard no_grad;
    const Tensor in_scope = evidence(logits, std::ssize(labels)) >= scale.threshold;
    const auto [shares, order] = (logits.slice(1, 0, std::ssize(labels)) / scale.temperature)
                                     .softmax(1)
                                     .sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    const auto share = shares.accessor<float, 2>();
    const auto label = order.accessor<std::int64_t, 2>();
    std::vector<Intent> intents(static_cast<std::size_t>(logits.size(0)));
    for (std::int64_t i = 0; i < logits.size(0); ++i) {
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
  table.tokens = tokens_of(embedder, texts);
  table.y = torch::tensor(y);
  table.fold = torch::tensor(fold);

  const HeldOut held_out = cross_validate(table, options.folds);
  const Tensor logits = held_out.of_vectors + held_out.share * held_out.of_words;
  impl->share_of_words = held_out.share;
  impl->of_vectors = fit_scale(held_out.of_vectors, held_out.y, table.intents, options.kept);
  impl->of_texts = fit_scale(logits, held_out.y, table.intents, options.kept);
  impl->words = detail::WordEvidence(table.tokens, table.y, table.classes);
  impl->head = table.blank();
  for (const double step : kVariances) {
    if (step <= held_out.variance) fit_head(impl->head, table.x, table.y, step);
  }

  const auto count = [](const Tensor& which) { return which.sum().item<std::int64_t>(); };
  const std::int64_t examples_in = count(table.y < table.intents);
  const Tensor inside = held_out.y < table.intents;
  const Tensor right = logits.slice(1, 0, table.intents).argmax(1) == held_out.y;
  impl->facts = {
      {"intents", std::to_string(table.intents) + ", from " + std::to_string(examples_in) + " examples"},
      {"head", "multinomial logistic on sentence vectors, variance of the weights " + rounded(held_out.variance) +
                   ", and " + rounded(held_out.share) + " of the evidence of single words; temperature " +
                   rounded(impl->of_texts.temperature) + "; all by cross-validation"},
      {"cross-validation", "accuracy " + rounded(right.index({inside}).to(torch::kFloat32).mean().item<double>()) +
                               " of " + std::to_string(count(inside)) + " held-out examples"}};
  if (table.classes > table.intents) {
    const Tensor caught = evidence(logits.index({~inside}), table.intents) < impl->of_texts.threshold;
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
  const Tensor x = normalise(text_vector.detach().to(torch::kFloat32)).unsqueeze(0);
  return impl_->intents_of(impl_->head.logits(x), impl_->of_vectors)[0];
}

std::vector<Intent> IntentClassifier::understand(const std::vector<std::string>& texts) const {
  const Tensor logits = impl_->head.logits(impl_->embedder.embed_texts(texts));
  return impl_->intents_of(logits + impl_->share_of_words * impl_->words.of(tokens_of(impl_->embedder, texts)),
                           impl_->of_texts);
}

const std::vector<std::string>& IntentClassifier::labels() const { return impl_->labels; }

Description IntentClassifier::describe() const { return impl_->facts; }

}  // namespace trine
