#include "trine/fusion.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "detail/names.h"
#include "fusion_config.h"
#include "module_folder.h"
#include "tensor_check.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kWho = "Fusion";
constexpr const char* kModelType = "fusion";
constexpr std::int64_t kMostModalities = 64;

constexpr detail::Names<FusionType, 4> kNames{{{FusionType::early, "early"},
                                               {FusionType::late, "late"},
                                               {FusionType::hybrid, "hybrid"},
                                               {FusionType::attention, "attention"}}};

/// Who speaks in an error message.
const char* who(FusionType type) {
  switch (type) {
    case FusionType::early:
      return "EarlyFusion";
    case FusionType::late:
      return "LateFusion";
    case FusionType::hybrid:
      return "HybridFusion";
    case FusionType::attention:
      return "AttentionFusion";
  }
  detail::bad_argument(kWho, "unknown type");
}

std::string listed(const std::vector<std::string>& names) {
  std::ostringstream out;
  for (const std::string& name : names) out << (&name == &names.front() ? "" : ", ") << name;
  return out.str();
}

void check_options(FusionType type, const FusionOptions& o) {
  const char* speaker = who(type);
  if (o.modalities.empty()) detail::bad_argument(speaker, "wanted the names of the modalities, got none");
  std::set<std::string> seen;
  for (const std::string& name : o.modalities) {
    if (name.empty() || name.find('.') != std::string::npos) {
      detail::bad_argument(speaker, "the name of a modality must not be empty or hold a dot, got '", name, "'");
    }
    if (!seen.insert(name).second) detail::bad_argument(speaker, "the modality '", name, "' comes twice");
  }
  if (o.hidden_dim < 1 || o.num_heads < 1 || o.hidden_dim % o.num_heads != 0) {
    detail::bad_argument(speaker, "hidden_dim ", o.hidden_dim, " is not a multiple of num_heads ", o.num_heads);
  }
  if (std::min({o.num_layers, o.num_self_layers, o.ff_dim}) < 1 || o.num_cross_layers < 0) {
    detail::bad_argument(speaker, "num_layers, num_self_layers and ff_dim must be at least 1, num_cross_layers 0; got ",
                         o.num_layers, ", ", o.num_self_layers, ", ", o.ff_dim, " and ", o.num_cross_layers);
  }
  const bool attention = type == FusionType::attention;
  if (attention ? o.num_layers != 1 : o.num_self_layers != 1 || o.num_cross_layers != 1) {
    detail::bad_argument(speaker, "its layers are set by ",
                         attention ? "num_self_layers and num_cross_layers, not num_layers"
                                   : "num_layers, not num_self_layers or num_cross_layers");
  }
}

/// Whether the samples have the modality. -> (B) bool
Tensor present(const ModalitySteps& steps) { return steps.mask.any(1); }

/// What is given, checked and in the order of the modalities.
std::vector<ModalitySteps> checked(const char* speaker, const FusionOptions& options, const Features& features,
                                   const Features& masks) {
  for (const Features* given : {&features, &masks}) {
    for (const auto& [name, tensor] : *given) {
      if (std::ranges::find(options.modalities, name) == options.modalities.end()) {
        detail::bad_argument(speaker, "there is no modality '", name, "': wanted ", listed(options.modalities));
      }
    }
  }
  std::vector<ModalitySteps> result;
  for (const std::string& name : options.modalities) {
    const auto found = features.find(name);
    if (found == features.end()) continue;
    Tensor x = found->second;
    if (!detail::is_floats(x, {result.empty() ? -1 : result.front().x.size(0), -1, options.hidden_dim})) {
      const std::string batch = result.empty() ? "B" : std::to_string(result.front().x.size(0));
      detail::bad_argument(speaker, "the features of '", name, "' must be floats (", batch, ", T, ", options.hidden_dim,
                           "); got ", detail::shown(x));
    }
    const auto given = masks.find(name);
    const bool masked = given != masks.end();
    Tensor mask = detail::mask_or_ones(speaker, "the mask of '" + name + "'", masked ? given->second : Tensor(),
                                       x.sizes().slice(0, 2), x);
    if (x.size(1) == 0) {  // a batch in which nobody has it: one padded step
      x = torch::zeros({x.size(0), 1, x.size(2)}, x.options());
      mask = torch::zeros({x.size(0), 1}, mask.options());
    }
    result.push_back({name, masked ? blank_padding(x, mask) : x, mask});
  }
  if (result.empty()) {
    detail::bad_argument(speaker, "wanted features of at least one modality (", listed(options.modalities),
                         "), got none");
  }
  Tensor some = present(result.front());
  for (const ModalitySteps& steps : result) some = some | present(steps);
  if (!some.all().item<bool>()) {
    detail::bad_argument(speaker, "sample ", (~some).nonzero()[0].item<std::int64_t>(), " has no modality");
  }
  return result;
}

/// A module for each modality, registered as `name`.modality.
template <typename Make>
auto each(torch::nn::Module& owner, const char* name, const std::vector<std::string>& modalities, const Make& make) {
  const auto folder = owner.register_module(name, std::make_shared<torch::nn::Module>());
  std::map<std::string, decltype(make())> modules;
  for (const std::string& m : modalities) modules.emplace(m, folder->register_module(m, make()));
  return modules;
}

