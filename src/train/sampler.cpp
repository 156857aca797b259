#include "trine/train/sampler.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <unordered_map>

#include "detail/error.h"
#include "tensor_check.h"

namespace trine::train {

using torch::Tensor;

namespace {

constexpr const char* kDropout = "ModalityDropout";
constexpr const char* kSampler = "BalancedSampler";

/// The same order on any machine, which std::shuffle does not promise.
template <typename Value>
void shuffle(std::vector<Value>& values, std::mt19937_64& random) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
}

}  // namespace

ModalityDropoutImpl::ModalityDropoutImpl(double probability, std::uint64_t seed_value)
    : probability_(probability), generator_(at::make_generator<at::CPUGeneratorImpl>(seed_value)) {
  if (!(probability >= 0 && probability <= 1)) {
    detail::bad_argument(kDropout, "the probability must lie in 0 to 1, got ", probability);
  }
}

void ModalityDropoutImpl::seed(std::uint64_t value) { generator_.set_current_seed(value); }

Tensor ModalityDropoutImpl::state() const { return generator_.get_state(); }

void ModalityDropoutImpl::set_state(const Tensor& state) { generator_.set_state(state); }

ModalityBatch ModalityDropoutImpl::forward(const Features& features, const Features& masks) {
  if (features.empty()) detail::bad_argument(kDropout, "wanted features of at least one modality, got none");
  for (const auto& [name, mask] : masks) {
    if (!features.contains(name)) detail::bad_argument(kDropout, "there is a mask of '", name, "', but no features");
  }
  const Tensor& first = features.begin()->second;
  ModalityBatch batch{features, {}};
  std::vector<Tensor> there;  // (B) each
  for (const auto& [name, x] : features) {
    const bool steps = x.defined() && x.dim() == 3;
    if (!x.defined() || x.dim() < 2 || x.dim() > 3 || x.size(0) != first.size(0)) {
      detail::bad_argument(kDropout, "the features of '", name,
                           "' must be (B, T, D) or (B, D), B the same for all; got ", detail::shown(x));
    }
    const auto given = masks.find(name);
    const Tensor mask =
        detail::mask_or_ones(kDropout, "the mask of '" + name + "'", given == masks.end() ? Tensor() : given->second,
                             x.sizes().slice(0, steps ? 2 : 1), x);
    batch.masks[name] = mask;
    there.push_back(steps ? mask.any(1) : mask);
  }
  const Tensor present = torch::stack(there, 1);  // (B, M)
  const Tensor none = ~present.any(1);
  if (none.any().item<bool>()) {
    detail::bad_argument(kDropout, "sample ", none.nonzero()[0].item<std::int64_t>(), " has no modality");
  }
  if (!is_training()) return batch;
  const Tensor draws = torch::rand(present.sizes(), generator_, torch::kFloat64).to(present.device());
  // the largest draw of a sample always stays: it is each modality's with the same chance
  const Tensor largest = draws.masked_fill(~present, -1).amax(1, /*keepdim=*/true);
  const Tensor stays = (draws >= probability_) | (draws == largest);
  std::int64_t column = 0;
  for (auto& [name, x] : batch.features) {
    const Tensor keep = stays.select(1, column++);
    Tensor& mask = batch.masks.at(name);
    mask = mask.dim() == 2 ? mask & keep.unsqueeze(1) : mask & keep;
    x = x.masked_fill(~(x.dim() == 3 ? keep.unsqueeze(1).unsqueeze(2) : keep.unsqueeze(1)), 0);
  }
  return batch;
}

BalancedSampler::BalancedSampler(const std::vector<std::int64_t>& groups, Sampling sampling, std::uint64_t seed)
    : seed_(seed) {
  if (groups.empty()) detail::bad_argument(kSampler, "wanted the group of each sample, got no samples");
  std::unordered_map<std::int64_t, std::size_t> places;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const std::size_t place = places.emplace(groups[i], members_.size()).first->second;
    if (place == members_.size()) members_.emplace_back();
    members_[place].push_back(static_cast<std::int64_t>(i));
  }
  const auto [fewest, most] = std::ranges::minmax_element(members_, {}, [](const auto& group) { return group.size(); });
  draws_ = sampling == Sampling::up ? most->size() : fewest->size();
}

std::int64_t BalancedSampler::size() const { return static_cast<std::int64_t>(members_.size() * draws_); }

std::vector<std::int64_t> BalancedSampler::indices(std::int64_t epoch) const {
  if (epoch < 0) detail::bad_argument(kSampler, "epochs count from 0, got ", epoch);
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto number = static_cast<std::uint64_t>(epoch);
  std::seed_seq sequence{low(seed_), low(seed_ >> 32), low(number), low(number >> 32)};
  std::mt19937_64 random(sequence);

  std::vector<std::vector<std::int64_t>> drawn(members_.size());
  for (std::size_t g = 0; g < members_.size(); ++g) {
    std::vector<std::int64_t> members = members_[g];
    while (drawn[g].size() < draws_) {  // each round uses every sample once, the last one some of them
      shuffle(members, random);
      const auto count = static_cast<std::ptrdiff_t>(std::min(members.size(), draws_ - drawn[g].size()));
      drawn[g].insert(drawn[g].end(), members.begin(), members.begin() + count);
    }
  }
  std::vector<std::size_t> order(members_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<std::int64_t> indices;
  indices.reserve(members_.size() * draws_);
  for (std::size_t draw = 0; draw < draws_; ++draw) {
    shuffle(order, random);
    for (const std::size_t g : order) indices.push_back(drawn[g][draw]);
  }
  return indices;
}

std::vector<std::int64_t> groups_of(const Features& present) {
  constexpr const char* kWho = "groups_of";
  if (present.empty() || present.size() > 62) {
    detail::bad_argument(kWho, "wanted 1 to 62 modalities, got ", present.size());
  }
  Tensor groups;
  std::int64_t bit = 1;
  for (const auto& [name, mask] : present) {
    if (!mask.defined() || mask.dim() != 1 || mask.scalar_type() != torch::kBool ||
        (groups.defined() && groups.sizes() != mask.sizes())) {
      detail::bad_argument(kWho, "wanted bool (N) of one length for each modality, got ", detail::shown(mask), " for '",
                           name, "'");
    }
    const Tensor part = mask.to(torch::kCPU, torch::kInt64) * bit;
    groups = groups.defined() ? groups + part : part;
    bit *= 2;
  }
  groups = groups.contiguous();
  const auto* values = groups.const_data_ptr<std::int64_t>();
  return {values, values + groups.numel()};
}

}  // namespace trine::train
