#include "encoders/text_network.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"

namespace trine::detail {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr std::size_t kMostRows = 32;        ///< of a group
constexpr std::size_t kMostPlaces = 16'384;  ///< rows times columns of a group: what attention takes grows faster still
constexpr std::int64_t kFewestTokens = 3;    ///< with the special tokens there is room for one of the text

std::int64_t read_max_tokens(const char* who, const fs::path& directory, const TextNetwork& network,
                             std::optional<std::int64_t> max_seq_length) {
  std::int64_t most = network.max_position_embeddings;
  if (max_seq_length) {
    if (*max_seq_length < kFewestTokens || *max_seq_length > most) {
      failure(who, "\"max_seq_length\" is ", *max_seq_length, ", wanted ", kFewestTokens, " to ", most,
              " (max_position_embeddings)");
    }
    most = *max_seq_length;
  } else if (const fs::path path = directory / "tokenizer_config.json"; fs::exists(path)) {
    // a real number: "no limit" is written as 10^30
    const double limit = get_or(who, read_json(who, path), "model_max_length", static_cast<double>(most));
    if (!(limit >= kFewestTokens)) {
      failure(who, path, ": \"model_max_length\" is ", limit, ", wanted at least ", kFewestTokens);
    }
    if (limit < static_cast<double>(most)) most = static_cast<std::int64_t>(limit);
  }
  return std::min(most, network.max_tokens);
}

}  // namespace

TextModel::TextModel(const char* who, const ModelFiles& files, TextNetwork network,
                     std::optional<std::int64_t> max_seq_length)
    : network_(std::move(network)),
      tokenizer_(Tokenizer::load(files.directory)),
      max_tokens_(read_max_tokens(who, files.directory, network_, max_seq_length)) {
  check_tokenizer(who, files.directory, tokenizer_, network_.vocab_size);
  const Checkpoint& checkpoint = files.checkpoint;
  const std::string probe = network_.module->named_parameters().front().key();
  if (!checkpoint.contains(network_.prefix + probe)) network_.prefix = "";
  load_weights(*network_.module, checkpoint, network_.prefix);
  network_.module->eval();
}

Tensor TextModel::run(const std::vector<std::string>& texts, std::int64_t width, const Head& head) const {
  const torch::AutoGradMode record(RecordGradients::on());
  std::vector<std::vector<std::int32_t>> ids(texts.size());
  std::transform(texts.begin(), texts.end(), ids.begin(),
                 [&](const std::string& text) { return tokenizer_.encode(text, max_tokens_).ids; });
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return ids[a].size() < ids[b].size(); });

  Tensor rows = torch::empty({std::ssize(texts), width});
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const std::size_t longest = ids[order[begin]].size() * 5 / 4 + 2;  // about a tenth of padding
    std::vector<const std::vector<std::int32_t>*> group;
    for (; end < order.size() && group.size() < kMostRows; ++end) {
      const std::size_t length = ids[order[end]].size();
      if (length > longest || (!group.empty() && (group.size() + 1) * length > kMostPlaces)) break;
      group.push_back(&ids[order[end]]);
    }
    const Tensor found = run_group(group, head);
    for (std::size_t i = begin; i < end; ++i) {
      rows[static_cast<std::int64_t>(order[i])].copy_(found[static_cast<std::int64_t>(i - begin)]);
    }
  }
  return rows;
}

/// Texts from the shortest to the longest.
Tensor TextModel::run_group(const std::vector<const std::vector<std::int32_t>*>& group, const Head& head) const {
  const std::int64_t rows = std::ssize(group), columns = std::ssize(*group.back());
  Tensor ids = torch::full({rows, columns}, network_.pad_id, torch::kInt64);
  Tensor mask = torch::zeros({rows, columns}, torch::kBool);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::vector<std::int32_t>& text = *group[static_cast<std::size_t>(row)];
    std::copy(text.begin(), text.end(), ids[row].mutable_data_ptr<std::int64_t>());
    mask[row].slice(0, 0, std::ssize(text)).fill_(true);
  }
  const auto forward = [&](const Tensor& tokens, const Tensor& real) {
    return head(network_.forward(tokens, real), real);
  };
  return place_.run(forward, ids, mask);
}

Description TextModel::describe() const {
  return {{"model_type", network_.model_type},
          {"tokenizer", tokenizer_.describe()},
          {"max_tokens", std::to_string(max_tokens_) + ", cut before the end token"},
          {"activation", std::string(to_string(network_.activation))}};
}

std::int64_t TextModel::count_parameters() const { return detail::count_parameters(*network_.module); }

std::int64_t count_parameters(const torch::nn::Module& module) {
  std::int64_t count = 0;
  for (const Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

void check_tokenizer(const char* who, const fs::path& directory, const Tokenizer& tokenizer, std::int64_t vocab_size) {
  if (tokenizer.vocab_size() > vocab_size) {
    failure(who, directory, ": the tokenizer has ", tokenizer.vocab_size(), " ids, \"vocab_size\" is ", vocab_size);
  }
  if (tokenizer.encode("").ids.empty()) {
    failure(who, directory, ": the tokenizer adds no special tokens, an empty text would have none");
  }
}

}  // namespace trine::detail
