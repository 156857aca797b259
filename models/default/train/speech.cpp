#include "speech.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "trine/train/loss.h"

namespace training {

using torch::Tensor;

namespace {

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

/// Noise that no recording holds: a random spectral slope between white and brown, swelling at a random rate.
std::vector<float> made_noise(std::size_t size, std::mt19937_64& random) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  std::normal_distribution<float> normal;
  Tensor samples = torch::empty({static_cast<std::int64_t>(size)});
  float* values = samples.mutable_data_ptr<float>();
  for (std::size_t i = 0; i < size; ++i) values[i] = normal(random);
  const Tensor spectrum = torch::fft_rfft(samples);
  const Tensor slope = torch::arange(1, spectrum.size(0) + 1).to(torch::kFloat32).pow(-uniform(0, 1));
  const Tensor coloured = torch::fft_irfft(spectrum * slope, samples.size(0));
  const double depth = uniform(0, 0.95), rate = uniform(0.3, 8) * 2 * std::numbers::pi / kRate,
               phase = uniform(0, 6.28);
  const Tensor swell = 1 + depth * torch::sin(torch::arange(samples.size(0)).to(torch::kFloat32) * rate + phase);
  const Tensor noise = (coloured * swell).contiguous();
  return {noise.const_data_ptr<float>(), noise.const_data_ptr<float>() + size};
}

}  // namespace

void add_speech_options(CLI::App& app, SpeechOptions& options) {
  app.add_option("--encoder", options.encoder, "Whisper directory")->required();
  app.add_option("--text-encoder", options.text_encoder, "sentence-transformers directory")->required();
  app.add_option("--catalogue", options.catalogue, "the products that the corpus's labels name, JSON lines")
      ->required();
  app.add_option("--corpus", options.corpus, "folder that synthesise.py wrote")->required();
  app.add_option("--noise", options.noise, "ESC-10: folds 1 to 3 disturb training clips, 4 validation clips")
      ->required();
  app.add_option("--out", options.out, "where the tensors go")->required();
  app.add_option("--run", options.run, "folder for checkpoints; a killed run goes on from there");
  app.add_option("--seed", options.seed, "of everything random")->capture_default_str();
}

void disturb(trine::Audio& clip, Surroundings surroundings, const std::vector<std::vector<float>>& noise,
             std::mt19937_64& random) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  const auto any = [&]() -> const std::vector<float>& { return noise[random() % noise.size()]; };
  if (uniform(0, 1) < 0.7) {
    const double speed = surroundings == Surroundings::studio ? uniform(0.95, 1.08) : uniform(0.88, 1.15);
    clip.samples = trine::resample(clip.samples, static_cast<int>(kRate * speed), kRate);
  }
  if (surroundings == Surroundings::studio) return;
  if (uniform(0, 1) < 0.35) add_room(clip.samples, random);
  if (surroundings == Surroundings::outside) {
    if (uniform(0, 1) < 0.95) add_noise(clip.samples, any(), uniform(-5, 18), random);
    return;
  }
  const double kind = uniform(0, 1), decibels = uniform(-8, 8);
  add_noise(clip.samples, kind < 0.25 ? made_noise(clip.samples.size(), random) : any(), decibels, random);
  if (kind > 0.8) add_noise(clip.samples, any(), decibels + 3, random);
}

std::pair<Tensor, Tensor> padded(const std::vector<Tensor>& sequences) {
  std::int64_t longest = 0;
  for (const Tensor& sequence : sequences) longest = std::max(longest, sequence.size(0));
  const std::int64_t count = std::ssize(sequences);
  Tensor batch = torch::zeros({count, longest, sequences.front().size(1)});
  Tensor mask = torch::zeros({count, longest}, torch::kBool);
  for (std::int64_t i = 0; i < count; ++i) {
    const Tensor& sequence = sequences[static_cast<std::size_t>(i)];
    batch[i].slice(0, 0, sequence.size(0)).copy_(sequence);
    mask[i].slice(0, 0, sequence.size(0)).fill_(true);
  }
  return {batch, mask};
}

void mask_time(Tensor& mask, std::mt19937_64& random) {
  const Tensor lengths = mask.sum(1);
  for (std::int64_t i = 0; i < mask.size(0); ++i) {
    const auto steps = lengths[i].item<std::int64_t>();
    for (std::uint64_t n = random() % 3; n > 0 && steps >= 10; --n) {
      const auto length = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(steps / 8 + 1));
      const auto start = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(steps - length));
      mask[i].slice(0, start, start + length).fill_(false);
    }
  }
}

std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::int64_t>& lengths, std::size_t size,
                                                 std::mt19937_64 random) {
  constexpr std::size_t kPool = 20;
  std::vector<std::size_t> order(lengths.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  for (std::size_t first = 0; first < order.size(); first += kPool * size) {
    const std::size_t end = std::min(first + kPool * size, order.size());
    std::stable_sort(order.begin() + static_cast<std::ptrdiff_t>(first),
                     order.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](std::size_t a, std::size_t b) { return lengths[a] < lengths[b]; });
  }
  std::vector<std::vector<std::size_t>> batches;
  for (std::size_t first = 0; first + size <= order.size(); first += size) {
    batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(first),
                         order.begin() + static_cast<std::ptrdiff_t>(first + size));
  }
  std::shuffle(batches.begin(), batches.end(), random);
  return batches;
}

Targets targets_of(const std::vector<Clip>& clips, const std::filesystem::path& text_encoder,
                   const std::filesystem::path& catalogue) {
  const torch::NoGradGuard no_grad;
  const trine::Embedder text = trine::Embedder::load(text_encoder);
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
  targets.titles = read_titles(catalogue, text);
  return targets;
}

Tensor speech_loss(const Tensor& vectors, const std::vector<const Clip*>& clips, const Targets& targets,
                   const SpeechLossOptions& options) {
  const std::int64_t count = std::ssize(clips);
  Tensor sentence = torch::zeros({count, targets.train_count});
  Tensor title = torch::zeros({count, targets.titles.vectors.size(0)});
  std::vector<std::int64_t> meant;
  for (std::int64_t i = 0; i < count; ++i) {
    const Clip& clip = *clips[static_cast<std::size_t>(i)];
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

double recall(const Tensor& vectors, const std::vector<const Clip*>& clips, const Targets& targets) {
  if (clips.empty()) return 0.0;
  const bool by_title = clips.front()->set == "products";
  std::vector<std::int64_t> right;
  for (const Clip* clip : clips) {
    right.push_back(by_title ? targets.titles.number.at(clip->label) : targets.sentence_number.at(clip->target));
  }
  const std::set<std::int64_t> numbers(right.begin(), right.end());
  const Tensor rows = torch::tensor(std::vector<std::int64_t>(numbers.begin(), numbers.end()));
  const Tensor candidates = by_title ? targets.titles.vectors : targets.sentences.index_select(0, rows);
  const Tensor best = vectors.matmul(candidates.t()).argmax(1);
  const Tensor found = by_title ? best : rows.index_select(0, best);
  return found.eq(torch::tensor(right)).to(torch::kFloat64).mean().item<double>();
}

}  // namespace training
