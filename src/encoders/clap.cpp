#include "trine/encoders/clap.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <random>
#include <sstream>
#include <string>
#include <utility>

#include "detail/error.h"
#include "encoders/activation.h"
#include "encoders/config.h"
#include "encoders/text_network.h"
#include "encoders/towers.h"
#include "linear/linear.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "ClapConfig";
constexpr const char* kExtractor = "ClapFeatureExtractor";
constexpr const char* kLoad = "load_clap";
constexpr const char* kAudio = "clap_audio_model";
constexpr const char* kText = "clap_text_model";

constexpr double kNormEps = 1e-5;                             // of the norms outside the blocks, in no config
constexpr std::int64_t kLongestClip = 3'600;                  // seconds
constexpr std::int64_t kMostSamples = std::int64_t{1} << 26;  // of a window
constexpr double kMostScores = 1 << 27;                       // of one attention layer
constexpr int kPieces = 3;

// --- features
// ---------------------------------------------------------------------------------------------------------

template <typename Kind>
struct Name {
  const char* name;
  Kind kind;
};
constexpr std::array<Name<ClapTruncation>, 2> kTruncations{
    {{"fusion", ClapTruncation::fusion}, {"rand_trunc", ClapTruncation::rand_trunc}}};
constexpr std::array<Name<ClapPadding>, 3> kPaddings{
    {{"repeatpad", ClapPadding::repeatpad}, {"repeat", ClapPadding::repeat}, {"pad", ClapPadding::pad}}};

template <typename Kind, std::size_t N>
Kind read_name(const detail::Json& json, const char* key, const std::array<Name<Kind>, N>& names) {
  const auto written = detail::get_or<std::string>(kExtractor, json, key, names.front().name);
  std::string known;
  for (const Name<Kind>& row : names) {
    if (written == row.name) return row.kind;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  detail::failure(kExtractor, "\"", key, "\" is ", detail::shown(written), ", known are ", known);
}

MelOptions mel_options(const ClapFeatureExtractor& extractor) {
  const bool fusion = extractor.truncation == ClapTruncation::fusion;
  return {.sample_rate = extractor.sampling_rate,
          .window = extractor.fft_window_size,
          .hop = extractor.hop_length,
          .transform = extractor.fft_window_size,
          .bands = extractor.feature_size,
          .low = extractor.frequency_min,
          .high = extractor.frequency_max,
          .scale = fusion ? MelScale::htk : MelScale::slaney,
          .equal_area = !fusion,
          .shape = MelWindow::hann,
          .centred = true,
          .remove_mean = false,
          .preemphasis = 0,
          .floor = 1e-10,
          .log = MelLog::decibel};
}

/// numpy.random after numpy.random.seed: MT19937, and for a number below `count` as many low bits as it has, again
/// until it is below.
class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : engine_(seed) {}

  std::int64_t below(std::int64_t count) {
    const auto last = static_cast<std::uint32_t>(count - 1);
    if (last == 0) return 0;
    const std::uint32_t mask = std::bit_ceil(std::uint64_t{last} + 1) - 1;
    std::uint32_t drawn = 0;
    do {
      drawn = static_cast<std::uint32_t>(engine_()) & mask;
    } while (drawn > last);
    return drawn;
  }

 private:
  std::mt19937 engine_;
};

/// The first frames of the pieces, out of 0 to `last`, one from each third of them.
std::array<std::int64_t, kPieces> choose_pieces(std::int64_t last, std::optional<std::uint32_t> seed) {
  if (!seed) return {0, last / 2, last};
  NumpyRandom random(*seed);
  std::array<std::int64_t, kPieces> starts{};
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < kPieces; ++i) {
    const std::int64_t size = (last + 1) / kPieces + (i < (last + 1) % kPieces ? 1 : 0);
    starts[static_cast<std::size_t>(i)] = size == 0 ? 0 : begin + random.below(size);
    begin += size;
  }
  return starts;
}

std::vector<float> padded(std::span<const float> samples, std::size_t length, ClapPadding padding) {
  std::vector<float> result;
  result.reserve(length);
  const std::size_t repeats = padding == ClapPadding::pad ? 1 : length / samples.size();
  for (std::size_t i = 0; i < repeats; ++i) result.insert(result.end(), samples.begin(), samples.end());
  const std::span<const float> rest = samples.first(padding == ClapPadding::repeat ? length - result.size() : 0);
  result.insert(result.end(), rest.begin(), rest.end());
  result.resize(length);
  return result;
}

}  // namespace

// --- the audio tower's parts
// ------------------------------------------------------------------------------------------

namespace detail {

/// Of a network that is not trained. (N, channels, H, W) -> (N, channels, H, W)
class ClapBatchNorm : public torch::nn::Module {
 public:
  explicit ClapBatchNorm(std::int64_t channels)
      : weight_(register_parameter("weight", torch::empty({channels}))),
        bias_(register_parameter("bias", torch::empty({channels}))),
        mean_(register_buffer("running_mean", torch::empty({channels}))),
        variance_(register_buffer("running_var", torch::empty({channels}))) {}

