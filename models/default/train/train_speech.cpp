// Trains the head that takes Whisper's features of a spoken sentence to the sentence's place in the text space.
//
// First every clip goes through the frozen encoder once per copy, each copy with its own speed, room and noise, and the
// features are kept on disk as fp16. Then the head learns from them: cross-entropy over all training sentences plus one
// minus the cosine to the right one. Everything random depends on seed, clip and epoch alone, so both parts go on where
// they were killed.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

#include "corpus.h"
#include "trine/encoders/bert.h"
#include "trine/encoders/whisper.h"
#include "trine/heads.h"
#include "trine/input/audio.h"
#include "trine/train/loss.h"
#include "trine/train/trainer.h"

namespace fs = std::filesystem;
using torch::Tensor;

using namespace training;

namespace {

struct Options {
  fs::path encoder, text_encoder, corpus, noise, cache, out, run;
  int epochs = 9;
  int batch = 96;
  int threads = 2;
  double learning_rate = 1.2e-3;
  double weight_decay = 0.02;
  double dropout = 0.1;
  double temperature = 0.05;
  double cosine_weight = 2.0;
  std::uint64_t seed = 1;
};

/// One copy of a clip's features: (steps, dim) fp16 in a cache file.
struct Features {
  std::size_t clip = 0;
  Tensor pairs;
};

/// A room: the direct sound and noise that decays over 0.1 to 0.5 s.
void add_room(std::vector<float>& samples, std::mt19937_64& random) {
  const double seconds = std::uniform_real_distribution<>(0.1, 0.5)(random);
  const double wet = std::uniform_real_distribution<>(0.1, 0.5)(random);
  std::normal_distribution<float> normal;
  const auto length = static_cast<std::int64_t>(seconds * kRate);
  Tensor response = torch::empty({length});
  float* values = response.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < length; ++i) {
    values[i] =
        normal(random) * static_cast<float>(std::exp(-6.9 * static_cast<double>(i) / static_cast<double>(length)));
  }
  response *= wet / response.norm();
  response[0] = 1.0;
  const auto size = static_cast<std::int64_t>(samples.size());
  const Tensor dry = torch::from_blob(samples.data(), {size});
  const std::int64_t total = size + length;
  const Tensor mixed = torch::fft_irfft(torch::fft_rfft(dry, total) * torch::fft_rfft(response, total), total);
  samples.assign(mixed.const_data_ptr<float>(), mixed.const_data_ptr<float>() + size);
}

/// Copy 0 is nearly the clip itself, copy 1 is out in the world.
trine::Audio disturbed(const trine::Audio& clip, int copy, const std::vector<std::vector<float>>& noise,
                       std::mt19937_64& random) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  trine::Audio result = clip;
  if (uniform(0, 1) < 0.7) {
    const double speed = copy == 0 ? uniform(0.95, 1.08) : uniform(0.88, 1.15);
    result.samples = trine::resample(result.samples, static_cast<int>(kRate * speed), kRate);
  }
  if (copy == 0) return result;
  if (uniform(0, 1) < 0.5) add_room(result.samples, random);
  if (uniform(0, 1) < 0.85) add_noise(result.samples, noise[random() % noise.size()], uniform(-2, 20), random);
  return result;
}

/// The features of every copy, from the cache or made now. Order: copy by copy, clip by clip.
std::vector<Features> features_of(const std::vector<Clip>& clips, const Options& options) {
  constexpr std::size_t kChunk = 500;
  const auto encoder = trine::load_whisper(options.encoder);
  const std::vector<std::vector<float>> train_noise = read_noise(options.noise, "123"),
                                        val_noise = read_noise(options.noise, "4");
  fs::create_directories(options.cache);
  std::vector<Features> all;
  const std::size_t total = clips.size() * 2;
  trine::train::ProgressBar bar("speech features", static_cast<std::int64_t>(total));
  for (std::size_t first = 0; first < total; first += kChunk) {
    const std::size_t count = std::min(kChunk, total - first);
    const fs::path file = options.cache / ("features-" + std::to_string(first) + ".safetensors");
    if (!fs::exists(file)) {
      std::vector<Tensor> made(count);
      std::atomic<std::size_t> next{0};
      const auto work = [&] {
        const torch::NoGradGuard no_grad;
        at::set_num_threads(1);
        for (std::size_t i = next++; i < count; i = next++) {
          const Clip& clip = clips[(first + i) % clips.size()];
          const int copy = static_cast<int>((first + i) / clips.size());
          std::seed_seq seed{options.seed, static_cast<std::uint64_t>(first + i)};
          std::mt19937_64 random(seed);
          const auto& noise = clip.split == "train" ? train_noise : val_noise;
          const trine::Audio sound = trine::read_audio(options.corpus / clip.path, {.sample_rate = kRate});
          const trine::Audio heard = clip.split == "val" && copy == 0 ? sound : disturbed(sound, copy, noise, random);
          made[i] = trine::mean_of_pairs(encoder->encode(trine::trim_and_level(heard))).to(torch::kFloat16);
        }
      };
      std::vector<std::thread> workers;
      for (int i = 0; i < options.threads; ++i) workers.emplace_back(work);
      for (std::thread& worker : workers) worker.join();
      std::map<std::string, Tensor> tensors;
      for (std::size_t i = 0; i < count; ++i) tensors.emplace(std::to_string(first + i), made[i]);
      trine::save_tensors(file, tensors);
    }
    const trine::Checkpoint chunk = trine::Checkpoint::open(file);
    for (std::size_t i = first; i < first + count; ++i) {
      all.push_back({i % clips.size(), trine::load_tensor(chunk, std::to_string(i)).to(torch::kFloat16)});
    }
    bar.show(static_cast<std::int64_t>(first + count));
  }
  return all;
}