/// A parameter of zeros for each modality, registered as `name`.modality in the order of the names, as PyTorch's
/// ParameterDict does.
Features zeros_each(torch::nn::Module& owner, const char* name, const std::vector<std::string>& modalities,
                    torch::IntArrayRef sizes) {
  const auto folder = owner.register_module(name, std::make_shared<torch::nn::Module>());
  Features parameters;
  for (const std::string& m : modalities) parameters[m] = torch::zeros(sizes);
  for (auto& [m, parameter] : parameters) parameter = folder->register_parameter(m, parameter);
  return parameters;
}

/// The weighted mean of each sample's pooled modalities. scores (B), pooled (B, D), one of each per modality; a
/// modality counts by the softmax of its score over those that the sample has.
Fused weigh(const std::vector<ModalitySteps>& steps, const std::vector<Tensor>& scores,
            const std::vector<Tensor>& pooled) {
  std::vector<Tensor> there;
  for (const ModalitySteps& s : steps) there.push_back(present(s));
  const Tensor weights = torch::stack(scores, 1).masked_fill(~torch::stack(there, 1), -INFINITY).softmax(1);  // (B, M)
  Fused fused{(weights.unsqueeze(-1) * torch::stack(pooled, 1)).sum(1), {}};
  for (std::size_t i = 0; i < steps.size(); ++i)
    fused.weights[steps[i].modality] = weights.select(1, static_cast<std::int64_t>(i));
  return fused;
}

std::shared_ptr<FusionImpl> make(FusionType type, const FusionOptions& options) {
  switch (type) {
    case FusionType::early:
      return std::make_shared<EarlyFusionImpl>(options);
    case FusionType::late:
      return std::make_shared<LateFusionImpl>(options);
    case FusionType::hybrid:
      return std::make_shared<HybridFusionImpl>(options);
    case FusionType::attention:
      return std::make_shared<AttentionFusionImpl>(options);
  }
  detail::bad_argument(kWho, "unknown type");
}

}  // namespace

std::string_view to_string(FusionType type) { return detail::name_of(kNames, type); }

FusionType fusion_type(std::string_view name) {
  if (const auto type = detail::value_of(kNames, name)) return *type;
  detail::bad_argument(kWho, "a type is early, late, hybrid or attention, not '", name, "'");
}

// --- what the four have in common
// -------------------------------------------------------------------------------------

FusionImpl::FusionImpl(FusionType type, const FusionOptions& options) : type_(type), options_(options) {
  check_options(type, options);
}

Fused FusionImpl::forward(const Features& features, const Features& masks) const {
  return fuse(checked(who(type_), options_, features, masks));
}

void FusionImpl::save(const std::filesystem::path& directory) const {
  detail::save_module(kWho, directory, detail::fusion_config(*this), *this);
}

std::shared_ptr<FusionImpl> FusionImpl::load(const std::filesystem::path& directory) {
  return detail::load_module(kWho, directory, kModelType, detail::fusion_from);
}

detail::Json detail::fusion_config(const FusionImpl& fusion) {
  const FusionOptions& options = fusion.options();
  Json config{{"model_type", kModelType}, {"type", to_string(fusion.type())}, {"modalities", options.modalities}};
  config["hidden_dim"] = options.hidden_dim;
  config["num_heads"] = options.num_heads;
  if (fusion.type() == FusionType::attention) {
    config["num_self_layers"] = options.num_self_layers;
    config["num_cross_layers"] = options.num_cross_layers;
  } else {
    config["num_layers"] = options.num_layers;
  }
  config["ff_dim"] = options.ff_dim;
  return config;
}

std::shared_ptr<FusionImpl> detail::fusion_from(const Json& config) {
  const auto size = [&](const char* key, std::int64_t most, std::optional<std::int64_t> fallback = {}) {
    return read_size(kWho, config, key, most, fallback);
  };
  FusionOptions o{.modalities = get<std::vector<std::string>>(kWho, config, "modalities"),
                  .hidden_dim = size("hidden_dim", kMostWidth),
                  .num_heads = size("num_heads", kMostWidth),
                  .num_layers = size("num_layers", kMostLayers, 1),
                  .num_self_layers = size("num_self_layers", kMostLayers, 1),
                  .num_cross_layers = get_or<std::int64_t>(kWho, config, "num_cross_layers", 1),
                  .ff_dim = size("ff_dim", kMostWidth)};
  if (std::ssize(o.modalities) > kMostModalities || o.num_cross_layers > kMostLayers) {
    failure(kWho, "at most ", kMostModalities, " modalities and ", kMostLayers, " layers are accepted");
  }
  const auto dim = static_cast<double>(o.hidden_dim);
  const double layer = dim * (4.0 * dim + 2.0 * static_cast<double>(o.ff_dim));
  const auto layers = static_cast<double>(o.num_layers * o.num_self_layers * (std::ssize(o.modalities) + 1));
  check_weights(kWho, layers * layer + 4.0 * dim * dim * static_cast<double>(o.num_cross_layers));
  return make(fusion_type(get<std::string>(kWho, config, "type")), o);
}

