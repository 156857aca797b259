// Trains the head that takes Whisper's features of a spoken sentence to the sentence's place in the text space.
//
// First every clip goes through the frozen encoder once per copy, each copy with its own speed, room and noise, and the
// features are kept on disk as fp16. Then the head learns from them: cross-entropy over all training sentences plus one
// minus the cosine to the right one, and for a clip that means one product cross-entropy over the products' titles.
// Everything random depends on seed, clip and epoch alone, so both parts go on where they were killed.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "corpus.h"
#include "trine/embedder.h"
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
  fs::path encoder, text_encoder, catalogue, corpus, noise, cache, out, run;
  int epochs = 4;
  int batch = 96;
  int threads = 2;
  std::int64_t width = 384;
  std::int64_t hidden = 1024;
  double learning_rate = 1.2e-3;
  double weight_decay = 0.02;
  double dropout = 0.1;
  double temperature = 0.05;
  double cosine_weight = 2.0;
  double title_weight = 1.0;
  std::uint64_t seed = 1;
};

/// One copy of a clip: what the encoder makes of it.
struct Copy {
  std::size_t clip = 0;
  int number = 0;  ///< 0: as it is, or nearly
  Tensor pairs;    ///< (steps, dim) fp16
};

/// Signal-to-noise ratios of a validation clip's copies 1 and 2, dB.
constexpr std::array<double, 2> kValDecibels{10.0, 0.0};

/// Training hears a clip twice, one that means a product four times; validation clean and at kValDecibels.
std::vector<Copy> copies_of(const std::vector<Clip>& clips) {
  std::vector<Copy> copies;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const int count = clips[i].split == "val" ? 3 : clips[i].label.empty() ? 2 : 4;
    for (int number = 0; number < count; ++number) copies.push_back({i, number, {}});
  }
  return copies;
}

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

/// Copy 0 is nearly the clip itself, the others are out in the world.
void disturb(trine::Audio& clip, int copy, const std::vector<std::vector<float>>& noise, std::mt19937_64& random) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  if (uniform(0, 1) < 0.7) {
    const double speed = copy == 0 ? uniform(0.95, 1.08) : uniform(0.88, 1.15);
    clip.samples = trine::resample(clip.samples, static_cast<int>(kRate * speed), kRate);
  }
  if (copy == 0) return;
  if (uniform(0, 1) < 0.35) add_room(clip.samples, random);
  if (uniform(0, 1) < 0.95) add_noise(clip.samples, noise[random() % noise.size()], uniform(-5, 18), random);
}

/// Fills in the features of every copy, from the cache or made now.
void encode(std::vector<Copy>& copies, const std::vector<Clip>& clips, const Options& options) {
  constexpr std::size_t kChunk = 500;
  const auto encoder = trine::load_whisper(options.encoder);
  const std::vector<std::vector<float>> train_noise = read_noise(options.noise, "123"),
                                        val_noise = read_noise(options.noise, "4");
  const auto key = [&](const Copy& copy) { return clips[copy.clip].path + "#" + std::to_string(copy.number); };
  fs::create_directories(options.cache);
  trine::train::ProgressBar bar("speech features", static_cast<std::int64_t>(copies.size()));
  for (std::size_t first = 0; first < copies.size(); first += kChunk) {
    const std::size_t end = std::min(first + kChunk, copies.size());
    const fs::path file = options.cache / ("features-" + std::to_string(first) + ".safetensors");
    if (!fs::exists(file)) {
      std::atomic<std::size_t> next{first};
      const auto work = [&] {
        const torch::NoGradGuard no_grad;
        at::set_num_threads(1);
        for (std::size_t i = next++; i < end; i = next++) {
          const Clip& clip = clips[copies[i].clip];
          std::seed_seq seed{options.seed, static_cast<std::uint64_t>(i)};
          std::mt19937_64 random(seed);
          trine::Audio sound = trine::read_audio(options.corpus / clip.path, {.sample_rate = kRate});
          const int number = copies[i].number;
          if (clip.split == "train") {
            disturb(sound, number, train_noise, random);
          } else if (number > 0) {
            const double decibels = kValDecibels.at(static_cast<std::size_t>(number - 1));
            add_noise(sound.samples, val_noise[random() % val_noise.size()], decibels, random);
          }
          copies[i].pairs = trine::mean_of_pairs(encoder->encode(trine::trim_and_level(sound))).to(torch::kFloat16);
        }
      };
      std::vector<std::thread> workers;
      for (int i = 0; i < options.threads; ++i) workers.emplace_back(work);
      for (std::thread& worker : workers) worker.join();
      std::map<std::string, Tensor> tensors;
      for (std::size_t i = first; i < end; ++i) tensors.emplace(key(copies[i]), copies[i].pairs);
      trine::save_tensors(file, tensors);
    }
    const trine::Checkpoint chunk = trine::Checkpoint::open(file);
    for (std::size_t i = first; i < end; ++i) {
      copies[i].pairs = trine::load_tensor(chunk, key(copies[i])).to(torch::kFloat16);
    }
    bar.show(static_cast<std::int64_t>(end));
  }
}

