#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "encoder_testing.h"
#include "trine/encoders/encoder.h"

/// What the tests of text families share: directories that make_texts.py has written, and checks that each must pass.

namespace trine::testing {

inline const fs::path kTexts = fs::path(TRINE_TEST_DATA) / "golden/texts";

/// Texts and tensors of a golden file.
struct Expected {
  explicit Expected(const fs::path& path)
      : checkpoint(Checkpoint::open(path)), texts(metadata("texts").get<std::vector<std::string>>()) {}
  torch::Tensor at(const std::string& name) const { return load_tensor(checkpoint, name); }
  Json metadata(const std::string& name) const {
    return detail::parse_json("test", checkpoint.metadata().at(name), name);
  }

  Checkpoint checkpoint;
  std::vector<std::string> texts;
};

/// A copy of a text family's directory, a name or a path, with the tokenizer that all of them have.
class TextDirectory : public Directory {
 public:
  explicit TextDirectory(const fs::path& name) : Directory(kTexts / name) {
    fs::copy(fs::path(TRINE_TEST_DATA) / "golden/text/tokenizer.json", path());
  }

  /// Sets a key of config.json, or removes it with null.
  void set(const std::string& key, const Json& value) const {
    change("config.json", [&](Json& json) {
      if (value.is_null())
        json.erase(key);
      else
        json[key] = value;
    });
  }
};

/// Hidden states of the golden batch, from a network loaded by its parts.
template <typename Network, typename Config>
void expect_hidden_states(const std::string& name, const std::string& prefix) {
  const Expected expected(kTexts / name / "expected.safetensors");
  const torch::NoGradGuard no_grad;
  Network network(Config::load(kTexts / name / "config.json"));
  load_weights(*network, Checkpoint::open(kTexts / name), prefix);
  const torch::Tensor mask = expected.at("mask");
  const torch::Tensor hidden = network->forward(expected.at("ids"), mask) * mask.unsqueeze(-1);
  const double difference = relative_difference(hidden, expected.at("hidden"));
  ::testing::Test::RecordProperty(name + "_hidden_difference", std::to_string(difference));
  EXPECT_LT(difference, 1e-4) << name;
}

/// What sentence-transformers makes of the texts, also without a prefix of the keys.
inline void expect_vectors(const std::string& name, const std::string& prefix) {
  const Expected expected(kTexts / name / "expected.safetensors");
  const TextDirectory directory(name);
  for (const bool prefixed : {true, false}) {
    if (!prefixed) {
      directory.change_weights([&](std::map<std::string, torch::Tensor>& tensors) {
        std::map<std::string, torch::Tensor> renamed;
        for (const auto& [key, tensor] : tensors) {
          if (key.starts_with(prefix)) renamed[key.substr(prefix.size())] = tensor;
        }
        tensors = renamed;
      });
    }
    const AnyEncoder encoder = load_encoder(directory.path());
    ASSERT_TRUE(encoder.text) << name;
    const torch::Tensor vectors = encoder.text->encode(expected.texts);
    EXPECT_LT(largest_difference(vectors, expected.at("vectors")), 1e-4) << name << prefixed;
    EXPECT_GT(smallest_cosine(vectors, expected.at("vectors")), 0.99999) << name << prefixed;
  }
}

inline std::vector<std::string> many_texts(std::size_t count) {
  const Expected expected(kTexts / "bert/expected.safetensors");
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    texts.push_back(expected.texts[i % expected.texts.size()].substr(0, 3 * i) + std::string(i % 5, 'a'));
    while (!texts.back().empty() && (texts.back().back() & 0x80) != 0) texts.back().pop_back();
  }
  return texts;
}

/// `run` makes rows of texts: the same in any batch, order and number of threads.
inline void expect_no_batch_effect(const std::function<torch::Tensor(const std::vector<std::string>&)>& run) {
  const std::vector<std::string> texts = many_texts(40);
  const auto [all, with_two] = with_one_and_two_threads([&] { return run(texts); });
  EXPECT_LT(largest_difference(with_two, all), 1e-5);
  EXPECT_LT(largest_difference(run({texts.rbegin(), texts.rend()}).flip(0), all), 1e-5);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LT(largest_difference(run({texts[i]})[0], all[static_cast<std::int64_t>(i)]), 1e-5) << texts[i];
  }
}

}  // namespace trine::testing
