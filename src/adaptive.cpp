#include "trine/adaptive.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <random>
#include <ranges>
#include <span>

#include "chances.h"
#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "detail/names.h"
#include "encoders/config.h"
#include "module_folder.h"
#include "tensor_check.h"
#include "trine/layers.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using detail::log_chances;
using detail::most_likely;
using torch::Tensor;

namespace {

constexpr const char* kWho = "AdaptiveInference";
constexpr const char* kModelType = "adaptive_inference";
constexpr const char* kFusionFolder = "fusion";
constexpr double kNever = 1;        ///< as a threshold; chances stay below it
constexpr double kMostOdds = 13.8;  ///< log odds of a chance of one in a million
constexpr std::size_t kFolds = 5;   ///< of a sample that is judged by what is fitted on the rest of it

/// The thresholds that are tried, of confidence and of agreement; the differences matter near 1.
constexpr std::array kThresholds{0.0,  0.05, 0.1,   0.2,  0.3,   0.4,  0.5,   0.6,   0.65,  0.7,
                                 0.75, 0.8,  0.825, 0.85, 0.875, 0.9,  0.91,  0.92,  0.93,  0.94,
                                 0.95, 0.96, 0.97,  0.98, 0.985, 0.99, 0.995, 0.999, kNever};

constexpr detail::Names<Route, 3> kRoutes{
    {{Route::simple, "simple"}, {Route::moderate, "moderate"}, {Route::complex, "complex"}}};

double log_odds(double chance) { return std::clamp(std::log(chance) - std::log1p(-chance), -kMostOdds, kMostOdds); }
double sigmoid(double odds) { return 1 / (1 + std::exp(-odds)); }

double corrected(const std::map<Modalities, Correction>& corrections, const Modalities& which, double odds) {
  const auto found = corrections.find(which);
  const Correction correction = found == corrections.end() ? Correction{} : found->second;
  return sigmoid(std::clamp(correction.offset + correction.slope * odds, -kMostOdds, kMostOdds));
}

class Watch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double passed = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return passed;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Logistic regression on log odds by Newton's method, drawn to "no correction" by a normal prior of deviation 1.
Correction fit_correction(const std::vector<std::pair<double, bool>>& cases) {
  Correction fitted;
  for (int step = 0; step < 50; ++step) {
    double g0 = fitted.offset, g1 = fitted.slope - 1, h00 = 1, h01 = 0, h11 = 1;
    for (const auto& [odds, happened] : cases) {
      const double p = sigmoid(fitted.offset + fitted.slope * odds), curvature = p * (1 - p);
      g0 += p - happened;
      g1 += (p - happened) * odds;
      h00 += curvature;
      h01 += curvature * odds;
      h11 += curvature * odds * odds;
    }
    const double determinant = h00 * h11 - h01 * h01;
    const double d0 = (h11 * g0 - h01 * g1) / determinant, d1 = (h00 * g1 - h01 * g0) / determinant;
    const double shorter =
        std::min(1.0, 1 / std::max(std::abs(d0), std::abs(d1)));  // steps of at most 1 do not overshoot
    fitted.offset -= shorter * d0;
    fitted.slope -= shorter * d1;
    if (std::abs(d0) + std::abs(d1) < 1e-10) break;
  }
  fitted.slope = std::max(fitted.slope, 0.0);  // more evidence never counts against an answer
  return fitted;
}

std::string key_of(const Modalities& modalities) {
  std::string key;
  for (const Modality m : modalities) {
    if (!key.empty()) key += '+';
    key += to_string(m);
  }
  return key;
}

Modalities modalities_of(const std::string& key) {
  Modalities result;
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('+', begin), key.size());
    result.insert(modality(std::string_view(key).substr(begin, end - begin)));
    begin = end + 1;
  }
  return result;
}

Route route_of(const std::string& name) {
  if (const auto route = detail::value_of(kRoutes, name)) return *route;
  detail::bad_argument(kWho, detail::shown(name), " is no route");
}

bool is_share(double value) { return value >= 0 && value <= 1; }

void check_chances(const std::string& what, const Chances& chances) {
  if (chances.temperature > 0 && std::isfinite(chances.temperature) && is_share(chances.doubt)) return;
  detail::bad_argument(kWho, "the temperature of ", what, " must be above 0 and its doubt in [0, 1]; got ",
                       chances.temperature, " and ", chances.doubt);
}