Fusion make_fusion(FusionType type, const FusionOptions& options) { return make(type, options); }

// --- the four
// ---------------------------------------------------------------------------------------------------------

EarlyFusionImpl::EarlyFusionImpl(const FusionOptions& o)
    : FusionImpl(FusionType::early, o),
      embedding_(zeros_each(*this, "modality_embedding", o.modalities, {o.hidden_dim})),
      encoder_(register_module("encoder", TransformerEncoder(o.hidden_dim, o.num_heads, o.num_layers, o.ff_dim))) {}

Fused EarlyFusionImpl::fuse(const std::vector<ModalitySteps>& steps) const {
  std::vector<Tensor> parts, masks;
  for (const ModalitySteps& s : steps) {
    parts.push_back(s.x + embedding_.at(s.modality));
    masks.push_back(s.mask);
  }
  const Tensor mask = torch::cat(masks, 1);
  Fused fused{masked_mean(encoder_->forward(torch::cat(parts, 1), mask), mask), {}};
  const Tensor total = mask.sum(1).to(fused.vector.scalar_type());
  for (const ModalitySteps& s : steps) fused.weights[s.modality] = s.mask.sum(1) / total;
  return fused;
}

LateFusionImpl::LateFusionImpl(const FusionOptions& o)
    : FusionImpl(FusionType::late, o),
      encoders_(each(*this, "encoders", o.modalities,
                     [&] { return TransformerEncoder(o.hidden_dim, o.num_heads, o.num_layers, o.ff_dim); })),
      scores_(zeros_each(*this, "scores", o.modalities, {})) {}

Fused LateFusionImpl::fuse(const std::vector<ModalitySteps>& steps) const {
  std::vector<Tensor> scores, pooled;
  for (const ModalitySteps& s : steps) {
    scores.push_back(scores_.at(s.modality).expand(s.x.size(0)));
    pooled.push_back(masked_mean(encoders_.at(s.modality)->forward(s.x, s.mask), s.mask));
  }
  return weigh(steps, scores, pooled);
}

HybridFusionImpl::HybridFusionImpl(const FusionOptions& o)
    : FusionImpl(FusionType::hybrid, o),
      early_(register_module("early", EarlyFusion(o))),
      late_(register_module("late", LateFusion(o))),
      out_proj_(register_module("out_proj", Linear(2 * o.hidden_dim, o.hidden_dim))) {
  reset_parameters(*out_proj_);
}

Fused HybridFusionImpl::fuse(const std::vector<ModalitySteps>& steps) const {
  Fused late = late_->fuse(steps);
  late.vector = out_proj_->forward(torch::cat({early_->fuse(steps).vector, late.vector}, -1));
  return late;
}

AttentionFusionImpl::AttentionFusionImpl(const FusionOptions& o)
    : FusionImpl(FusionType::attention, o), encoders_(each(*this, "self_attention_layers", o.modalities, [&] {
        return TransformerEncoder(o.hidden_dim, o.num_heads, o.num_self_layers, o.ff_dim);
      })) {
  const auto list = register_module("cross_attention_layers", std::make_shared<torch::nn::Module>());
  for (std::int64_t i = 0; i < o.num_cross_layers; ++i) {
    cross_.push_back(list->register_module(std::to_string(i), CrossModalAttention(o.hidden_dim, o.num_heads)));
  }
  gates_ = each(*this, "gates", o.modalities, [&] {
    Linear gate(o.hidden_dim, 1);
    reset_parameters(*gate);
    return gate;
  });
}

Fused AttentionFusionImpl::fuse(const std::vector<ModalitySteps>& steps) const {
  std::vector<ModalitySteps> now = steps;
  for (ModalitySteps& s : now) s.x = encoders_.at(s.modality)->forward(s.x, s.mask);
  for (const CrossModalAttention& cross : cross_) {
    const std::vector<ModalitySteps> before = now;
    for (std::size_t i = 0; i < now.size(); ++i) {
      ModalitySteps& s = now[i];
      Tensor total = torch::zeros_like(s.x);
      Tensor count = torch::zeros({s.x.size(0)}, s.x.options());
      for (std::size_t j = 0; j < before.size(); ++j) {
        if (j == i) continue;
        total = total + cross->forward(before[i].x, before[j].x, {}, before[j].mask).output;
        count = count + present(before[j]);
      }
      s.x = s.x + total / count.clamp_min(1.0).unsqueeze(1).unsqueeze(2);
      s.x = s.x * s.mask.unsqueeze(-1).to(s.x.scalar_type());
    }
  }
  std::vector<Tensor> scores, pooled;
  for (const ModalitySteps& s : now) {
    pooled.push_back(masked_mean(s.x, s.mask));
    // the softmax of a sigmoid's logarithm is the sigmoid over the sum of all, also where all of them vanish
    scores.push_back(torch::log_sigmoid(gates_.at(s.modality)->forward(pooled.back()).squeeze(-1)));
  }
  return weigh(now, scores, pooled);
}

}  // namespace trine