/// Clips side by side, zero behind the shorter ones. -> (N, T, D) fp32, mask (N, T)
std::pair<Tensor, Tensor> padded(const std::vector<const Features*>& items) {
  std::int64_t longest = 0;
  for (const Features* item : items) longest = std::max(longest, item->pairs.size(0));
  const auto count = static_cast<std::int64_t>(items.size());
  Tensor batch = torch::zeros({count, longest, items[0]->pairs.size(1)});
  Tensor mask = torch::zeros({count, longest}, torch::kBool);
  for (std::int64_t i = 0; i < count; ++i) {
    const Tensor& pairs = items[static_cast<std::size_t>(i)]->pairs;
    batch[i].slice(0, 0, pairs.size(0)).copy_(pairs);
    mask[i].slice(0, 0, pairs.size(0)).fill_(true);
  }
  return {batch, mask};
}

/// Silences up to two stretches of at most a fifth of the clip.
void mask_time(Tensor& mask, const std::vector<const Features*>& items, std::mt19937_64& random) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::int64_t steps = items[i]->pairs.size(0);
    for (std::uint64_t n = random() % 3; n > 0 && steps >= 10; --n) {
      const auto length = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(steps / 8 + 1));
      const auto start = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(steps - length));
      mask[static_cast<std::int64_t>(i)].slice(0, start, start + length).fill_(false);
    }
  }
}

/// Share of the clips whose nearest text among those of the same set is theirs.
double recall(trine::SpeechHead& head, const std::vector<Features>& features, const std::vector<Clip>& clips, int copy,
              const std::string& set, const std::map<std::string, std::int64_t>& number, const Tensor& texts) {
  const torch::NoGradGuard no_grad;
  head->eval();
  std::vector<const Features*> items;
  std::map<std::int64_t, std::int64_t> column;
  for (std::size_t i = 0; i < features.size(); ++i) {
    const Clip& clip = clips[features[i].clip];
    if (clip.split != "val" || clip.set != set || static_cast<int>(i / clips.size()) != copy) continue;
    items.push_back(&features[i]);
    column.emplace(number.at(clip.target), static_cast<std::int64_t>(column.size()));
  }
  std::vector<std::int64_t> rows(column.size());
  for (const auto& [row, index] : column) rows[static_cast<std::size_t>(index)] = row;
  const Tensor candidates = texts.index_select(0, torch::tensor(rows));
  std::int64_t right = 0;
  for (std::size_t first = 0; first < items.size(); first += 64) {
    const std::vector<const Features*> part(
        items.begin() + static_cast<std::ptrdiff_t>(first),
        items.begin() + static_cast<std::ptrdiff_t>(std::min(first + 64, items.size())));
    const auto [batch, mask] = padded(part);
    const Tensor best = head->forward(batch, mask).matmul(candidates.t()).argmax(1);
    for (std::size_t i = 0; i < part.size(); ++i) {
      right +=
          best[static_cast<std::int64_t>(i)].item<std::int64_t>() == column.at(number.at(clips[part[i]->clip].target));
    }
  }
  head->train();
  return static_cast<double>(right) / static_cast<double>(std::max<std::size_t>(items.size(), 1));
}

