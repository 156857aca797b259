// Fine-tunes an EfficientNet-Lite with a linear projection so that a photo lands on its product's text.
//
// Every product has one anchor in the text space (mean of its name in the training phrasings). The loss is the
// cross-entropy of the cosine to all anchors plus one minus the cosine to the right one. The stem and the first blocks
// are frozen; batch norms keep the statistics of the pretraining and are folded into their convolutions while training
// too. Pictures grow from 160 to 224 pixels over the run. Everything random depends on seed, epoch and photo alone.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>

#include "corpus.h"
#include "trine/embedder.h"
#include "trine/encoders/efficientnet.h"
#include "trine/encoders/preprocess.h"
#include "trine/layers.h"
#include "trine/train/loss.h"
#include "trine/train/trainer.h"

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr double kLabelSmoothing = 0.05;

struct Options {
  fs::path encoder, text_encoder, catalogue, data, out, run;
  int epochs = 20;
  int batch = 32;
  int frozen_blocks = 3;
  double learning_rate = 6e-4;
  double projection_rate = 2e-3;
  double weight_decay = 0.02;
  double dropout = 0.2;
  double mixup = 0.2;
  double temperature = 0.04;
  double classifier_weight = 1.0;
  double averaging = 0.998;
  double smallest_crop = 0.35;
  bool train_norms = false;
  std::uint64_t seed = 1;
  std::int64_t stop_after = 0;
};

struct Photo {
  trine::Image image;
  std::int64_t product = 0;
};

std::vector<Photo> read_photos(const fs::path& data, const std::string& split,
                               const std::map<std::string, std::int64_t>& number) {
  std::vector<Photo> photos;
  for (const training::PhotoPath& photo : training::read_photo_list(data, split)) {
    photos.push_back({trine::read_image(photo.path), number.at(photo.product)});
  }
  return photos;
}

/// The network, its projection into the text space and a plain classifier beside it.
struct PhotoModelImpl : torch::nn::Module {
  PhotoModelImpl(const trine::EfficientNetConfig& config, std::int64_t products, std::int64_t dim)
      : network(register_module("network", trine::EfficientNet(config))),
        projection(register_module("projection", trine::Linear(trine::EfficientNetImpl::kFeatures, dim))),
        classifier(register_module("classifier", trine::Linear(trine::EfficientNetImpl::kFeatures, products))) {}

  /// -> features (N, 1280)
  Tensor forward(const Tensor& pixels, double dropout) {
    return torch::dropout(network->forward(pixels), dropout, is_training());
  }

  trine::EfficientNet network;
  trine::Linear projection;
  trine::Linear classifier;  ///< only trains: anchors of sister products lie so close that they alone tell little apart
};
TORCH_MODULE(PhotoModel);

/// A random part of the picture at `size` pixels, mirrored half of the time, with other light and colours and sometimes
/// a grey rectangle.
Tensor augmented(const trine::Image& image, int size, double smallest_crop, const trine::EfficientNetConfig& config,
                 std::mt19937_64& random) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  const double area = uniform(smallest_crop, 1.0) * image.width * image.height;
  const double ratio = std::exp(uniform(std::log(3.0 / 4.0), std::log(4.0 / 3.0)));
  const int width = std::clamp(static_cast<int>(std::lround(std::sqrt(area * ratio))), 16, image.width);
  const int height = std::clamp(static_cast<int>(std::lround(std::sqrt(area / ratio))), 16, image.height);
  const int left = static_cast<int>(uniform(0, image.width - width + 0.999));
  const int top = static_cast<int>(uniform(0, image.height - height + 0.999));
  const trine::Image part =
      trine::resize(trine::crop(image, left, top, width, height), size, size, trine::ResizeFilter::bicubic);
  Tensor pixels = trine::to_tensor(part, config.mean, config.std);

  if (random() % 2 == 0) pixels = pixels.flip(2);
  const Tensor grey = pixels.mean(0, true);
  pixels = grey + (pixels - grey) * uniform(0.7, 1.3);                                         // saturation
  pixels = (pixels - pixels.mean()) * uniform(0.7, 1.3) + pixels.mean() + uniform(-0.2, 0.2);  // contrast, light
  pixels += torch::tensor({uniform(-0.06, 0.06), uniform(-0.06, 0.06), uniform(-0.06, 0.06)}, torch::kFloat32)
                .view({3, 1, 1});
  pixels = pixels.clamp(-1, 1);
  if (random() % 4 == 0) {
    const auto side = static_cast<std::int64_t>(uniform(0.15, 0.4) * size);
    const auto y = static_cast<std::int64_t>(uniform(0, static_cast<double>(size - side)));
    const auto x = static_cast<std::int64_t>(uniform(0, static_cast<double>(size - side)));
    pixels.slice(1, y, y + side).slice(2, x, x + side).zero_();
  }
  return pixels;
}