  Tensor forward(const Tensor& x) const {
    return torch::batch_norm(x, weight_, bias_, mean_, variance_, /*training=*/false, /*momentum=*/0, kNormEps,
                             /*cudnn_enabled=*/false);
  }

 private:
  Tensor weight_, bias_, mean_, variance_;
};

}  // namespace detail

namespace {

/// How much of each of two maps of patches, by what is there and by what is everywhere. (N, dim, H, W) each
struct Fusion2dImpl : torch::nn::Module {
  explicit Fusion2dImpl(const ClapAudioConfig& config)
      : local(register_module("local_att", std::make_shared<Branch>(config, 0))),
        global(register_module("global_att", std::make_shared<Branch>(config, 1))) {}

  Tensor forward(const Tensor& whole, const Tensor& pieces) const {
    const Tensor sum = whole + pieces;
    const Tensor share = torch::sigmoid(local->forward(sum) + global->forward(sum.mean({2, 3}, /*keepdim=*/true)));
    return 2 * whole * share + 2 * pieces * (1 - share);
  }

  /// Its parts have numbers for names, from `first` on.
  struct Branch : torch::nn::Module {
    Branch(const ClapAudioConfig& config, int first) {
      const std::int64_t dim = config.patch_embeds_hidden_size, narrow = dim / config.aff_block_r;
      const auto name = [first](int i) { return std::to_string(first + i); };
      contract = register_module(name(0), Conv2d(dim, narrow, Pair{1, 1}));
      contract_norm = register_module(name(1), std::make_shared<detail::ClapBatchNorm>(narrow));
      expand = register_module(name(3), Conv2d(narrow, dim, Pair{1, 1}));
      expand_norm = register_module(name(4), std::make_shared<detail::ClapBatchNorm>(dim));
    }

    Tensor forward(const Tensor& x) const {
      const Tensor hidden = torch::relu(contract_norm->forward(contract->forward(x)));
      return expand_norm->forward(expand->forward(hidden));
    }

    Conv2d contract{nullptr}, expand{nullptr};
    std::shared_ptr<detail::ClapBatchNorm> contract_norm, expand_norm;
  };

  std::shared_ptr<Branch> local, global;
};
TORCH_MODULE(Fusion2d);

Pair patch_padding(const ClapAudioConfig& config) {
  return {(config.patch_size[0] - config.patch_stride[0]) / 2, (config.patch_size[1] - config.patch_stride[1]) / 2};
}

/// Patches of a square window that see each other, by the place of the first in the table of relative positions.
/// (T) and (T) -> (T * T)
Tensor relative_positions(std::int64_t window) {
  const Tensor places = torch::arange(window * window);
  const Tensor rows = places.floor_divide(window), columns = places.remainder(window);
  const auto distance = [&](const Tensor& x) { return x.unsqueeze(1) - x.unsqueeze(0) + window - 1; };
  return (distance(rows) * (2 * window - 1) + distance(columns)).flatten();
}

std::int64_t rounded_up(std::int64_t size, std::int64_t step) { return (size + step - 1) / step * step; }

/// (N, H, W, dim) -> (N * windows, T, dim)
Tensor to_windows(const Tensor& x, std::int64_t window) {
  return x.unflatten(1, {-1, window})
      .unflatten(3, {-1, window})
      .permute({0, 1, 3, 2, 4, 5})
      .flatten(0, 2)
      .flatten(1, 2);
}

/// The way back.
Tensor from_windows(const Tensor& windows, std::int64_t window, std::int64_t rows, std::int64_t columns) {
  return windows.view({-1, rows / window, columns / window, window, window, windows.size(-1)})
      .permute({0, 1, 3, 2, 4, 5})
      .flatten(3, 4)
      .flatten(1, 2);
}

/// After the patches have moved around the edge by `shift`, windows hold some that were never neighbours: what keeps
/// those apart, (windows, 1, T, T) to add to the scores.
Tensor separation(Pair size, std::int64_t window, std::int64_t shift) {
  const auto zone = [&](std::int64_t length) {
    const Tensor places = torch::arange(length);
    return (places >= length - window).to(torch::kInt64) + (places >= length - shift);
  };
  const Tensor zones = zone(size[0]).unsqueeze(1) * 3 + zone(size[1]);
  const Tensor windows = to_windows(zones.unsqueeze(0).unsqueeze(-1), window).squeeze(-1);
  return (windows.unsqueeze(1) != windows.unsqueeze(2)).to(torch::kFloat32).mul(-100).unsqueeze(1);
}

/// Attention within windows and a feed-forward part, each with a norm before it. (N, H, W, dim) -> (N, H, W, dim)
class Block : public torch::nn::Module {
 public:
  Block(const ClapAudioConfig& config, std::size_t stage, bool shifted)
      : heads_(config.num_attention_heads[stage]),
        window_(config.window_size),
        activation_(config.hidden_act),
        positions_(relative_positions(window_).to(detail::load_device())) {
    const std::int64_t dim = config.width(stage);
    const auto hidden = static_cast<std::int64_t>(config.mlp_ratio * static_cast<double>(dim));
    const Pair grid = config.grid(stage);
    padded_ = {rounded_up(grid[0], window_), rounded_up(grid[1], window_)};
    // a window that holds all there is along a side has nowhere to move
    shift_ = shifted && std::min(grid[0], grid[1]) > window_ ? window_ / 2 : 0;
    if (shift_ > 0) separation_ = separation(padded_, window_, shift_).to(detail::load_device());
    attention_norm_ = register_module("layernorm_before", LayerNorm(dim, config.layer_norm_eps));
    table_ = register_at(*this, "attention.self", std::make_shared<torch::nn::Module>())
                 ->register_parameter("relative_position_bias_table",
                                      torch::empty({(2 * window_ - 1) * (2 * window_ - 1), heads_}));
    const Linear query = register_at(*this, "attention.self.query", Linear(dim, dim, config.qkv_bias));
    const Linear key = register_at(*this, "attention.self.key", Linear(dim, dim, config.qkv_bias));
    const Linear value = register_at(*this, "attention.self.value", Linear(dim, dim, config.qkv_bias));
    qkv_ = detail::InferenceLinear({query, key, value});
    out_ = detail::InferenceLinear({register_at(*this, "attention.output.dense", Linear(dim, dim))});
    feed_forward_norm_ = register_module("layernorm_after", LayerNorm(dim, config.layer_norm_eps));
    expand_ = detail::InferenceLinear({register_at(*this, "intermediate.dense", Linear(dim, hidden))});
    contract_ = detail::InferenceLinear({register_at(*this, "output.dense", Linear(hidden, dim))});
  }