void check_policy(const AdaptivePolicy& policy) {
  if (!is_share(policy.confidence) || !is_share(policy.agreement) || !is_share(policy.fusion_share)) {
    detail::bad_argument(kWho, "confidence, agreement and fusion_share must lie in [0, 1]; got ", policy.confidence,
                         ", ", policy.agreement, " and ", policy.fusion_share);
  }
  const auto check_cost = [](std::string_view what, double cost) {
    if (!(cost >= 0 && std::isfinite(cost))) {
      detail::bad_argument(kWho, "the milliseconds of ", what, " must be finite and not below 0; got ", cost);
    }
  };
  for (const auto& [m, cost] : policy.towers) check_cost(to_string(m), cost);
  for (const auto& [route, cost] : policy.searches) check_cost(to_string(route), cost);
  for (const auto& [m, chances] : policy.chances) check_chances(std::string(to_string(m)), chances);
  check_chances(kFusionFolder, policy.fusion);
  for (const auto* corrections : {&policy.confidences, &policy.agreements}) {
    for (const auto& [which, c] : *corrections) {
      if (which.empty() || !std::isfinite(c.offset) || !std::isfinite(c.slope) || c.slope < 0) {
        detail::bad_argument(kWho, "the correction of ", key_of(which), " must be finite, its slope not below 0; got ",
                             c.offset, " and ", c.slope);
      }
    }
  }
}

void check_fusion(const Fusion& fusion, std::int64_t dim) {
  const FusionOptions& options = fusion->options();
  if (options.hidden_dim != dim) {
    detail::bad_argument(kWho, "the fusion takes ", options.hidden_dim, " dimensions, the embedder gives ", dim);
  }
  for (const std::string& name : options.modalities) modality(name);
}

// --- the policy as JSON
// -----------------------------------------------------------------------------------------------

Json json_of(const Chances& chances) { return {{"temperature", chances.temperature}, {"doubt", chances.doubt}}; }

Json json_of(const std::map<Modalities, Correction>& corrections) {
  Json json = Json::object();
  for (const auto& [which, c] : corrections) json[key_of(which)] = {{"offset", c.offset}, {"slope", c.slope}};
  return json;
}

Json json_of(const AdaptivePolicy& policy) {
  Json towers = Json::object(), searches = Json::object(), chances = Json::object();
  for (const auto& [m, cost] : policy.towers) towers[std::string(to_string(m))] = cost;
  for (const auto& [route, cost] : policy.searches) searches[std::string(to_string(route))] = cost;
  for (const auto& [m, fitted] : policy.chances) chances[std::string(to_string(m))] = json_of(fitted);
  Json order = Json::array();
  for (const Modality m : policy.order) order.push_back(to_string(m));
  return {{"thresholds", {{"confidence", policy.confidence}, {"agreement", policy.agreement}}},
          {"order", order},
          {"milliseconds", {{"towers", towers}, {"searches", searches}}},
          {"chances", chances},
          {"confidences", json_of(policy.confidences)},
          {"agreements", json_of(policy.agreements)},
          {"fusion", json_of(policy.fusion)},
          {"fusion_share", policy.fusion_share}};
}

const Json& part(const Json& json, const char* key) {
  if (!json.contains(key) || !json.at(key).is_object())
    detail::bad_json_key(kWho, key, json.contains(key) ? &json.at(key) : nullptr);
  return json.at(key);
}

Chances chances_of(const Json& json) {
  return {detail::get<double>(kWho, json, "temperature"), detail::get<double>(kWho, json, "doubt")};
}

std::map<Modalities, Correction> corrections_of(const Json& json) {
  std::map<Modalities, Correction> corrections;
  for (const auto& [key, value] : json.items()) {
    corrections[modalities_of(key)] = {detail::get<double>(kWho, value, "offset"),
                                       detail::get<double>(kWho, value, "slope")};
  }
  return corrections;
}

AdaptivePolicy policy_of(const Json& json) {
  const Json& thresholds = part(json, "thresholds");
  AdaptivePolicy policy{.confidence = detail::get<double>(kWho, thresholds, "confidence"),
                        .agreement = detail::get<double>(kWho, thresholds, "agreement"),
                        .confidences = corrections_of(part(json, "confidences")),
                        .agreements = corrections_of(part(json, "agreements")),
                        .fusion = chances_of(part(json, "fusion")),
                        .fusion_share = detail::get<double>(kWho, json, "fusion_share")};
  for (const std::string& name : detail::get<std::vector<std::string>>(kWho, json, "order")) {
    policy.order.push_back(modality(name));
  }
  const Json& milliseconds = part(json, "milliseconds");
  for (const auto& [key, value] : part(milliseconds, "towers").items()) {
    policy.towers[modality(key)] = detail::get<double>(kWho, part(milliseconds, "towers"), key.c_str());
  }
  for (const auto& [key, value] : part(milliseconds, "searches").items()) {
    policy.searches[route_of(key)] = detail::get<double>(kWho, part(milliseconds, "searches"), key.c_str());
  }
  for (const auto& [key, value] : part(json, "chances").items()) policy.chances[modality(key)] = chances_of(value);
  return policy;
}

}  // namespace

std::string_view to_string(Route route) { return detail::name_of(kRoutes, route); }

// --- a query
// ----------------------------------------------------------------------------------------------------------