/// Clips side by side, zero behind the shorter ones. -> (N, T, D) fp32, mask (N, T)
std::pair<Tensor, Tensor> padded(const std::vector<const Copy*>& items) {
  std::int64_t longest = 0;
  for (const Copy* item : items) longest = std::max(longest, item->pairs.size(0));
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
void mask_time(Tensor& mask, const std::vector<const Copy*>& items, std::mt19937_64& random) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::int64_t steps = items[i]->pairs.size(0);
    for (std::uint64_t n = random() % 3; n > 0 && steps >= 10; --n) {
      const auto length = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(steps / 8 + 1));
      const auto start = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(steps - length));
      mask[static_cast<std::int64_t>(i)].slice(0, start, start + length).fill_(false);
    }
  }
}

/// What clips are taken to: sentences, those of training first, and the products' titles.
struct Targets {
  std::map<std::string, std::int64_t> sentence_number;
  Tensor sentences;  ///< (S, D), unit
  std::int64_t train_count = 0;
  Titles titles;
};

Targets targets_of(const std::vector<Clip>& clips, const Options& options) {
  const torch::NoGradGuard no_grad;
  const trine::Embedder text = trine::Embedder::load(options.text_encoder);
  Targets targets;
  std::vector<std::string> sentences;
  for (const char* split : {"train", "val"}) {
    for (const Clip& clip : clips) {
      if (clip.split != split) continue;
      if (targets.sentence_number.emplace(clip.target, static_cast<std::int64_t>(sentences.size())).second)
        sentences.push_back(clip.target);
    }
    if (targets.train_count == 0) targets.train_count = static_cast<std::int64_t>(sentences.size());
  }
  targets.sentences = text.embed_texts(sentences);
  targets.titles = read_titles(options.catalogue, text);
  return targets;
}