  Tensor forward(const Tensor& input) const {
    const Tensor x = input + attend(attention_norm_->forward(input));
    return detail::feed_forward(feed_forward_norm_, expand_, activation_, contract_, x);
  }

 private:
  Tensor attend(const Tensor& input) const {
    const std::int64_t rows = input.size(1), columns = input.size(2), places = window_ * window_;
    Tensor x = torch::constant_pad_nd(input, {0, 0, 0, padded_[1] - columns, 0, padded_[0] - rows});
    if (shift_ > 0) x = x.roll({-shift_, -shift_}, {1, 2});
    const Tensor windows = to_windows(x, window_);
    Tensor scores = table_.index_select(0, positions_.to(x.device()))
                        .view({places, places, heads_})
                        .permute({2, 0, 1})
                        .unsqueeze(0);
    if (shift_ > 0) scores = (scores + separation_.to(x.device())).repeat({input.size(0), 1, 1, 1});
    const auto qkv = qkv_.forward(windows).chunk(3, -1);
    x = out_.forward(self_attention(qkv[0], qkv[1], qkv[2], heads_, scores.contiguous()));
    x = from_windows(x, window_, padded_[0], padded_[1]);
    if (shift_ > 0) x = x.roll({shift_, shift_}, {1, 2});
    return x.slice(1, 0, rows).slice(2, 0, columns);
  }

  std::int64_t heads_, window_;
  Activation activation_;
  Tensor positions_;
  Pair padded_{};
  std::int64_t shift_ = 0;
  Tensor separation_;  ///< undefined without a shift
  Tensor table_;       ///< of relative positions, a column for each head
  LayerNorm attention_norm_{nullptr}, feed_forward_norm_{nullptr};
  detail::InferenceLinear qkv_, out_, expand_, contract_;
};

}  // namespace

namespace detail {

/// (N, C, spec_size, spec_size) -> (N, H, W, patch_embeds_hidden_size)
class ClapPatches : public torch::nn::Module {
 public:
  explicit ClapPatches(const ClapAudioConfig& config) {
    const std::int64_t dim = config.patch_embeds_hidden_size;
    const auto [rows, columns] = config.patch_size;
    const auto [down, across] = config.patch_stride;
    whole_ = register_module("proj", Conv2d(1, dim, config.patch_size, config.patch_stride, patch_padding(config)));
    if (config.enable_patch_layer_norm) norm_ = register_module("norm", LayerNorm(dim, kNormEps));
    if (!config.enable_fusion) return;
    fusion_ = register_module("fusion_model", Fusion2d(config));
    pieces_ = register_module("mel_conv2d", Conv2d(1, dim, Pair{rows, columns * kPieces}, Pair{down, across * kPieces},
                                                   patch_padding(config)));
  }

  Tensor forward(const Tensor& pictures, bool longer) const {
    Tensor x = whole_->forward(pictures.slice(1, 0, 1));
    if (longer && !fusion_.is_empty()) {
      // each piece has a third of the columns, they stand side by side
      const Tensor pieces = pieces_->forward(pictures.slice(1, 1).flatten(0, 1).unsqueeze(1))
                                .unflatten(0, {-1, kPieces})
                                .permute({0, 2, 3, 1, 4})
                                .flatten(3);
      x = fusion_->forward(x, torch::constant_pad_nd(pieces, {0, x.size(3) - pieces.size(3)}));
    }
    x = x.permute({0, 2, 3, 1});
    return norm_.is_empty() ? x : norm_->forward(x);
  }