namespace {

/// What has been computed of a query.
struct Evidence {
  Modalities which;
  std::map<Modality, Tensor> vectors;  ///< (D)
  std::map<Modality, Tensor> chances;  ///< log (P)
};

struct Finding {
  std::vector<Hit> hits;
  double odds = 0;  ///< log odds of the first hit's chance
};

std::size_t bit(Modality modality) { return std::size_t{1} << static_cast<std::size_t>(modality); }

/// A query whose every modality is known: what each subset of them would answer.
struct Judged {
  struct Answer {
    std::int64_t first = 0;  ///< the product, by the simple or moderate route: whatever the policy
    double odds = 0;         ///< log odds of its chance
    double confidence = 0;   ///< the same as a corrected chance
    double agreement = 1;
    bool right = false;
  };
  Modalities all;
  std::int64_t wanted = 0;  ///< the right product
  std::size_t set = 0;      ///< a number for that of the query, see fit_thresholds
  std::array<Answer, std::size_t{1} << kModalities.size()> answers;  ///< by subset, see `bit`
  bool complex_right = false;  ///< of all modalities; that of the only answer where there is one
};

}  // namespace

struct AdaptiveInference::Impl {
  std::shared_ptr<const ProductSearch> search;
  AdaptivePolicy policy;
  Fusion fusion{nullptr};
  std::map<std::string, std::int64_t> number;  ///< of a product, by id

  Chances chances(Modality modality) const {
    const auto found = policy.chances.find(modality);
    if (found != policy.chances.end()) return found->second;
    return {.temperature = static_cast<double>(search->embedder().calibration(modality).temperature)};
  }

  void see(Evidence& evidence, Modality modality, const Tensor& vector) const {
    const std::int64_t dim = search->embedder().dim();
    if (!detail::is_floats(vector, {dim}) || !vector.isfinite().all().item<bool>()) {
      detail::bad_argument(kWho, "the ", to_string(modality), " vector must be ", dim, " finite floats; got ",
                           detail::shown(vector));
    }
    evidence.which.insert(modality);
    evidence.vectors[modality] = vector;
    evidence.chances[modality] = log_chances(search->similarities(vector), chances(modality));
  }

  /// Log odds that two modalities mean one product, before the correction: with chances a and b of the products,
  /// equally likely at first, they do with the odds (P - 1) * sum(a b) / (1 - sum(a b)).
  double pair_odds(const Tensor& a, const Tensor& b) const {
    if (a.size(0) < 2) return kMostOdds;
    const double same = std::min((a + b).exp().sum().item<double>(), 1.0);
    return std::clamp(log_odds(same) + std::log(static_cast<double>(a.size(0) - 1)), -kMostOdds, kMostOdds);
  }

  /// Of the pair that agrees least; 1 with one modality.
  double agreement(const Evidence& evidence) const {
    double least = 1;
    for (auto a = evidence.chances.begin(); a != evidence.chances.end(); ++a) {
      for (auto b = std::next(a); b != evidence.chances.end(); ++b) {
        least = std::min(least, corrected(policy.agreements, {a->first, b->first}, pair_odds(a->second, b->second)));
      }
    }
    return least;
  }

  /// The chances of all modalities multiplied: exact if they err independently of each other. -> log (P)
  Tensor mixed(const Evidence& evidence) const {
    Tensor sum;
    for (const auto& [modality, chances] : evidence.chances) sum = sum.defined() ? sum + chances : chances;
    return sum.log_softmax(0);
  }

  /// The learned fusion's vector of what it knows; undefined with fewer than two of those. -> (D)
  Tensor fused(const Evidence& evidence) const {
    if (!fusion) return {};
    Features features;
    for (const std::string& name : fusion->options().modalities) {
      const auto found = evidence.vectors.find(modality(name));
      if (found != evidence.vectors.end()) features[name] = found->second.view({1, 1, -1});
    }
    return features.size() < 2 ? Tensor() : normalise(fusion->forward(features).vector[0]);
  }

  /// The chances by which the complex route ranks. -> log (P)
  Tensor weighed(const Evidence& evidence) const {
    const Tensor product = mixed(evidence), vector = fused(evidence);
    if (!vector.defined()) return product;
    const Tensor learned = log_chances(search->similarities(vector), policy.fusion);
    return ((1 - policy.fusion_share) * product + policy.fusion_share * learned).log_softmax(0);
  }

  Finding verdict(const Evidence& evidence, Route route, const AdaptiveOptions& options) const {
    const bool complex = route == Route::complex;
    const Tensor chances = complex ? weighed(evidence) : mixed(evidence);
    const SearchOptions wanted{.k = options.k, .candidates = complex ? options.wide_candidates : options.candidates};
    Finding verdict{.hits = complex ? search->rank(evidence.vectors, chances.exp().to(torch::kFloat32), wanted)
                                    : search->search(evidence.vectors, wanted).hits};
    if (verdict.hits.empty()) return {.hits = {}, .odds = -kMostOdds};
    verdict.odds = odds(chances, number.at(verdict.hits[0].id));
    return verdict;
  }

  /// Log odds of a product's chance.
  static double odds(const Tensor& chances, std::int64_t product) {
    return log_odds(chances[product].exp().item<double>());
  }