/// Share of the validation clips of `set`, heard as copy `number`, whose nearest text among those of the set is theirs;
/// for `products`, whose nearest title is their product's.
double recall(trine::SpeechHead& head, const std::vector<Copy>& copies, const std::vector<Clip>& clips,
              const Targets& targets, const std::string& set, int number) {
  const torch::NoGradGuard no_grad;
  const bool by_title = set == "products";
  std::vector<const Copy*> items;
  std::vector<std::int64_t> right;
  std::set<std::int64_t> numbers;
  for (const Copy& copy : copies) {
    const Clip& clip = clips[copy.clip];
    if (clip.split != "val" || clip.set != set || copy.number != number) continue;
    items.push_back(&copy);
    right.push_back(by_title ? targets.titles.number.at(clip.label) : targets.sentence_number.at(clip.target));
    numbers.insert(right.back());
  }
  const std::vector<std::int64_t> rows(numbers.begin(), numbers.end());
  const Tensor candidates = by_title ? targets.titles.vectors : targets.sentences.index_select(0, torch::tensor(rows));
  head->eval();
  std::int64_t hits = 0;
  for (std::size_t first = 0; first < items.size(); first += 64) {
    const std::vector<const Copy*> part(
        items.begin() + static_cast<std::ptrdiff_t>(first),
        items.begin() + static_cast<std::ptrdiff_t>(std::min(first + 64, items.size())));
    const auto [batch, mask] = padded(part);
    const Tensor best = head->forward(batch, mask).matmul(candidates.t()).argmax(1);
    for (std::size_t i = 0; i < part.size(); ++i) {
      const auto found = best[static_cast<std::int64_t>(i)].item<std::int64_t>();
      hits += (by_title ? found : rows[static_cast<std::size_t>(found)]) == right[first + i];
    }
  }
  head->train();
  return static_cast<double>(hits) / static_cast<double>(std::max<std::size_t>(items.size(), 1));
}

/// Which copies form each batch of an epoch: of similar length, in random order, so there is little padding.
std::vector<std::vector<const Copy*>> batches_of(std::vector<const Copy*> copies, std::size_t size,
                                                 std::mt19937_64 random) {
  constexpr std::size_t kPool = 20;
  std::shuffle(copies.begin(), copies.end(), random);
  for (std::size_t first = 0; first < copies.size(); first += kPool * size) {
    const std::size_t end = std::min(first + kPool * size, copies.size());
    std::stable_sort(copies.begin() + static_cast<std::ptrdiff_t>(first),
                     copies.begin() + static_cast<std::ptrdiff_t>(end),
                     [](const Copy* a, const Copy* b) { return a->pairs.size(0) < b->pairs.size(0); });
  }
  std::vector<std::vector<const Copy*>> batches;
  for (std::size_t first = 0; first + size <= copies.size(); first += size) {
    batches.emplace_back(copies.begin() + static_cast<std::ptrdiff_t>(first),
                         copies.begin() + static_cast<std::ptrdiff_t>(first + size));
  }
  std::shuffle(batches.begin(), batches.end(), random);
  return batches;
}

/// vectors (N, D) of the head for `items`.
Tensor loss_of(const Tensor& vectors, const std::vector<const Copy*>& items, const std::vector<Clip>& clips,
               const Targets& targets, const Options& options) {
  const auto count = static_cast<std::int64_t>(items.size());
  Tensor sentence = torch::zeros({count, targets.train_count});
  Tensor title = torch::zeros({count, targets.titles.vectors.size(0)});
  std::vector<std::int64_t> meant;
  for (std::int64_t i = 0; i < count; ++i) {
    const Clip& clip = clips[items[static_cast<std::size_t>(i)]->clip];
    sentence[i][targets.sentence_number.at(clip.target)] = 1;
    if (clip.label.empty()) continue;
    title[i][targets.titles.number.at(clip.label)] = 1;
    meant.push_back(i);
  }
  Tensor loss = trine::train::anchor_loss(vectors, targets.sentences.slice(0, 0, targets.train_count), sentence,
                                          {.temperature = options.temperature, .cosine_weight = options.cosine_weight});
  if (!meant.empty() && options.title_weight > 0) {
    const Tensor rows = torch::tensor(meant);
    const Tensor of_titles =
        trine::train::anchor_loss(vectors.index_select(0, rows), targets.titles.vectors, title.index_select(0, rows),
                                  {.temperature = options.temperature, .cosine_weight = 0.0});
    loss = loss + of_titles * options.title_weight * static_cast<double>(meant.size()) / static_cast<double>(count);
  }
  return loss;
}