 private:
  Conv2d whole_{nullptr}, pieces_{nullptr};
  Fusion2d fusion_{nullptr};
  LayerNorm norm_{nullptr};
};

/// Blocks, then four neighbours to one of twice the width, except after the last stage.
/// (N, H, W, dim) -> (N, H / 2, W / 2, 2 * dim)
class ClapStage : public torch::nn::Module {
 public:
  ClapStage(const ClapAudioConfig& config, std::size_t stage) {
    torch::nn::ModuleList blocks;
    for (std::int64_t i = 0; i < config.depths[stage]; ++i) {
      blocks_.push_back(std::make_shared<Block>(config, stage, /*shifted=*/i % 2 == 1));
      blocks->push_back(blocks_.back());
    }
    register_module("blocks", blocks);
    if (stage + 1 == config.depths.size()) return;
    const std::int64_t dim = config.width(stage);
    norm_ = register_at(*this, "downsample.norm", LayerNorm(4 * dim, kNormEps));
    const Linear reduction = Linear(4 * dim, 2 * dim, /*with_bias=*/false);
    reduction_ = InferenceLinear({register_at(*this, "downsample.reduction", reduction)});
  }

  Tensor forward(const Tensor& input) const {
    Tensor x = input;
    for (const auto& block : blocks_) x = block->forward(x);
    if (reduction_.is_empty()) return x;
    // the first two neighbours are of the left column
    const Tensor neighbours = x.unflatten(1, {-1, 2}).unflatten(3, {-1, 2}).permute({0, 1, 3, 4, 2, 5}).flatten(3);
    return reduction_.forward(norm_->forward(neighbours));
  }

 private:
  std::vector<std::shared_ptr<Block>> blocks_;
  LayerNorm norm_{nullptr};
  InferenceLinear reduction_;  ///< empty: the last stage
};

}  // namespace detail

namespace {

// --- configs
// ----------------------------------------------------------------------------------------------------------

/// A number for both, or two.
Pair read_pair(const detail::Json& json, const char* key, Pair fallback) {
  constexpr std::int64_t kMost = 256;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) {
    const std::int64_t side = detail::read_size(kConfig, json, key, kMost, fallback[0]);
    return found == json.end() ? fallback : Pair{side, side};
  }
  if (found->size() != 2) detail::failure(kConfig, "\"", key, "\" has ", found->size(), " values, wanted two");
  return {detail::read_size(kConfig, {{key, found->at(0)}}, key, kMost),
          detail::read_size(kConfig, {{key, found->at(1)}}, key, kMost)};
}

std::vector<std::int64_t> read_stages(const detail::Json& json, const char* key, std::int64_t most,
                                      const std::vector<std::int64_t>& fallback) {
  constexpr std::size_t kMostStages = 8;
  const std::vector<std::int64_t> values = detail::get_or(kConfig, json, key, fallback);
  if (values.empty() || values.size() > kMostStages) {
    detail::failure(kConfig, "\"", key, "\" has ", values.size(), " values, wanted 1 to ", kMostStages);
  }
  for (const std::int64_t value : values) {
    if (value < 1 || value > most) detail::failure(kConfig, "\"", key, "\" has ", value, ", wanted 1 to ", most);
  }
  return values;
}

/// Refuses what the reference could not run: each stage halves a whole number of patches and holds a whole window.
void check_grid(const ClapAudioConfig& config) {
  const Pair first = config.grid(0), padding = patch_padding(config);
  for (std::size_t side = 0; side < 2; ++side) {
    const std::int64_t size = config.patch_size[side], stride = config.patch_stride[side];
    if (size < stride || config.spec_size < size ||
        (config.spec_size + 2 * padding[side] - size) / stride + 1 != first[side]) {
      detail::failure(kConfig, "\"patch_size\" ", size, " with \"patch_stride\" ", stride, " does not make ",
                      first[side], " patches of \"spec_size\" ", config.spec_size);
    }
    if (config.enable_fusion && config.spec_size + 2 * padding[side] < kPieces * size) {
      detail::failure(kConfig, "\"patch_size\" ", size, " leaves no place for ", kPieces, " pieces in \"spec_size\" ",
                      config.spec_size);
    }
    const std::int64_t parts = std::int64_t{1} << (config.depths.size() - 1);
    if (first[side] % parts != 0 || first[side] / parts < config.window_size) {
      detail::failure(kConfig, "\"spec_size\" ", config.spec_size, " holds ", first[side], " patches, wanted ", parts,
                      " times at least \"window_size\" ", config.window_size, " for \"depths\" of ",
                      config.depths.size(), " stages");
    }
  }
}

void check_sizes(const ClapAudioConfig& config) {
  double weights = 0;
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage) {
    const auto dim = static_cast<double>(config.width(stage)), depth = static_cast<double>(config.depths[stage]);
    const auto window = static_cast<double>(config.window_size),
               heads = static_cast<double>(config.num_attention_heads[stage]);
    const Pair grid = config.grid(stage);
    weights += depth * (4 * dim * dim + 2 * dim * dim * config.mlp_ratio + 4 * window * window * heads) + 8 * dim * dim;
    const double scores = static_cast<double>(grid[0] * grid[1]) * window * window * heads;
    if (scores > kMostScores) {
      detail::failure(kConfig, "\"spec_size\", \"window_size\" and \"num_attention_heads\" ask for ", scores,
                      " scores in a layer, at most ", kMostScores, " are accepted");
    }
    detail::check_heads(kConfig, "num_attention_heads", config.num_attention_heads[stage], "the width of its stage",
                        config.width(stage));
  }
  detail::check_weights(kConfig, weights);
}