  double cost(Modality modality) const {
    const auto found = policy.towers.find(modality);
    return found == policy.towers.end() ? 0 : found->second;
  }

  double cost(Route route) const {
    const auto found = policy.searches.find(route);
    return found == policy.searches.end() ? 0 : found->second;
  }

  /// In the policy's order, then the cheapest first.
  std::vector<Modality> in_order(const Modalities& query) const {
    std::vector<Modality> order(query.begin(), query.end());
    std::ranges::stable_sort(order, {}, [&](Modality m) {
      return std::pair(std::ranges::find(policy.order, m) - policy.order.begin(), cost(m));
    });
    return order;
  }

  bool agree(double agreement) const { return policy.agreement < kNever && agreement >= policy.agreement; }
  bool sure(double confidence) const { return policy.confidence < kNever && confidence >= policy.confidence; }

  // --- a sample
  // -------------------------------------------------------------------------------------------------------

  void check(const std::vector<LabelledQuery>& sample) const {
    if (sample.empty()) detail::bad_argument(kWho, "the sample has no query");
    for (std::size_t i = 0; i < sample.size(); ++i) {
      if (!number.contains(sample[i].id)) {
        detail::bad_argument(kWho, "query ", i, " of the sample asks for ", detail::shown(sample[i].id),
                             ", which is no product");
      }
      if (sample[i].vectors.empty()) detail::bad_argument(kWho, "query ", i, " of the sample has no vector");
    }
  }

  Evidence evidence_of(const LabelledQuery& query) const {
    Evidence evidence;
    for (const auto& [modality, vector] : query.vectors) see(evidence, modality, vector);
    return evidence;
  }

  /// `before`: the same queries judged by another policy, which spares most of the searches. `searches`: the times of
  /// each route, if they are wanted.
  std::vector<Judged> judge(const std::vector<LabelledQuery>& sample, const AdaptiveOptions& options,
                            const std::vector<Judged>* before = nullptr,
                            std::map<Route, std::vector<double>>* searches = nullptr) const {
    AdaptiveOptions only = options;
    only.k = 1;
    std::vector<Judged> result;
    const auto first = [&](const Evidence& evidence, Route route) {
      Watch watch;
      const Finding found = verdict(evidence, route, only);
      if (searches != nullptr) (*searches)[route].push_back(watch.lap());
      return number.at(found.hits[0].id);
    };
    for (const LabelledQuery& query : sample) {
      const Evidence whole = evidence_of(query);
      Judged judged{.all = whole.which, .wanted = number.at(query.id), .set = 0, .answers = {}};
      std::size_t everything = 0;
      for (const Modality modality : whole.which) everything |= bit(modality);
      for (std::size_t subset = 1; subset <= everything; ++subset) {
        if ((subset & ~everything) != 0) continue;
        Evidence part = whole;
        for (const Modality modality : whole.which) {
          if ((subset & bit(modality)) != 0) continue;
          part.which.erase(modality);
          part.vectors.erase(modality);
          part.chances.erase(modality);
        }
        Judged::Answer& answer = judged.answers[subset];
        answer.first = before != nullptr ? (*before)[result.size()].answers[subset].first
                                         : first(part, part.which.size() == 1 ? Route::simple : Route::moderate);
        answer.odds = odds(mixed(part), answer.first);
        answer.confidence = corrected(policy.confidences, part.which, answer.odds);
        answer.agreement = agreement(part);
        answer.right = answer.first == judged.wanted;
      }
      judged.complex_right =
          whole.which.size() > 1 ? first(whole, Route::complex) == judged.wanted : judged.answers[everything].right;
      result.push_back(std::move(judged));
    }
    return result;
  }

  /// A query's set and product among all.
  std::size_t place_of(const Judged& judged) const {
    return judged.set * search->products().size() + static_cast<std::size_t>(judged.wanted);
  }

  /// `lost`: by place, right answers of the complex route that these thresholds miss, less those they win.
  OperatingPoint point(const std::vector<Judged>& sample, double confidence, double agreement,
                       std::vector<std::int64_t>* lost = nullptr) const {
    if (lost != nullptr) std::ranges::fill(*lost, 0);
    OperatingPoint sum{.confidence = confidence, .agreement = agreement};
    std::int64_t computed = 0, there = 0;
    std::map<Modalities, std::vector<Modality>> orders;
    for (const Judged& judged : sample) {
      const std::vector<Modality>& order = orders.try_emplace(judged.all, in_order(judged.all)).first->second;
      const std::size_t last = order.size() - 1;
      std::size_t i = 0, subset = bit(order[0]);
      const auto agrees = [&] {
        return i == 0 || (agreement < kNever && judged.answers[subset].agreement >= agreement);
      };
      const auto enough = [&] {
        return confidence < kNever && judged.answers[subset].confidence >= confidence && agrees();
      };
      while (i < last && !enough()) subset |= bit(order[++i]);
      const Route route = i == 0 ? Route::simple : agrees() ? Route::moderate : Route::complex;
      const bool right = route == Route::complex ? judged.complex_right : judged.answers[subset].right;
      for (std::size_t j = 0; j <= i; ++j) sum.milliseconds += cost(order[j]);
      sum.milliseconds += cost(route);
      sum.right += right;
      (route == Route::simple ? sum.simple : route == Route::moderate ? sum.moderate : sum.complex) += 1;
      computed += static_cast<std::int64_t>(i) + 1;
      there += static_cast<std::int64_t>(last) + 1;
      if (lost != nullptr) (*lost)[place_of(judged)] += judged.complex_right - right;
    }
    const auto count = static_cast<double>(sample.size());
    for (double* mean : {&sum.milliseconds, &sum.simple, &sum.moderate, &sum.complex}) *mean /= count;
    sum.quality = static_cast<double>(sum.right) / count;
    sum.towers = static_cast<double>(computed) / static_cast<double>(there);
    return sum;
  }