int run(const Options& options) {
  const std::vector<Clip> clips = read_corpus(options.corpus, {"train", "val"});
  std::vector<Copy> copies = copies_of(clips);
  encode(copies, clips, options);
  const Targets targets = targets_of(clips, options);

  torch::manual_seed(options.seed);
  const trine::SpeechHeadOptions shape{.feature_dim = copies[0].pairs.size(1),
                                       .width = options.width,
                                       .hidden = options.hidden,
                                       .out_dim = targets.titles.vectors.size(1)};
  trine::SpeechHead head(shape);
  trine::reset_parameters(*head);
  head->dropout = options.dropout;

  std::vector<const Copy*> train;
  for (const Copy& copy : copies) {
    if (clips[copy.clip].split == "train") train.push_back(&copy);
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
    const std::int64_t epoch = trainer.step_count() / per_epoch;
    const auto batches =
        batches_of(train, batch_size, std::mt19937_64(options.seed * 1000 + static_cast<std::uint64_t>(epoch)));
    for (std::int64_t i = trainer.step_count() % per_epoch; i < per_epoch; ++i) {
      const std::vector<const Copy*>& items = batches[static_cast<std::size_t>(i)];
      auto [batch, mask] = padded(items);
      std::mt19937_64 random(options.seed * 1'000'000 + static_cast<std::uint64_t>(trainer.step_count()));
      mask_time(mask, items, random);
      torch::manual_seed(random());  // dropout
      trainer.step(loss_of(head->forward(batch, mask), items, clips, targets, options));
      bar.show(trainer.step_count(), "epoch " + std::to_string(epoch + 1));
    }
    trainer.save();
    trine::SpeechHead averaged(shape);
    {
      const torch::NoGradGuard no_grad;
      const auto weights = trainer.result();
      for (auto& [name, tensor] : trine::state_dict(*averaged)) Tensor(tensor).copy_(weights.at(name));
    }
    const auto of = [&](const char* set, int number) { return recall(averaged, copies, clips, targets, set, number); };
    std::printf(
        "{\"epoch\": %d, \"loss\": %.4f, \"val_products\": %.4f, \"val_products_10dB\": %.4f, "
        "\"val_products_0dB\": %.4f, \"val_clinc\": %.4f, \"val_clinc_10dB\": %.4f, \"val_orders\": %.4f, "
        "\"val_words\": %.4f}\n",
        static_cast<int>(epoch + 1), trainer.take_mean_loss(), of("products", 0), of("products", 1), of("products", 2),
        of("clinc", 0), of("clinc", 1), of("orders", 0), of("words", 0));
    std::fflush(stdout);
  }
  trine::save_tensors(options.out, trainer.result(), {}, /*half=*/true);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "train_speech --encoder DIR --text-encoder DIR --catalogue catalogue.jsonl --corpus DIR "
      "--noise ../shared/data/sounds_esc10 --cache DIR --out audio.safetensors");
  app.add_option("--encoder", options.encoder, "Whisper directory")->required();
  app.add_option("--text-encoder", options.text_encoder, "sentence-transformers directory")->required();
  app.add_option("--catalogue", options.catalogue, "the products that the corpus's labels name, JSON lines")
      ->required();
  app.add_option("--corpus", options.corpus, "folder that synthesise.py wrote")->required();
  app.add_option("--noise", options.noise, "ESC-10: folds 1 to 3 disturb training clips, 4 validation clips")
      ->required();
  app.add_option("--cache", options.cache, "folder for features")->required();
  app.add_option("--out", options.out, "where the head's tensors go")->required();
  app.add_option("--run", options.run, "folder for checkpoints; a killed run goes on from there");
  app.add_option("--epochs", options.epochs, "passes over the clips")->capture_default_str();
  app.add_option("--batch", options.batch, "clips per step")->capture_default_str();
  app.add_option("--threads", options.threads, "clips encoded at a time")->capture_default_str();
  app.add_option("--width", options.width, "of the head's convolution and pooling")->capture_default_str();
  app.add_option("--hidden", options.hidden, "units before the last layer")->capture_default_str();
  app.add_option("--title-weight", options.title_weight, "of the cross-entropy over titles")->capture_default_str();
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