/// The pictures of one step and how much of each product is in them.
std::pair<Tensor, Tensor> make_batch(const std::vector<Photo>& photos, const std::vector<std::size_t>& order,
                                     std::int64_t first, std::int64_t products, int size, int epoch,
                                     const trine::EfficientNetConfig& config, const Options& options) {
  const auto count = std::min<std::int64_t>(options.batch, static_cast<std::int64_t>(order.size()) - first);
  std::vector<Tensor> pixels(static_cast<std::size_t>(count));
  Tensor targets = torch::zeros({count, products});
  at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::size_t photo = order[static_cast<std::size_t>(first + i)];
      std::seed_seq seed{options.seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(photo)};
      std::mt19937_64 random(seed);
      pixels[static_cast<std::size_t>(i)] = augmented(photos[photo].image, size, options.smallest_crop, config, random);
    }
  });
  for (std::int64_t i = 0; i < count; ++i) targets[i][photos[order[static_cast<std::size_t>(first + i)]].product] = 1;
  Tensor batch = torch::stack(pixels);
  if (options.mixup > 0) {  // each picture with its mirror image in the batch
    std::seed_seq seed{options.seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(first),
                       std::uint64_t{7}};
    std::mt19937_64 random(seed);
    std::gamma_distribution<> gamma(options.mixup, 1.0);
    const double a = gamma(random), b = gamma(random);
    const double share = a + b > 0 ? std::max(a, b) / (a + b) : 1.0;
    batch = batch * share + batch.flip(0) * (1 - share);
    targets = targets * share + targets.flip(0) * (1 - share);
  }
  return {batch.contiguous(torch::MemoryFormat::ChannelsLast), targets};
}

/// Share of the photos whose nearest anchor is theirs, seen as the encoder will see them.
double accuracy(PhotoModel& model, const std::vector<Photo>& photos, const Tensor& anchors,
                const trine::EfficientNetConfig& config) {
  const torch::NoGradGuard no_grad;
  model->eval();
  std::int64_t right = 0;
  for (std::size_t first = 0; first < photos.size(); first += 32) {
    std::vector<Tensor> pixels;
    for (std::size_t i = first; i < std::min(photos.size(), first + 32); ++i) {
      const trine::Image& image = photos[i].image;
      const trine::Resizing to =
          trine::resize_crop(image.width, image.height, config.input_size, config.crop_pct, config.interpolation);
      pixels.push_back(trine::to_tensor(trine::resize(image, to), config.mean, config.std));
    }
    const Tensor batch = torch::stack(pixels).contiguous(torch::MemoryFormat::ChannelsLast);
    const Tensor best = model->projection->forward(model->forward(batch, 0)).matmul(anchors.t()).argmax(1);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      right += best[static_cast<std::int64_t>(i)].item<std::int64_t>() == photos[first + i].product;
    }
  }
  model->train();
  return static_cast<double>(right) / static_cast<double>(photos.size());
}

double accuracy_of(const std::map<std::string, Tensor>& weights, const std::vector<Photo>& photos,
                   const Tensor& anchors, const trine::EfficientNetConfig& config) {
  const torch::NoGradGuard no_grad;
  PhotoModel model(config, anchors.size(0), anchors.size(1));
  trine::copy_weights(*model, weights);
  return accuracy(model, photos, anchors, config);
}

/// What the embedder reads: the network's tensors that changed, under the checkpoint's own names, and the projection.
void write(const fs::path& out, const std::map<std::string, Tensor>& weights, const trine::Checkpoint& official) {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : weights) {
    if (name.starts_with("projection.")) tensors[name] = tensor;
    if (!name.starts_with("network.")) continue;
    const std::string key = name.substr(std::string("network.").size());
    if (!tensor.equal(trine::load_tensor(official, key))) tensors[key] = tensor;
  }
  trine::save_tensors(out, tensors, {}, /*half=*/true);
}