  AdaptiveCurve curve(const std::vector<Judged>& judged) const {
    AdaptiveCurve curve{.points = {},
                        .always_simple = point(judged, 0, 0),
                        .always_complex = point(judged, kNever, kNever),
                        .chosen = point(judged, policy.confidence, policy.agreement),
                        .count = std::ssize(judged)};
    std::vector<OperatingPoint> all;
    for (const double confidence : kThresholds) {
      for (const double agreement : kThresholds) all.push_back(point(judged, confidence, agreement));
    }
    std::ranges::stable_sort(all, [](const OperatingPoint& a, const OperatingPoint& b) {
      return a.milliseconds != b.milliseconds ? a.milliseconds < b.milliseconds : a.right > b.right;
    });
    for (const OperatingPoint& p : all) {
      if (curve.points.empty() || p.right > curve.points.back().right) curve.points.push_back(p);
    }
    return curve;
  }

  void fit_costs(const std::vector<LabelledQuery>& sample) {
    std::map<Modality, std::pair<double, std::int64_t>> sums;
    for (const LabelledQuery& query : sample) {
      for (const auto& [modality, passed] : query.milliseconds) {
        sums[modality].first += passed;
        ++sums[modality].second;
      }
    }
    for (const auto& [modality, sum] : sums) policy.towers[modality] = sum.first / static_cast<double>(sum.second);
  }

  void fit_chances(const std::vector<LabelledQuery>& sample) {
    std::map<Modality, std::vector<Tensor>> similarities;
    std::map<Modality, std::vector<std::int64_t>> right;
    for (const LabelledQuery& query : sample) {
      for (const auto& [modality, vector] : query.vectors) {
        similarities[modality].push_back(search->similarities(vector));
        right[modality].push_back(number.at(query.id));
      }
    }
    for (const auto& [modality, rows] : similarities) {
      policy.chances[modality] = most_likely(torch::stack(rows), torch::tensor(right[modality]));
    }
  }

  /// The learned fusion's chances, and what share makes the right products most likely.
  void fit_fusion(const std::vector<LabelledQuery>& sample) {
    std::vector<Tensor> similarities, products;
    std::vector<std::int64_t> right;
    for (const LabelledQuery& query : sample) {
      const Evidence evidence = evidence_of(query);
      const Tensor vector = fused(evidence);
      if (!vector.defined()) continue;
      similarities.push_back(search->similarities(vector));
      products.push_back(mixed(evidence));
      right.push_back(number.at(query.id));
    }
    if (right.empty()) return;
    const Tensor target = torch::tensor(right);
    policy.fusion = most_likely(torch::stack(similarities), target);
    const Tensor learned = log_chances(torch::stack(similarities), policy.fusion), product = torch::stack(products);
    double least = INFINITY;
    for (int tenths = 0; tenths <= 10; ++tenths) {
      const double share = tenths / 10.0;
      const double loss =
          torch::nll_loss(((1 - share) * product + share * learned).log_softmax(1), target).item<double>();
      if (loss >= least) continue;
      least = loss;
      policy.fusion_share = share;
    }
  }

  /// Matched pairs are the sample's own, mismatched ones join queries for two products.
  void fit_agreements(const std::vector<LabelledQuery>& sample, std::uint64_t seed) {
    std::vector<Evidence> evidence;
    for (const LabelledQuery& query : sample) evidence.push_back(evidence_of(query));
    std::mt19937_64 random(seed);
    for (std::size_t a = 0; a < kModalities.size(); ++a) {
      for (std::size_t b = a + 1; b < kModalities.size(); ++b) {
        const Modality first = kModalities[a], second = kModalities[b];
        std::vector<std::size_t> with_second;
        for (std::size_t i = 0; i < sample.size(); ++i) {
          if (evidence[i].chances.contains(second)) with_second.push_back(i);
        }
        std::vector<std::pair<double, bool>> cases;
        for (std::size_t i = 0; i < sample.size(); ++i) {
          if (!evidence[i].chances.contains(first) || !evidence[i].chances.contains(second)) continue;
          const Tensor& mine = evidence[i].chances.at(first);
          cases.emplace_back(pair_odds(mine, evidence[i].chances.at(second)), true);
          constexpr int kTries = 100;  // a sample that is nearly all of one product may have no other at hand
          for (int attempt = 0; attempt < kTries; ++attempt) {
            const std::size_t other = with_second[random() % with_second.size()];
            if (sample[other].id == sample[i].id) continue;
            cases.emplace_back(pair_odds(mine, evidence[other].chances.at(second)), false);
            break;
          }
        }
        if (!cases.empty()) policy.agreements[{first, second}] = fit_correction(cases);
      }
    }
  }