int run(const Options& options) {
  const std::vector<Clip> clips = read_corpus(options.corpus, {"train", "val"});
  const std::vector<Features> features = features_of(clips, options);

  // the texts of train come first: they are the anchors
  std::vector<std::string> texts;
  std::map<std::string, std::int64_t> number;
  std::int64_t anchor_count = 0;
  for (const char* split : {"train", "val"}) {
    for (const Clip& clip : clips) {
      if (clip.split == split && number.emplace(clip.target, static_cast<std::int64_t>(texts.size())).second)
        texts.push_back(clip.target);
    }
    if (anchor_count == 0) anchor_count = static_cast<std::int64_t>(texts.size());
  }
  Tensor vectors;
  {
    const torch::NoGradGuard no_grad;
    vectors = trine::normalise(trine::load_bert(options.text_encoder)->encode(texts));
  }
  const Tensor anchors = vectors.slice(0, 0, anchor_count);

  torch::manual_seed(options.seed);
  trine::SpeechHead head(
      trine::SpeechHeadOptions{.feature_dim = features[0].pairs.size(1), .out_dim = vectors.size(1)});
  trine::reset_parameters(*head);
  head->dropout = options.dropout;

  std::vector<std::size_t> train;
  for (std::size_t i = 0; i < features.size(); ++i) {
    if (clips[features[i].clip].split == "train") train.push_back(i);
  }
  const auto batch_size = static_cast<std::size_t>(options.batch);
  const auto per_epoch = static_cast<std::int64_t>(train.size() / batch_size);
  const std::int64_t steps = per_epoch * options.epochs;
  trine::train::Trainer trainer(
      head.ptr(), {{head->parameters(), options.learning_rate}},
      {.steps = steps, .warmup = 0.1, .weight_decay = options.weight_decay, .averaging = 0.999, .folder = options.run});
  trainer.resume();
  head->train();
  trine::train::ProgressBar bar("speech head", steps, trainer.step_count());
  while (trainer.step_count() < steps) {
    const std::int64_t step = trainer.step_count();
    const std::int64_t epoch = step / per_epoch;
    // batches of similar length, in random order: little padding
    std::vector<std::size_t> order = train;
    std::mt19937_64 shuffler(options.seed * 1000 + static_cast<std::uint64_t>(epoch));
    std::shuffle(order.begin(), order.end(), shuffler);
    constexpr std::size_t kPool = 20;
    for (std::size_t first = 0; first < order.size(); first += kPool * batch_size) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
      const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(first + kPool * batch_size, order.size()));
      std::sort(begin, end, [&](std::size_t a, std::size_t b) {
        return std::pair(features[a].pairs.size(0), a) < std::pair(features[b].pairs.size(0), b);
      });
    }
    std::vector<std::int64_t> batches(static_cast<std::size_t>(per_epoch));
    std::iota(batches.begin(), batches.end(), 0);
    std::shuffle(batches.begin(), batches.end(), shuffler);
    for (std::int64_t i = step % per_epoch; i < per_epoch; ++i) {
      const auto first = static_cast<std::size_t>(batches[static_cast<std::size_t>(i)]) * batch_size;
      std::vector<const Features*> items;
      Tensor targets = torch::zeros({options.batch, anchor_count});
      for (std::size_t j = 0; j < batch_size; ++j) {
        items.push_back(&features[order[first + j]]);
        targets[static_cast<std::int64_t>(j)][number.at(clips[items.back()->clip].target)] = 1;
      }
      auto [batch, mask] = padded(items);
      std::mt19937_64 random(options.seed * 1'000'000 + static_cast<std::uint64_t>(trainer.step_count()));
      mask_time(mask, items, random);
      torch::manual_seed(random());  // dropout
      trainer.step(
          trine::train::anchor_loss(head->forward(batch, mask), anchors, targets,
                                    {.temperature = options.temperature, .cosine_weight = options.cosine_weight}));
      bar.show(trainer.step_count(), "epoch " + std::to_string(epoch + 1));
    }
    trainer.save();
    trine::SpeechHead averaged(
        trine::SpeechHeadOptions{.feature_dim = features[0].pairs.size(1), .out_dim = vectors.size(1)});
    {
      const torch::NoGradGuard no_grad;
      const auto weights = trainer.result();
      for (auto& [name, tensor] : trine::state_dict(*averaged)) Tensor(tensor).copy_(weights.at(name));
    }
    const auto of = [&](int copy, const char* set) {
      return recall(averaged, features, clips, copy, set, number, vectors);
    };
    std::printf(
        "{\"epoch\": %d, \"loss\": %.4f, \"val_products\": %.4f, \"val_products_noisy\": %.4f, \"val_clinc\": %.4f, "
        "\"val_clinc_noisy\": %.4f, \"val_orders\": %.4f, \"val_words\": %.4f}\n",
        static_cast<int>(epoch + 1), trainer.take_mean_loss(), of(0, "products"), of(1, "products"), of(0, "clinc"),
        of(1, "clinc"), of(0, "orders"), of(0, "words"));
    std::fflush(stdout);
  }
  trine::save_tensors(options.out, trainer.result(), {}, /*half=*/true);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "train_speech --encoder DIR --text-encoder DIR --corpus DIR --noise ../shared/data/sounds_esc10 --cache DIR "
      "--out audio.safetensors");
  app.add_option("--encoder", options.encoder, "Whisper directory")->required();
  app.add_option("--text-encoder", options.text_encoder, "sentence-transformers directory")->required();
  app.add_option("--corpus", options.corpus, "folder that synthesise.py wrote")->required();
  app.add_option("--noise", options.noise, "ESC-10: folds 1 to 3 disturb training clips, 4 validation clips")
      ->required();
  app.add_option("--cache", options.cache, "folder for features")->required();
  app.add_option("--out", options.out, "where the head's tensors go")->required();
  app.add_option("--run", options.run, "folder for checkpoints; a killed run goes on from there");
  app.add_option("--epochs", options.epochs, "passes over the clips")->capture_default_str();
  app.add_option("--batch", options.batch, "clips per step")->capture_default_str();
  app.add_option("--threads", options.threads, "clips encoded at a time")->capture_default_str();
  app.add_option("--rate", options.learning_rate, "highest learning rate")->capture_default_str();
  app.add_option("--seed", options.seed, "of everything random")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