ClapAudioConfig read_audio(const detail::Json& json) {
  ClapAudioConfig config;
  const auto size = [&](const char* key, std::int64_t most, std::int64_t fallback) {
    return detail::read_size(kConfig, json, key, most, fallback);
  };
  config.window_size = size("window_size", 64, config.window_size);
  config.num_mel_bins = size("num_mel_bins", 1'024, config.num_mel_bins);
  config.spec_size = size("spec_size", 4'096, config.spec_size);
  config.hidden_act = detail::read_activation(kConfig, json, "hidden_act", config.hidden_act);
  config.patch_size = read_pair(json, "patch_size", config.patch_size);
  config.patch_stride = read_pair(json, "patch_stride", config.patch_stride);
  config.hidden_size = size("hidden_size", 16'384, config.hidden_size);
  config.depths = read_stages(json, "depths", 64, config.depths);
  config.num_attention_heads = read_stages(json, "num_attention_heads", 256, config.num_attention_heads);
  config.enable_fusion = detail::get_or(kConfig, json, "enable_fusion", config.enable_fusion);
  config.patch_embeds_hidden_size = size("patch_embeds_hidden_size", 16'384, config.patch_embeds_hidden_size);
  config.enable_patch_layer_norm =
      detail::get_or(kConfig, json, "enable_patch_layer_norm", config.enable_patch_layer_norm);
  config.qkv_bias = detail::get_or(kConfig, json, "qkv_bias", config.qkv_bias);
  config.mlp_ratio = detail::get_or(kConfig, json, "mlp_ratio", config.mlp_ratio);
  config.aff_block_r = size("aff_block_r", config.patch_embeds_hidden_size, config.aff_block_r);
  config.layer_norm_eps = detail::read_epsilon(kConfig, json, "layer_norm_eps", config.layer_norm_eps);
  if (!(config.mlp_ratio * static_cast<double>(config.patch_embeds_hidden_size) >= 1 && config.mlp_ratio <= 64)) {
    detail::failure(kConfig, "\"mlp_ratio\" is ", config.mlp_ratio, ", wanted up to 64 and at least one value");
  }
  if (config.depths.size() != config.num_attention_heads.size()) {
    detail::failure(kConfig, "\"num_attention_heads\" has ", config.num_attention_heads.size(),
                    " values, \"depths\" has ", config.depths.size());
  }
  if (config.spec_size % config.num_mel_bins != 0) {
    detail::failure(kConfig, "\"spec_size\" is ", config.spec_size, ", wanted a multiple of \"num_mel_bins\" ",
                    config.num_mel_bins);
  }
  if (const std::int64_t last = config.width(config.depths.size() - 1); config.hidden_size != last) {
    detail::failure(kConfig, "\"hidden_size\" is ", config.hidden_size, ", the last stage gives ", last);
  }
  if (const auto channels = size("patch_embed_input_channels", 1'024, 1); channels != 1) {
    detail::failure(kConfig, "\"patch_embed_input_channels\" is ", channels, ", known is 1");
  }
  if (!detail::get_or(kConfig, json, "flatten_patch_embeds", true)) {
    detail::failure(kConfig, "\"flatten_patch_embeds\" is false, known is true");
  }
  if (const auto type = detail::get_or<std::string>(kConfig, json, "fusion_type", "");
      config.enable_fusion && type == "channel_map") {
    detail::failure(kConfig, "\"fusion_type\" is ", detail::shown(type), ", known is the fusion of maps of patches");
  }
  check_grid(config);
  check_sizes(config);
  return config;
}

/// RoBERTa's keys, with the defaults of this family where they are not written.
RobertaConfig read_text(const detail::Json& written) {
  detail::Json json{{"vocab_size", 50'265},      {"hidden_size", 768},         {"num_hidden_layers", 12},
                    {"num_attention_heads", 12}, {"intermediate_size", 3'072}, {"max_position_embeddings", 514},
                    {"type_vocab_size", 1},      {"pad_token_id", 1}};
  json.update(written);
  return detail::read_roberta(kConfig, json);
}

std::string read_model_type(const detail::Json& json) {
  const auto type = detail::get<std::string>(kConfig, json, "model_type");
  if (type != "clap" && type != kAudio && type != kText) {
    detail::failure(kConfig, "\"model_type\" is ", detail::shown(type), ", known are clap, ", kAudio, " and ", kText);
  }
  return type;
}

// --- towers
// -----------------------------------------------------------------------------------------------------------

/// Two linear layers; none where the checkpoint of one tower alone lacks them.
struct Projection {
  Projection(const Checkpoint& checkpoint, const std::string& name, std::int64_t in, const ClapConfig& config,
             bool wanted)
      : prefix(name + "."), activation(config.projection_hidden_act), normalised(wanted) {
    if (!wanted && !checkpoint.contains(name + ".linear1.weight")) return;
    module = std::make_shared<torch::nn::Module>();
    first = module->register_module("linear1", Linear(in, config.projection_dim));
    second = module->register_module("linear2", Linear(config.projection_dim, config.projection_dim));
    load_weights(*module, checkpoint, prefix);
  }

  bool empty() const { return module == nullptr; }
  std::int64_t count() const { return empty() ? 0 : detail::count_parameters(*module); }
  void add_to(std::vector<TrainablePart>& parts) const {
    if (!empty()) parts.push_back({prefix, module});
  }
  std::string described() const { return empty() ? "" : normalised ? ", projected, unit length" : ", projected"; }

  Tensor forward(const Tensor& pooled) const {
    if (empty()) return pooled;
    const Tensor projected = second->forward(activate(first->forward(pooled), activation));
    return normalised ? normalise(projected) : projected;
  }

  std::string prefix;
  std::shared_ptr<torch::nn::Module> module;  ///< of both layers
  Linear first{nullptr}, second{nullptr};
  Activation activation;
  bool normalised;
};

std::unique_ptr<AudioEncoder> load_audio(const std::filesystem::path& directory, const ClapConfig& config,
                                         const Checkpoint& checkpoint, const ClapOptions& options,
                                         const std::optional<Similarity>& similarity) {
  const ClapAudioConfig& audio = config.audio_config;
  const ClapFeatureExtractor extractor = ClapFeatureExtractor::load(directory);
  const bool fusion = extractor.truncation == ClapTruncation::fusion;
  if (extractor.feature_size != audio.num_mel_bins || extractor.frames() > audio.max_frames()) {
    detail::failure(kLoad, "the feature extractor gives ", extractor.frames(), " frames (\"max_length_s\") of ",
                    extractor.feature_size, " bands (\"feature_size\"), the network takes up to ", audio.max_frames(),
                    " of ", audio.num_mel_bins);
  }
  if (fusion != audio.enable_fusion) {
    detail::failure(kLoad, "\"truncation\" of the feature extractor is ", fusion ? "fusion" : "rand_trunc",
                    ", \"enable_fusion\" of the network is ", audio.enable_fusion ? "true" : "false");
  }
  if (options.whole_clips && !fusion && !options.seed) {
    detail::bad_argument(kLoad, "whole clips with rand_trunc want a seed: a piece is drawn at random");
  }
  ClapAudio network(audio);
  const std::string prefix =
      checkpoint.contains("audio_model.audio_encoder.norm.weight") ? "audio_model.audio_encoder." : "audio_encoder.";
  detail::load_tower(kLoad, *network, checkpoint, prefix, {".num_batches_tracked", ".relative_position_index"});
  const Projection projection(checkpoint, "audio_projection", audio.hidden_size, config, similarity.has_value());

  Description lines = extractor.describe();
  if (fusion) {
    lines.emplace_back("fusion", options.fuse_short_clips
                                     ? "a clip that fits the window with copies of itself, as the reference does alone"
                                     : "not of a clip that fits the window");
  }
  if (!options.whole_clips) {
    lines.emplace_back("long_clips", "refused: cut into windows by the caller");
  } else {
    const std::string drawn = options.seed ? "drawn with seed " + std::to_string(*options.seed) : "";
    lines.emplace_back("long_clips", fusion
                                         ? "the whole and three pieces" +
                                               (options.seed ? ", " + drawn : std::string(": first, middle and last"))
                                         : "one piece, " + drawn);
  }
  const Description described = detail::describe_network(
      {.hidden_act = audio.hidden_act}, "mean over the patches" + projection.described(), *network, similarity);
  lines.insert(lines.end(), described.begin(), described.end());
  std::vector<TrainablePart> parts{{prefix, network.ptr()}};
  projection.add_to(parts);
  return std::make_unique<detail::AudioTower>(
      similarity ? "clap" : kAudio,
      detail::ClipLimits{
          .sample_rate = extractor.sampling_rate,
          .least = 1,
          .most = options.whole_clips ? kLongestClip * extractor.sampling_rate : extractor.max_samples()},
      projection.empty() ? audio.hidden_size : config.projection_dim,
      [extractor, options](std::span<const float> samples) { return extractor(samples, options.seed).mels; },
      [extractor, options, network, projection, place = detail::Place()](std::span<const float> samples) {
        const ClapFeatures features = extractor(samples, options.seed);
        const auto forward = [&](const Tensor& mels) {
          return projection.forward(network->forward(mels, features.longer || options.fuse_short_clips));
        };
        return place.run(forward, features.mels.unsqueeze(0));
      },
      lines, std::move(parts));
}

class ClapTextEncoder : public TextEncoder, public Trainable {
 public:
  ClapTextEncoder(const detail::ModelFiles& files, const ClapConfig& config,
                  const std::optional<Similarity>& similarity)
      : config_(config.text_config),
        similarity_(similarity),
        model_(kLoad, files, network_of(config_, similarity ? "clap" : kText)),
        pooler_(config_.hidden_size, config_.hidden_size),
        projection_(files.checkpoint, "text_projection", config_.hidden_size, config, similarity.has_value()),
        dim_(projection_.empty() ? config_.hidden_size : config.projection_dim) {
    load_weights(*pooler_, files.checkpoint, pooler_prefix());
  }

  std::int64_t dim() const override { return dim_; }
  std::int64_t max_tokens() const override { return model_.max_tokens(); }
  const Tokenizer& tokenizer() const override { return model_.tokenizer(); }

  Tensor encode(const std::vector<std::string>& texts) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    return model_.run(texts, dim_, [this](const Tensor& hidden, const Tensor&) {
      return projection_.forward(pooler_->forward(hidden.select(1, 0)).tanh());
    });
  }

  std::vector<TrainablePart> trainable() override {
    std::vector<TrainablePart> parts{model_.part(), {pooler_prefix(), pooler_.ptr()}};
    projection_.add_to(parts);
    return parts;
  }

  Description describe() const override {
    Description lines = model_.describe();
    lines.emplace_back("pooling", "the first token through the pooler, tanh" + projection_.described());
    if (similarity_) lines.emplace_back("similarity", detail::describe_similarity(*similarity_));
    lines.emplace_back("parameters", std::to_string(model_.count_parameters() + detail::count_parameters(*pooler_) +
                                                    projection_.count()));
    return lines;
  }

 private:
  static detail::TextNetwork network_of(const RobertaConfig& config, const char* model_type) {
    detail::TextNetwork network = detail::roberta_network(model_type, config);
    network.prefix = "text_model.";
    return network;
  }
  std::string pooler_prefix() const { return model_.part().prefix + "pooler.dense."; }

  RobertaConfig config_;
  std::optional<Similarity> similarity_;
  detail::TextModel model_;
  Linear pooler_;
  Projection projection_;
  std::int64_t dim_;
};

}  // namespace

ClapFeatureExtractor ClapFeatureExtractor::load(const std::filesystem::path& directory) {
  const detail::Json json = detail::read_extractor(kExtractor, directory, "ClapFeatureExtractor");
  ClapFeatureExtractor extractor;
  const auto size = [&](const char* key, std::int64_t most, int fallback) {
    return static_cast<int>(detail::read_size(kExtractor, json, key, most, fallback));
  };
  extractor.feature_size = size("feature_size", 1'024, extractor.feature_size);
  extractor.sampling_rate = size("sampling_rate", 768'000, extractor.sampling_rate);
  extractor.hop_length = size("hop_length", 16'384, extractor.hop_length);
  extractor.max_length_s = size("max_length_s", kLongestClip, extractor.max_length_s);
  extractor.fft_window_size = size("fft_window_size", 16'384, extractor.fft_window_size);
  extractor.frequency_min = detail::get_or(kExtractor, json, "frequency_min", extractor.frequency_min);
  extractor.frequency_max = detail::get_or(kExtractor, json, "frequency_max", extractor.frequency_max);
  extractor.truncation = read_name(json, "truncation", kTruncations);
  extractor.padding = read_name(json, "padding", kPaddings);
  if (extractor.fft_window_size % 2 != 0) {
    detail::failure(kExtractor, "\"fft_window_size\" is ", extractor.fft_window_size, ", wanted an even number");
  }
  if (!(extractor.frequency_min >= 0 && extractor.frequency_min < extractor.frequency_max &&
        extractor.frequency_max <= 768'000)) {
    detail::failure(kExtractor, "\"frequency_min\" and \"frequency_max\" are ", extractor.frequency_min, " and ",
                    extractor.frequency_max, " Hz, wanted 0 or more, and above it up to 768000");
  }
  if (extractor.max_samples() > kMostSamples) {
    detail::failure(kExtractor, "\"max_length_s\" times \"sampling_rate\" is ", extractor.max_samples(),
                    " samples, at most ", kMostSamples, " are accepted");
  }
  return extractor;
}

ClapFeatures ClapFeatureExtractor::operator()(std::span<const float> samples, std::optional<std::uint32_t> seed) const {
  if (samples.empty()) detail::bad_argument(kExtractor, "at least 1 sample is wanted, there is none");
  const MelOptions options = mel_options(*this);
  const auto spectrogram = [&](std::span<const float> part) {
    Spectrogram mel = log_mel(part, options);
    return torch::from_blob(mel.values.data(), {mel.rows, mel.columns}).t().contiguous();
  };
  const auto window = static_cast<std::size_t>(max_samples());
  const std::int64_t channels = truncation == ClapTruncation::fusion ? kPieces + 1 : 1;
  if (samples.size() <= window) {
    return {.mels = spectrogram(padded(samples, window, padding)).expand({channels, -1, -1})};
  }
  if (truncation == ClapTruncation::rand_trunc) {
    if (!seed) {
      detail::bad_argument(kExtractor, samples.size(), " samples are more than the window of ", window,
                           ": a seed is wanted to draw a piece");
    }
    const std::int64_t start = NumpyRandom(*seed).below(std::ssize(samples) - max_samples() + 1);
    return {.mels = spectrogram(samples.subspan(static_cast<std::size_t>(start), window)).unsqueeze(0), .longer = true};
  }
  const Tensor mel = spectrogram(samples);  // (frames of the whole clip, feature_size)
  const std::int64_t last = mel.size(0) - frames();
  if (last == 0) return {.mels = mel.expand({channels, -1, -1})};
  std::vector<Tensor> mels{torch::upsample_bilinear2d(mel.unsqueeze(0).unsqueeze(0), {frames(), feature_size},
                                                      /*align_corners=*/false)[0][0]};
  for (const std::int64_t start : choose_pieces(last, seed)) mels.push_back(mel.slice(0, start, start + frames()));
  return {.mels = torch::stack(mels), .longer = true};
}

Description ClapFeatureExtractor::describe() const {
  std::ostringstream mel, to;
  mel << feature_size << (truncation == ClapTruncation::fusion ? " htk" : " slaney") << " bands from " << frequency_min
      << " to " << frequency_max << " Hz, window " << fft_window_size << " (periodic Hann), hop " << hop_length
      << ", centred with reflection, decibels from -100";
  to << "to " << max_length_s << " s";
  const auto how = [&] {
    switch (padding) {
      case ClapPadding::repeatpad:
        return "the clip as often as it fits, then zeros, ";
      case ClapPadding::repeat:
        return "the clip again and again, ";
      case ClapPadding::pad:
        return "zeros ";
    }
    return "";
  };
  return {{"mel", mel.str()}, {"padding", how() + to.str()}};
}

Pair ClapAudioConfig::grid(std::size_t stage) const {
  return {(spec_size / patch_stride[0]) >> stage, (spec_size / patch_stride[1]) >> stage};
}

ClapConfig ClapConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_json(kConfig, config_json);
  const std::string type = read_model_type(json);
  ClapConfig config;
  config.projection_dim = detail::read_size(kConfig, json, "projection_dim", 16'384, config.projection_dim);
  config.projection_hidden_act =
      detail::read_activation(kConfig, json, "projection_hidden_act", config.projection_hidden_act);
  if (type != kText)
    config.audio_config = read_audio(type == kAudio ? json : detail::read_part(kConfig, json, "audio_config"));
  if (type != kAudio)
    config.text_config = read_text(type == kText ? json : detail::read_part(kConfig, json, "text_config"));
  return config;
}

ClapAudioImpl::ClapAudioImpl(const ClapAudioConfig& config) : config_(config) {
  batch_norm_ = register_module("batch_norm", std::make_shared<detail::ClapBatchNorm>(config.num_mel_bins));
  patches_ = register_module("patch_embed", std::make_shared<detail::ClapPatches>(config));
  torch::nn::ModuleList stages;
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage) {
    stages_.push_back(std::make_shared<detail::ClapStage>(config, stage));
    stages->push_back(stages_.back());
  }
  register_module("layers", stages);
  norm_ = register_module("norm", LayerNorm(config.hidden_size, kNormEps));
}

/// Strips of the spectrogram, one below the other: time runs right in each. (N, C, frames, bins) -> (N, C, S, S)
Tensor ClapAudioImpl::fold(const Tensor& mels) const {
  const std::int64_t strips = config_.freq_ratio();
  const Tensor wide =
      mels.size(2) == config_.max_frames()
          ? mels
          : torch::upsample_bicubic2d(mels, {config_.max_frames(), mels.size(3)}, /*align_corners=*/true);
  return wide.unflatten(2, {strips, -1}).transpose(3, 4).flatten(2, 3);
}

Tensor ClapAudioImpl::forward(const Tensor& mels, bool longer) const {
  const std::int64_t channels = config_.enable_fusion ? kPieces + 1 : 1;
  if (mels.dim() != 4 || mels.size(1) != channels || mels.size(2) < 1 || mels.size(2) > config_.max_frames() ||
      mels.size(3) != config_.num_mel_bins) {
    detail::bad_argument("ClapAudio", "mels are (N, ", channels, ", 1 to ", config_.max_frames(), ", ",
                         config_.num_mel_bins, "), got ", mels.sizes());
  }
  const Tensor normed = batch_norm_->forward(mels.transpose(1, 3)).transpose(1, 3);
  Tensor x = patches_->forward(fold(normed), longer);
  for (const auto& stage : stages_) x = stage->forward(x);
  return norm_->forward(x).mean({1, 2});
}

AnyEncoder load_clap(const std::filesystem::path& directory, const ClapOptions& options) {
  const std::string type = read_model_type(detail::read_json(kConfig, directory / "config.json"));
  const ClapConfig config = ClapConfig::load(directory / "config.json");
  const detail::ModelFiles files = detail::open_model(kLoad, directory);
  const Checkpoint& checkpoint = files.checkpoint;
  AnyEncoder encoder;
  if (type == "clap") {
    const float scale = std::exp(detail::load_scalar(kLoad, checkpoint, "logit_scale_a"));
    encoder.similarity = Similarity{.kind = SimilarityKind::softmax, .scale = scale};
  }
  if (type != kText) encoder.audio = load_audio(directory, config, checkpoint, options, encoder.similarity);
  if (type != kAudio) {
    encoder.text = std::make_unique<ClapTextEncoder>(files, config, encoder.similarity);
  }
  return encoder;
}

}  // namespace trine
