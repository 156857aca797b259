// Trains the last blocks of Whisper's encoder together with the head that train_speech made, on clips that are
// disturbed anew each time, most of them loudly: what noise does to the features is mended where it happens.
//
// A round hears every clip that means a product three times and a third of the others once. Everything random depends
// on seed and step alone, so a killed run goes on from its last round with the same result.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <random>

#include "speech.h"
#include "trine/checkpoint.h"
#include "trine/encoders/whisper.h"
#include "trine/heads.h"
#include "trine/train/trainer.h"

namespace fs = std::filesystem;
using torch::Tensor;

using namespace training;

namespace {

struct Options : SpeechOptions {
  fs::path head;
  std::string folds = "123";
  int rounds = 3;
  int batch = 48;
  std::int64_t frozen_blocks = 2;
  std::int64_t num_heads = 8;
  double encoder_rate = 1e-4;
  double head_rate = 3e-4;
  double weight_decay = 0.02;
  double dropout = 0.1;
};

/// The encoder's last blocks and the head.
class SpeechTower : public torch::nn::Module {
 public:
  SpeechTower(const Options& options, std::int64_t out_dim) : frozen_blocks_(options.frozen_blocks) {
    const trine::WhisperConfig config = trine::WhisperConfig::load(options.encoder / "config.json");
    if (frozen_blocks_ < 0 || frozen_blocks_ > config.encoder_layers) {
      throw std::invalid_argument("[tune_speech] --frozen-blocks is " + std::to_string(frozen_blocks_) +
                                  ", the encoder has " + std::to_string(config.encoder_layers));
    }
    mel_bands_ = static_cast<int>(config.num_mel_bins);
    encoder_ = register_module("encoder", trine::WhisperEncoder(config));
    const trine::Checkpoint encoder = trine::Checkpoint::open(options.encoder);
    trine::copy_weights(*encoder_, encoder, "model.encoder.");
    encoder_->freeze_blocks(frozen_blocks_);
    const trine::Checkpoint weights = trine::Checkpoint::open(options.head);
    head_ = register_module(
        "head", trine::SpeechHead(trine::SpeechHeadOptions{.feature_dim = config.d_model,
                                                           .width = weights.at("input.weight").shape.at(0),
                                                           .num_heads = options.num_heads,
                                                           .hidden = weights.at("hidden.weight").shape.at(0),
                                                           .out_dim = out_dim}));
    trine::copy_weights(*head_, weights);
    head_->dropout = options.dropout;
  }

  /// What enters the first block that is trained. -> (T, d_model)
  Tensor begin(const trine::Audio& clip) const {
    const torch::NoGradGuard no_grad;
    trine::Spectrogram mel = trine::whisper_mel(clip.samples, mel_bands_);
    return encoder_->begin(torch::from_blob(mel.values.data(), {1, mel.rows, mel.columns}), frozen_blocks_)
        .squeeze(0)
        .to(torch::kFloat32);
  }

  /// steps (N, T, d_model), mask (N, T); `random` takes stretches out -> (N, D)
  Tensor finish(const Tensor& steps, const Tensor& mask, std::mt19937_64* random) {
    const std::int64_t odd = steps.size(1) % 2;
    const Tensor real = torch::constant_pad_nd(mask, {0, odd}).unflatten(1, {-1, 2});
    const Tensor features =
        torch::constant_pad_nd(encoder_->finish(steps, frozen_blocks_, mask) * mask.unsqueeze(-1), {0, 0, 0, odd});
    const Tensor pairs = features.unflatten(1, {-1, 2}).sum(2) / real.sum(2).clamp_min(1).unsqueeze(-1);
    Tensor pair_mask = real.any(2);
    if (random != nullptr) mask_time(pair_mask, *random);
    return head_->forward(pairs, pair_mask).to(torch::kFloat32);
  }

  std::vector<Tensor> encoder_parameters() const { return encoder_->parameters(); }
  std::vector<Tensor> head_parameters() const { return head_->parameters(); }