int run(const Options& options) {
  const trine::EfficientNetConfig config = trine::EfficientNetConfig::load(options.encoder / "config.json");
  const trine::Checkpoint official = trine::Checkpoint::open(options.encoder);
  const training::Titles titles = training::read_titles(options.catalogue, trine::Embedder::load(options.text_encoder));
  const Tensor& anchors = titles.vectors;
  const std::vector<Photo> photos = read_photos(options.data, "train", titles.number),
                           val = read_photos(options.data, "val", titles.number);

  torch::manual_seed(options.seed);
  PhotoModel model(config, anchors.size(0), anchors.size(1));
  trine::copy_weights(*model->network, official);
  trine::reset_parameters(*model->projection);
  trine::reset_parameters(*model->classifier);
  model->network->freeze_blocks(options.frozen_blocks);
  model->network->keep_statistics(!options.train_norms);

  const auto per_epoch = static_cast<std::int64_t>((photos.size() + static_cast<std::size_t>(options.batch) - 1) /
                                                   static_cast<std::size_t>(options.batch));
  const std::int64_t steps = per_epoch * options.epochs;
  trine::train::Trainer trainer(
      model.ptr(),
      {{model->network->parameters(), options.learning_rate},
       {model->projection->parameters(), options.projection_rate},
       {model->classifier->parameters(), options.projection_rate}},
      {.steps = steps, .weight_decay = options.weight_decay, .averaging = options.averaging, .folder = options.run});
  trainer.resume();
  model->train();
  trine::train::ProgressBar bar("image tower", steps, trainer.step_count());
  std::vector<std::size_t> order(photos.size());
  while (trainer.step_count() < steps) {
    const std::int64_t step = trainer.step_count();
    const int epoch = static_cast<int>(step / per_epoch);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(options.seed * 1000 + static_cast<std::uint64_t>(epoch)));
    const int size = std::min(224, 160 + 32 * (3 * epoch / options.epochs));
    const auto [pixels, targets] =
        make_batch(photos, order, step % per_epoch * options.batch, anchors.size(0), size, epoch, config, options);
    torch::manual_seed(options.seed * 1'000'000 + static_cast<std::uint64_t>(step));  // dropout
    const Tensor features = model->forward(pixels, options.dropout);
    const Tensor classes = model->classifier->forward(features).log_softmax(1);
    const double spread = kLabelSmoothing / static_cast<double>(anchors.size(0));
    trainer.step(trine::train::anchor_loss(model->projection->forward(features), anchors, targets,
                                           {.temperature = options.temperature, .label_smoothing = kLabelSmoothing}) -
                 options.classifier_weight * ((targets * (1 - kLabelSmoothing) + spread) * classes).sum(1).mean());
    bar.show(trainer.step_count(), "epoch " + std::to_string(epoch + 1));
    if (options.stop_after > 0 && trainer.step_count() == options.stop_after) return 0;
    if (trainer.step_count() % per_epoch == 0) {
      trainer.save();
      const auto weights = trainer.result();
      std::printf("{\"epoch\": %d, \"size\": %d, \"loss\": %.4f, \"val_top1\": %.4f, \"val_top1_averaged\": %.4f}\n",
                  epoch + 1, size, trainer.take_mean_loss(), accuracy(model, val, anchors, config),
                  accuracy_of(weights, val, anchors, config));
      std::fflush(stdout);
    }
  }
  write(options.out, trainer.result(), official);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "train_image --encoder DIR --text-encoder DIR --catalogue catalogue.jsonl --data ../shared/data/grocery --out "
      "image.safetensors");
  app.add_option("--encoder", options.encoder, "timm directory of the pretrained network")->required();
  app.add_option("--data", options.data, "folder with train.csv, val.csv and the photos")->required();
  app.add_option("--text-encoder", options.text_encoder, "sentence-transformers directory of the text space")
      ->required();
  app.add_option("--catalogue", options.catalogue, "the products, JSON lines; their ids are the product_id of the data")
      ->required();
  app.add_option("--out", options.out, "where the tuned tensors go")->required();
  app.add_option("--run", options.run, "folder for checkpoints; a killed run goes on from there");
  app.add_option("--epochs", options.epochs, "passes over the photos")->capture_default_str();
  app.add_option("--batch", options.batch, "photos per step")->capture_default_str();
  app.add_option("--frozen-blocks", options.frozen_blocks, "blocks left as they are, with the stem")
      ->capture_default_str();
  app.add_option("--rate", options.learning_rate, "highest learning rate of the network")->capture_default_str();
  app.add_option("--mixup", options.mixup, "alpha of the mixing of two photos")->capture_default_str();
  app.add_option("--smallest-crop", options.smallest_crop, "least share of a photo that is seen")
      ->capture_default_str();
  app.add_option("--temperature", options.temperature, "of the softmax over the anchors")->capture_default_str();
  app.add_option("--classifier-weight", options.classifier_weight, "of the plain classifier's loss")
      ->capture_default_str();
  app.add_flag("--train-norms", options.train_norms, "let batch norms gather new statistics (slower)");
  app.add_option("--seed", options.seed, "of everything random")->capture_default_str();
  app.add_option("--stop-after", options.stop_after, "stop after this many steps, to time a step");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
