#include "trine/train/loss.h"

#include <algorithm>
#include <cmath>

#include "detail/error.h"
#include "module_folder.h"
#include "tensor_check.h"
#include "trine/layers.h"

namespace trine::train {

using torch::Tensor;

namespace {

constexpr const char* kWho = "contrastive_loss";
constexpr const char* kModule = "ContrastiveLoss";
constexpr const char* kModelType = "contrastive_loss";
constexpr double kMostScale = 100.0;  ///< 1 / temperature, as in CLIP
constexpr std::size_t kMostPairs = 1'000;

void check_pairs(const char* who, const std::vector<ContrastivePair>& pairs) {
  for (const auto& [first, second, weight] : pairs) {
    if (first == second) detail::bad_argument(who, "a pair is of two modalities, not twice '", first, "'");
    if (!(weight >= 0) || !std::isfinite(weight)) {
      detail::bad_argument(who, "the weight of a pair must be at least 0, got ", weight);
    }
  }
}

/// Divides the logits: () on any device.
Tensor checked_temperature(const std::variant<double, Tensor>& given) {
  const auto* number = std::get_if<double>(&given);
  const Tensor temperature = number ? torch::scalar_tensor(*number, torch::kFloat64) : std::get<Tensor>(given);
  if (!detail::is_floats(temperature, {}) || !(temperature.item<double>() > 0)) {
    detail::bad_argument(kWho, "the temperature must be a number above 0, got ",
                         number ? std::to_string(*number) : detail::shown(temperature));
  }
  return temperature;
}

void check_batch(const Features& embeddings, const ContrastiveLossOptions& options) {
  if (embeddings.empty()) detail::bad_argument(kWho, "wanted embeddings of two modalities at least, got none");
  const Tensor& first = embeddings.begin()->second;
  for (const auto& [name, vectors] : embeddings) {
    if (!detail::is_floats(vectors, {-1, -1}) || !detail::is_floats(first, vectors.sizes())) {
      detail::bad_argument(kWho, "embeddings must be floats (B, D), the same for all modalities; got ",
                           detail::shown(vectors), " for '", name, "' and ", detail::shown(first), " for '",
                           embeddings.begin()->first, "'");
    }
  }
  for (const auto& [name, mask] : options.present) {
    detail::mask_or_ones(kWho, "present of '" + name + "'", mask, {first.size(0)}, first);
  }
  const Tensor& ids = options.ids;
  if (ids.defined() && (ids.sizes() != first.sizes().slice(0, 1) || !at::isIntegralType(ids.scalar_type(), false))) {
    detail::bad_argument(kWho, "ids must be integers (", first.size(0), "), got ", detail::shown(ids));
  }
}

/// Cross-entropy of each row of logits (N, N) against its targets, averaged.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets) {
  return -(targets * logits.log_softmax(1)).sum(1).mean();
}

}  // namespace

Tensor anchor_loss(const Tensor& vectors, const Tensor& anchors, const Tensor& targets,
                   const AnchorLossOptions& options) {
  if (vectors.dim() != 2 || anchors.dim() != 2 || vectors.size(1) != anchors.size(1) ||
      targets.sizes() != torch::IntArrayRef{vectors.size(0), anchors.size(0)}) {
    detail::bad_argument("anchor_loss", "wanted vectors (N, D), anchors (K, D) and targets (N, K), got ",
                         vectors.sizes(), ", ", anchors.sizes(), " and ", targets.sizes());
  }
  const Tensor cosine = normalise(vectors).matmul(anchors.t());
  const double spread = options.label_smoothing / static_cast<double>(anchors.size(0));
  const Tensor smoothed = targets * (1.0 - options.label_smoothing) + spread;
  const Tensor cross_entropy = -(smoothed * (cosine / options.temperature).log_softmax(1)).sum(1).mean();
  return cross_entropy + options.cosine_weight * (1.0 - (targets * cosine).sum(1)).mean();
}