  /// What the model's audio file holds: the head, and under "encoder." what was trained.
  std::map<std::string, Tensor> to_keep(const std::map<std::string, Tensor>& weights) const {
    std::map<std::string, Tensor> kept;
    for (const auto& item : named_parameters()) {
      const std::string& name = item.key();
      const std::string head = "head.";
      if (name.starts_with(head)) {
        kept.emplace(name.substr(head.size()), weights.at(name));
      } else if (item.value().requires_grad()) {
        kept.emplace(name, weights.at(name));
      }
    }
    return kept;
  }

 private:
  std::int64_t frozen_blocks_;
  int mel_bands_ = 0;
  trine::WhisperEncoder encoder_{nullptr};
  trine::SpeechHead head_{nullptr};
};

/// Validation clips of a set as they enter the trained blocks, all in the same noise.
struct Heard {
  std::string name;
  std::vector<const Clip*> clips;
  std::vector<Tensor> steps;
};

Heard hear(const std::string& name, const std::string& set, std::optional<double> decibels, const SpeechTower& tower,
           const std::vector<Clip>& clips, const std::vector<std::vector<float>>& noise, const Options& options) {
  Heard heard{.name = name, .clips = {}, .steps = {}};
  std::mt19937_64 random(options.seed);
  for (const Clip& clip : clips) {
    if (clip.split != "val" || clip.set != set) continue;
    trine::Audio sound = trine::read_audio(options.corpus / clip.path, {.sample_rate = kRate});
    if (decibels) add_noise(sound.samples, noise[random() % noise.size()], *decibels, random);
    heard.clips.push_back(&clip);
    heard.steps.push_back(tower.begin(trine::trim_and_level(sound)));
  }
  return heard;
}

double validate(SpeechTower& tower, const Heard& heard, const Targets& targets) {
  const torch::NoGradGuard no_grad;
  tower.eval();
  std::vector<Tensor> vectors;
  for (const Tensor& steps : heard.steps) {
    vectors.push_back(tower.finish(steps.unsqueeze(0), torch::ones({1, steps.size(0)}, torch::kBool), nullptr));
  }
  tower.train();
  return vectors.empty() ? 0.0 : recall(torch::cat(vectors), heard.clips, targets);
}

/// What a round hears, as numbers of clips.
std::vector<std::size_t> round_of(const std::vector<Clip>& clips, std::int64_t number) {
  std::vector<std::size_t> heard;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    if (clips[i].split != "train") continue;
    if (!clips[i].label.empty()) {
      heard.insert(heard.end(), 3, i);
    } else if (i % 3 == static_cast<std::size_t>(number % 3)) {
      heard.push_back(i);
    }
  }
  return heard;
}

/// Clip and surroundings of one place in a batch.
Tensor disturbed(const SpeechTower& tower, const Clip& clip, const std::vector<std::vector<float>>& noise,
                 const Options& options, std::uint64_t step, std::uint64_t place) {
  std::seed_seq seed{options.seed, step, place};
  std::mt19937_64 random(seed);
  const double where = std::uniform_real_distribution<>(0, 1)(random);
  trine::Audio sound = trine::read_audio(options.corpus / clip.path, {.sample_rate = kRate});
  disturb(sound,
          where < 0.2   ? Surroundings::studio
          : where < 0.5 ? Surroundings::outside
                        : Surroundings::loud,
          noise, random);
  return tower.begin(trine::trim_and_level(sound));
}