  void fit_confidences(std::vector<Judged>& sample) {
    const auto each = [&](const auto& take) {
      for (Judged& judged : sample) {
        for (std::size_t subset = 1; subset < judged.answers.size(); ++subset) {
          Modalities which;
          for (const Modality modality : kModalities) {
            if ((subset & bit(modality)) != 0) which.insert(modality);
          }
          if (std::ranges::includes(judged.all, which)) take(which, judged.answers[subset]);
        }
      }
    };
    std::map<Modalities, std::vector<std::pair<double, bool>>> cases;
    each([&](const Modalities& which, const Judged::Answer& a) { cases[which].emplace_back(a.odds, a.right); });
    for (const auto& [which, seen] : cases) policy.confidences[which] = fit_correction(seen);
    each([&](const Modalities& which, Judged::Answer& a) {
      a.confidence = corrected(policy.confidences, which, a.odds);
    });
  }

  /// All but costs and thresholds. Gives what the sample is by it.
  std::vector<Judged> fit_beliefs(const std::vector<LabelledQuery>& sample, const AdaptiveFitOptions& options,
                                  const std::vector<Judged>* before = nullptr,
                                  std::map<Route, std::vector<double>>* searches = nullptr) {
    fit_chances(sample);
    policy.confidences.clear();
    policy.agreements.clear();
    fit_fusion(sample);
    fit_agreements(sample, options.seed);
    std::vector<Judged> judged = judge(sample, options.search, before, searches);
    fit_confidences(judged);
    return judged;
  }

  /// Each query by what is fitted without the queries for its product and for some others: as new to it as a user's.
  std::vector<Judged> judge_unseen(const std::vector<LabelledQuery>& sample, const std::vector<Judged>& judged,
                                   const AdaptiveFitOptions& options) {
    const AdaptivePolicy fitted = policy;
    std::vector<std::int64_t> products;
    for (const Judged& query : judged) products.push_back(query.wanted);
    std::ranges::sort(products);
    products.erase(std::ranges::unique(products).begin(), products.end());
    std::vector<Judged> unseen(sample.size());
    for (std::size_t fold = 0; fold < kFolds; ++fold) {
      std::vector<LabelledQuery> rest, held;
      std::vector<Judged> rest_judged, held_judged;
      std::vector<std::size_t> places;
      for (std::size_t i = 0; i < sample.size(); ++i) {
        const auto rank = std::ranges::lower_bound(products, judged[i].wanted) - products.begin();
        const bool hold = static_cast<std::size_t>(rank) % kFolds == fold;
        if (hold) places.push_back(i);
        (hold ? held : rest).push_back(sample[i]);
        (hold ? held_judged : rest_judged).push_back(judged[i]);
      }
      if (held.empty()) continue;
      fit_beliefs(rest, options, &rest_judged);
      std::vector<Judged> found = judge(held, options.search, &held_judged);
      for (std::size_t i = 0; i < places.size(); ++i) unseen[places[i]] = std::move(found[i]);
    }
    policy = fitted;
    return unseen;
  }