Tensor contrastive_loss(const Features& embeddings, const ContrastiveLossOptions& options) {
  check_pairs(kWho, options.pairs);
  check_batch(embeddings, options);
  const Tensor temperature = checked_temperature(options.temperature);
  const auto kept = [&](const Tensor& all, const std::string& name) {
    const auto found = options.present.find(name);
    return found == options.present.end() ? all : all & found->second;
  };
  Tensor total;
  double weight_sum = 0;
  for (const auto& [first, second, weight] : options.pairs) {
    const auto a = embeddings.find(first), b = embeddings.find(second);
    if (a == embeddings.end() || b == embeddings.end() || weight == 0) continue;
    const Tensor all = torch::ones({a->second.size(0)}, a->second.options().dtype(torch::kBool).requires_grad(false));
    const Tensor rows = kept(kept(all, first), second).nonzero().squeeze(1);
    if (rows.size(0) < 2) continue;
    const auto unit = [&](const Tensor& vectors) { return normalise(vectors.index_select(0, rows)); };
    const Tensor logits = unit(a->second).matmul(unit(b->second).t()) / temperature;
    const Tensor ids = options.ids.defined() ? options.ids.index_select(0, rows) : rows;
    const Tensor same = (ids.unsqueeze(1) == ids.unsqueeze(0)).to(logits.scalar_type());
    const Tensor targets = same / same.sum(1, /*keepdim=*/true);
    const Tensor loss = weight * (cross_entropy(logits, targets) + cross_entropy(logits.t(), targets)) / 2;
    total = total.defined() ? total + loss : loss;
    weight_sum += weight;
  }
  if (!total.defined()) detail::bad_argument(kWho, "no pair of modalities has two samples in common");
  return total / weight_sum;
}

ContrastiveLossImpl::ContrastiveLossImpl(double temperature, bool learnable, const std::vector<ContrastivePair>& pairs)
    : temperature_(temperature), pairs_(pairs) {
  if (!(temperature >= 1 / kMostScale) || !std::isfinite(temperature)) {
    detail::bad_argument(kModule, "the temperature must be at least ", 1 / kMostScale, ", got ", temperature);
  }
  check_pairs(kModule, pairs);
  if (learnable) {
    logit_scale_ = register_parameter("logit_scale", torch::scalar_tensor(-std::log(temperature), torch::kFloat32));
  }
}

Tensor ContrastiveLossImpl::forward(const Features& embeddings, const Tensor& ids, const Features& present) {
  if (!learnable()) {
    return contrastive_loss(embeddings, {.temperature = temperature_, .ids = ids, .present = present, .pairs = pairs_});
  }
  {
    const torch::NoGradGuard no_grad;  // the parameter itself is held at the cap: behind it there is no gradient back
    logit_scale_.clamp_max_(std::log(kMostScale));
  }
  return contrastive_loss(embeddings,
                          {.temperature = (-logit_scale_).exp(), .ids = ids, .present = present, .pairs = pairs_});
}

double ContrastiveLossImpl::temperature() const {
  return learnable() ? std::max(std::exp(-logit_scale_.item<double>()), 1 / kMostScale) : temperature_;
}

void ContrastiveLossImpl::save(const std::filesystem::path& directory) const {
  detail::Json config{{"model_type", kModelType}, {"temperature", temperature_}, {"learnable", learnable()}};
  config["pairs"] = detail::Json::array();
  for (const auto& [first, second, weight] : pairs_) {
    config["pairs"].push_back(detail::Json::array({first, second, weight}));
  }
  detail::save_module(kModule, directory, config, *this);
}

std::shared_ptr<ContrastiveLossImpl> ContrastiveLossImpl::load(const std::filesystem::path& directory) {
  return detail::load_module(kModule, directory, kModelType, [](const detail::Json& config) {
    const auto found = config.find("pairs");
    if (found == config.end() || !found->is_array() || found->size() > kMostPairs) {
      detail::failure(kModule, "\"pairs\" must be a list of at most ", kMostPairs);
    }
    std::vector<ContrastivePair> pairs;
    for (const detail::Json& pair : *found) {
      if (!pair.is_array() || pair.size() != 3 || !pair[0].is_string() || !pair[1].is_string() ||
          !pair[2].is_number()) {
        detail::failure(kModule, "a pair must be [modality, modality, weight]");
      }
      pairs.push_back({pair[0].get<std::string>(), pair[1].get<std::string>(), pair[2].get<double>()});
    }
    return std::make_shared<ContrastiveLossImpl>(detail::get<double>(kModule, config, "temperature"),
                                                 detail::get<bool>(kModule, config, "learnable"), pairs);
  });
}

}  // namespace trine::train