int run(const Options& options) {
  const std::vector<Clip> clips = read_corpus(options.corpus, {"train", "val"});
  const std::vector<std::vector<float>> train_noise = read_noise(options.noise, options.folds),
                                        val_noise = read_noise(options.noise, "4");
  const Targets targets = targets_of(clips, options.text_encoder, options.catalogue);
  const auto tower = std::make_shared<SpeechTower>(options, targets.titles.vectors.size(1));

  const auto batch_size = static_cast<std::size_t>(options.batch);
  std::int64_t steps = 0;
  std::vector<std::int64_t> last_of_round;
  for (std::int64_t number = 0; number < options.rounds; ++number) {
    steps += static_cast<std::int64_t>(round_of(clips, number).size() / batch_size);
    last_of_round.push_back(steps);
  }
  trine::train::Trainer trainer(
      tower, {{tower->encoder_parameters(), options.encoder_rate}, {tower->head_parameters(), options.head_rate}},
      {.steps = steps, .weight_decay = options.weight_decay, .averaging = 0.998, .folder = options.run});
  trainer.resume();

  std::vector<Heard> validation;
  const auto add = [&](const char* name, const char* set, std::optional<double> decibels) {
    validation.push_back(hear(name, set, decibels, *tower, clips, val_noise, options));
  };
  add("products", "products", std::nullopt);
  add("products_10dB", "products", 10.0);
  add("products_0dB", "products", 0.0);
  add("products_-5dB", "products", -5.0);
  add("clinc", "clinc", std::nullopt);
  const auto report = [&](const std::string& when) {
    const std::shared_ptr<SpeechTower> averaged =
        std::make_shared<SpeechTower>(options, targets.titles.vectors.size(1));
    trine::copy_weights(*averaged, trainer.result());
    std::printf("{\"round\": %s, \"loss\": %.4f", when.c_str(), trainer.take_mean_loss());
    for (const Heard& heard : validation) {
      std::printf(", \"val_%s\": %.4f", heard.name.c_str(), validate(*averaged, heard, targets));
    }
    std::printf("}\n");
    std::fflush(stdout);
  };

  trine::train::ProgressBar bar("speech tower", steps, trainer.step_count());
  tower->train();
  if (trainer.step_count() == 0) report("0");
  for (std::int64_t number = 0; number < options.rounds; ++number) {
    const std::int64_t end = last_of_round[static_cast<std::size_t>(number)];
    const std::int64_t begin = number == 0 ? 0 : last_of_round[static_cast<std::size_t>(number - 1)];
    if (trainer.step_count() >= end) continue;
    const std::vector<std::size_t> heard = round_of(clips, number);
    std::vector<std::int64_t> sizes;
    for (const std::size_t i : heard)
      sizes.push_back(static_cast<std::int64_t>(fs::file_size(options.corpus / clips[i].path)));
    const auto batches =
        batches_of(sizes, batch_size, std::mt19937_64(options.seed * 1000 + static_cast<std::uint64_t>(number)));
    while (trainer.step_count() < end) {
      const auto step = static_cast<std::uint64_t>(trainer.step_count());
      std::vector<Tensor> sequences(batch_size);
      std::vector<const Clip*> of_batch;
      for (const std::size_t i : batches[static_cast<std::size_t>(trainer.step_count() - begin)]) {
        of_batch.push_back(&clips[heard[i]]);
      }
      at::parallel_for(0, options.batch, 1, [&](std::int64_t first, std::int64_t last) {
        for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
          sequences[i] = disturbed(*tower, *of_batch[i], train_noise, options, step, i);
        }
      });
      const auto [batch, mask] = padded(sequences);
      std::mt19937_64 random(options.seed * 1'000'000 + step);
      torch::manual_seed(random());  // dropout
      trainer.step(speech_loss(tower->finish(batch, mask, &random), of_batch, targets));
      bar.show(trainer.step_count(), "round " + std::to_string(number + 1));
    }
    trainer.save();
    report(std::to_string(number + 1));
    trine::save_tensors(options.out, tower->to_keep(trainer.result()), {}, /*half=*/true);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "tune_speech --encoder DIR --text-encoder DIR --catalogue catalogue.jsonl --corpus DIR "
      "--noise ../shared/data/sounds_esc10 --head head.safetensors --out audio.safetensors");
  add_speech_options(app, options);
  app.add_option("--head", options.head, "what train_speech wrote")->required();
  app.add_option("--folds", options.folds, "of ESC-10 in training; 4 is for validation")->capture_default_str();
  app.add_option("--rounds", options.rounds, "passes over the clips")->capture_default_str();
  app.add_option("--batch", options.batch, "clips per step")->capture_default_str();
  app.add_option("--frozen-blocks", options.frozen_blocks, "of the encoder, left as they are")->capture_default_str();
  app.add_option("--encoder-rate", options.encoder_rate, "highest learning rate of the encoder")->capture_default_str();
  app.add_option("--head-rate", options.head_rate, "highest learning rate of the head")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