  /// The order and the thresholds that are cheapest and keep enough of the right answers of each set, as all higher
  /// thresholds do: among thousands of choices some keep enough by luck, but not with all their neighbours. What a
  /// choice loses against the complex route is a sum over products, which fail each for reasons of its own; its
  /// deviation is at most the root of the sum of their squares, and one lost answer is added, so that a small sample
  /// without any is no proof. `judged`: the sample by what is fitted without it.
  void fit_thresholds(const std::vector<LabelledQuery>& sample, std::vector<Judged> judged,
                      const AdaptiveFitOptions& options) {
    std::map<std::string, std::size_t> sets;
    std::vector<double> allowed;  // to be lost, by set
    Modalities all;
    for (std::size_t i = 0; i < sample.size(); ++i) {
      judged[i].set = sets.emplace(sample[i].set, sets.size()).first->second;
      allowed.resize(sets.size());
      allowed[judged[i].set] += judged[i].complex_right ? 1 - options.wanted : 0;
      all.insert(judged[i].all.begin(), judged[i].all.end());
    }
    std::vector<std::int64_t> lost(sets.size() * search->products().size());
    const double deviations = std::sqrt(2.0) * torch::erfinv(torch::tensor(2 * options.assurance - 1)).item<double>();
    const auto keeps = [&](std::size_t set) {
      double sum = 0, squares = 1;
      for (const std::int64_t count :
           std::span(lost).subspan(set * search->products().size(), search->products().size())) {
        sum += static_cast<double>(count);
        squares += static_cast<double>(count * count);
      }
      return sum + deviations * std::sqrt(squares) <= allowed[set];
    };
    double least = point(judged, kNever, kNever).milliseconds;
    policy.order.clear();
    AdaptivePolicy best = policy;
    best.confidence = best.agreement = kNever;
    best.order = policy.order = in_order(all);  // the cheapest first
    std::vector<Modality> permuted(all.begin(), all.end());
    do {
      policy.order = permuted;
      std::array<bool, kThresholds.size()> above;  // whether the same agreement keeps enough at the higher confidence
      above.fill(true);
      for (std::size_t i = kThresholds.size(); i-- > 0;) {
        bool beside = true;  // whether the higher agreement does
        for (std::size_t j = kThresholds.size(); j-- > 0;) {
          beside = above[j] = above[j] && beside;
          if (!beside) continue;
          const OperatingPoint tried = point(judged, kThresholds[i], kThresholds[j], &lost);
          beside = above[j] = std::ranges::all_of(std::views::iota(std::size_t{0}, sets.size()), keeps);
          if (!beside || tried.milliseconds >= least) continue;
          least = tried.milliseconds;
          best.order = permuted;
          best.confidence = kThresholds[i];
          best.agreement = kThresholds[j];
        }
      }
    } while (std::ranges::next_permutation(permuted).found);
    policy = best;
  }
};

AdaptiveInference::AdaptiveInference(std::shared_ptr<const ProductSearch> search, AdaptivePolicy policy, Fusion fusion)
    : impl_(std::make_unique<Impl>()) {
  if (!search) detail::bad_argument(kWho, "a product search is wanted, there is none");
  check_policy(policy);
  if (fusion) {
    check_fusion(fusion, search->embedder().dim());
    fusion->eval();
  }
  const std::vector<Product>& products = search->products();
  for (std::size_t i = 0; i < products.size(); ++i) {
    impl_->number.emplace(products[i].id, static_cast<std::int64_t>(i));
  }
  impl_->search = std::move(search);
  impl_->policy = std::move(policy);
  impl_->fusion = std::move(fusion);
}

AdaptiveInference::~AdaptiveInference() = default;
AdaptiveInference::AdaptiveInference(AdaptiveInference&&) noexcept = default;
AdaptiveInference& AdaptiveInference::operator=(AdaptiveInference&&) noexcept = default;

AdaptiveInference AdaptiveInference::load(std::shared_ptr<const ProductSearch> search, const fs::path& directory) {
  if (!search) detail::bad_argument(kWho, "a product search is wanted, there is none");
  const Json config = detail::read_module_config(kWho, directory, kModelType);
  const std::string& model = search->embedder().name();
  if (const auto found = detail::get<std::string>(kWho, config, "model"); found != model) {
    detail::failure(kWho, directory.string(), " was fitted for the model ", detail::shown(found), ", this is ", model);
  }
  Fusion fusion{nullptr};
  if (fs::is_directory(directory / kFusionFolder)) fusion = Fusion(FusionImpl::load(directory / kFusionFolder));
  try {
    return AdaptiveInference(std::move(search), policy_of(config), fusion);
  } catch (const std::invalid_argument& error) {  // the file's mistake, not the caller's
    detail::failure(kWho, directory.string(), ": ", error.what());
  }
}

void AdaptiveInference::save(const fs::path& directory) const {
  fs::create_directories(directory);
  if (impl_->fusion) impl_->fusion->save(directory / kFusionFolder);
  Json config{{"model_type", kModelType}, {"model", impl_->search->embedder().name()}};
  config.update(json_of(impl_->policy));
  detail::write_atomically(kWho, directory / "config.json", [&](std::ostream& out) { out << config.dump(2) << '\n'; });
}

AdaptiveAnswer AdaptiveInference::search(const Inputs& query, const AdaptiveOptions& options) const {
  const Embedder& model = impl_->search->embedder();
  Towers towers;
  if (query.image) towers[Modality::image] = [&] { return model.embed_image(*query.image); };
  if (query.text) towers[Modality::text] = [&] { return model.embed_text(*query.text); };
  if (query.audio) towers[Modality::audio] = [&] { return model.embed_audio(*query.audio); };
  return search(towers, options);
}

