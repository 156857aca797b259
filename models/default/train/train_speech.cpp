// Trains the head that takes Whisper's features of a spoken sentence to the sentence's place in the text space.
//
// First every clip goes through the frozen encoder once per copy, each copy with its own speed, room and noise, and the
// features are kept on disk as fp16. Then the head learns from them. Everything random depends on seed, clip and epoch
// alone, so both parts go on where they were killed. tune_speech goes on from here with the encoder's last blocks.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <thread>

#include "speech.h"
#include "trine/encoders/whisper.h"
#include "trine/heads.h"
#include "trine/train/trainer.h"

namespace fs = std::filesystem;
using torch::Tensor;

using namespace training;

namespace {

struct Options : SpeechOptions {
  fs::path cache;
  int epochs = 4;
  int batch = 96;
  int threads = 2;
  std::int64_t width = 384;
  std::int64_t hidden = 1024;
  double learning_rate = 1.2e-3;
  double weight_decay = 0.02;
  double dropout = 0.1;
  SpeechLossOptions loss;
};

/// One copy of a clip: what the encoder makes of it.
struct Copy {
  std::size_t clip = 0;
  int number = 0;  ///< 0: as it is, or nearly
  Tensor pairs;    ///< (steps, dim) fp16
};

/// Training hears a clip twice, one that means a product four times; validation clean and at kValDecibels.
std::vector<Copy> copies_of(const std::vector<Clip>& clips) {
  std::vector<Copy> copies;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const int count = clips[i].split == "val" ? 3 : clips[i].label.empty() ? 2 : 4;
    for (int number = 0; number < count; ++number) copies.push_back({i, number, {}});
  }
  return copies;
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
            disturb(sound, number == 0 ? Surroundings::studio : Surroundings::outside, train_noise, random);
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

/// Recall of the validation clips of `set`, heard as copy `number`.
double validate(trine::SpeechHead& head, const std::vector<Copy>& copies, const std::vector<Clip>& clips,
                const Targets& targets, const std::string& set, int number) {
  const torch::NoGradGuard no_grad;
  std::vector<Tensor> sequences;
  std::vector<const Clip*> heard;
  for (const Copy& copy : copies) {
    const Clip& clip = clips[copy.clip];
    if (clip.split != "val" || clip.set != set || copy.number != number) continue;
    sequences.push_back(copy.pairs);
    heard.push_back(&clip);
  }
  head->eval();
  std::vector<Tensor> vectors;
  for (std::size_t first = 0; first < sequences.size(); first += 64) {
    const std::size_t end = std::min(first + 64, sequences.size());
    const auto [batch, mask] = padded(
        {sequences.begin() + static_cast<std::ptrdiff_t>(first), sequences.begin() + static_cast<std::ptrdiff_t>(end)});
    vectors.push_back(head->forward(batch, mask));
  }
  head->train();
  return vectors.empty() ? 0.0 : recall(torch::cat(vectors), heard, targets);
}

int run(const Options& options) {
  const std::vector<Clip> clips = read_corpus(options.corpus, {"train", "val"});
  std::vector<Copy> copies = copies_of(clips);
  encode(copies, clips, options);
  const Targets targets = targets_of(clips, options.text_encoder, options.catalogue);

  torch::manual_seed(options.seed);
  const trine::SpeechHeadOptions shape{.feature_dim = copies[0].pairs.size(1),
                                       .width = options.width,
                                       .hidden = options.hidden,
                                       .out_dim = targets.titles.vectors.size(1)};
  trine::SpeechHead head(shape);
  trine::reset_parameters(*head);
  head->dropout = options.dropout;

  std::vector<const Copy*> train;
  std::vector<std::int64_t> lengths;
  for (const Copy& copy : copies) {
    if (clips[copy.clip].split != "train") continue;
    train.push_back(&copy);
    lengths.push_back(copy.pairs.size(0));
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
        batches_of(lengths, batch_size, std::mt19937_64(options.seed * 1000 + static_cast<std::uint64_t>(epoch)));
    for (std::int64_t i = trainer.step_count() % per_epoch; i < per_epoch; ++i) {
      std::vector<Tensor> sequences;
      std::vector<const Clip*> heard;
      for (const std::size_t number : batches[static_cast<std::size_t>(i)]) {
        sequences.push_back(train[number]->pairs);
        heard.push_back(&clips[train[number]->clip]);
      }
      auto [batch, mask] = padded(sequences);
      std::mt19937_64 random(options.seed * 1'000'000 + static_cast<std::uint64_t>(trainer.step_count()));
      mask_time(mask, random);
      torch::manual_seed(random());  // dropout
      trainer.step(speech_loss(head->forward(batch, mask), heard, targets, options.loss));
      bar.show(trainer.step_count(), "epoch " + std::to_string(epoch + 1));
    }
    trainer.save();
    trine::SpeechHead averaged(shape);
    trine::copy_weights(*averaged, trainer.result());
    const auto of = [&](const char* set, int number) {
      return validate(averaged, copies, clips, targets, set, number);
    };
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
  add_speech_options(app, options);
  app.add_option("--cache", options.cache, "folder for features")->required();
  app.add_option("--epochs", options.epochs, "passes over the clips")->capture_default_str();
  app.add_option("--batch", options.batch, "clips per step")->capture_default_str();
  app.add_option("--threads", options.threads, "clips encoded at a time")->capture_default_str();
  app.add_option("--width", options.width, "of the head's convolution and pooling")->capture_default_str();
  app.add_option("--hidden", options.hidden, "units before the last layer")->capture_default_str();
  app.add_option("--title-weight", options.loss.title_weight, "of the cross-entropy over titles")
      ->capture_default_str();
  app.add_option("--rate", options.learning_rate, "highest learning rate")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