AdaptiveAnswer AdaptiveInference::search(const Towers& query, const AdaptiveOptions& options) const {
  const torch::NoGradGuard no_grad;
  if (query.empty()) detail::bad_argument(kWho, "an image, a text or an audio clip is wanted, there is none");
  AdaptiveAnswer answer;
  Evidence evidence;
  double searching = 0;
  Modalities given;
  for (const auto& [modality, tower] : query) given.insert(modality);
  const std::vector<Modality> order = impl_->in_order(given);
  for (std::size_t i = 0; i < order.size(); ++i) {
    Watch watch;
    const Tensor vector = query.at(order[i])();
    answer.milliseconds.emplace_back(to_string(order[i]), watch.lap());
    impl_->see(evidence, order[i], vector);
    answer.computed.push_back(order[i]);
    if (i > 0) answer.agreement = impl_->agreement(evidence);
    const bool agree = i == 0 || impl_->agree(*answer.agreement), last = i + 1 == order.size();
    if (agree || last) {
      answer.route = i == 0 ? Route::simple : agree ? Route::moderate : Route::complex;
      Finding found = impl_->verdict(evidence, answer.route, options);
      answer.confidence = corrected(impl_->policy.confidences, evidence.which, found.odds);
      answer.hits = std::move(found.hits);
    }
    searching += watch.lap();
    if (last || (agree && impl_->sure(answer.confidence))) {
      answer.skipped.assign(order.begin() + static_cast<std::ptrdiff_t>(i) + 1, order.end());
      break;
    }
  }
  answer.milliseconds.emplace_back("search", searching);
  return answer;
}

LabelledQuery AdaptiveInference::embed(const std::string& id, const Inputs& query) const {
  const Embedder& model = impl_->search->embedder();
  LabelledQuery labelled{.id = id, .vectors = {}};
  Watch watch;
  const auto add = [&](Modality modality, const Tensor& vector) {
    labelled.vectors[modality] = vector;
    labelled.milliseconds[modality] = watch.lap();
  };
  if (query.image) add(Modality::image, model.embed_image(*query.image));
  if (query.text) add(Modality::text, model.embed_text(*query.text));
  if (query.audio) add(Modality::audio, model.embed_audio(*query.audio));
  if (labelled.vectors.empty()) detail::bad_argument(kWho, "the query for ", detail::shown(id), " has no modality");
  return labelled;
}

std::vector<LabelledQuery> AdaptiveInference::embed(const std::vector<std::pair<std::string, Inputs>>& queries) const {
  std::vector<LabelledQuery> labelled;
  for (const auto& [id, query] : queries) labelled.push_back(embed(id, query));
  return labelled;
}

AdaptiveCurve AdaptiveInference::fit(const std::vector<LabelledQuery>& sample, const AdaptiveFitOptions& options) {
  const torch::NoGradGuard no_grad;
  if (!(options.wanted > 0 && options.wanted <= 1) || !(options.assurance >= 0.5 && options.assurance < 1)) {
    detail::bad_argument(kWho, "wanted must lie in (0, 1] and assurance in [0.5, 1); got ", options.wanted, " and ",
                         options.assurance);
  }
  impl_->check(sample);
  for (const LabelledQuery& query : sample) impl_->evidence_of(query);  // refuses bad vectors before anything changes
  if (std::ranges::all_of(sample, [&](const LabelledQuery& query) { return query.id == sample[0].id; })) {
    detail::bad_argument(kWho, "all queries of the sample ask for ", detail::shown(sample[0].id),
                         ": at least two products are wanted");
  }
  impl_->fit_costs(sample);
  std::map<Route, std::vector<double>> searches;
  const std::vector<Judged> judged = impl_->fit_beliefs(sample, options, nullptr, &searches);
  for (auto& [route, times] : searches) {  // the median: a few of them are interrupted by other work
    std::ranges::nth_element(times, times.begin() + std::ssize(times) / 2);
    impl_->policy.searches[route] = times[times.size() / 2];
  }
  impl_->fit_thresholds(sample, impl_->judge_unseen(sample, judged, options), options);
  return impl_->curve(judged);
}

AdaptiveCurve AdaptiveInference::curve(const std::vector<LabelledQuery>& sample, const AdaptiveOptions& options) const {
  const torch::NoGradGuard no_grad;
  impl_->check(sample);
  return impl_->curve(impl_->judge(sample, options));
}

std::vector<OperatingPoint> AdaptiveInference::measure(const std::vector<LabelledQuery>& sample,
                                                       const std::vector<std::pair<double, double>>& thresholds,
                                                       const AdaptiveOptions& options) const {
  const torch::NoGradGuard no_grad;
  impl_->check(sample);
  const std::vector<Judged> judged = impl_->judge(sample, options);
  std::vector<OperatingPoint> points;
  for (const auto& [confidence, agreement] : thresholds) {
    if (!is_share(confidence) || !is_share(agreement)) {
      detail::bad_argument(kWho, "thresholds must lie in [0, 1]; got ", confidence, " and ", agreement);
    }
    points.push_back(impl_->point(judged, confidence, agreement));
  }
  return points;
}

const AdaptivePolicy& AdaptiveInference::policy() const { return impl_->policy; }
const ProductSearch& AdaptiveInference::products() const { return *impl_->search; }
const Fusion& AdaptiveInference::fusion() const { return impl_->fusion; }

}  // namespace trine
