#include "trine/encoders/pe_video.h"

#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "detail/error.h"
#include "encoders/config.h"
#include "encoders/pe_config.h"
#include "encoders/towers.h"
#include "encoders/vit_pe_config.h"
#include "trine/encoders/video.h"

namespace trine {

using torch::Tensor;

namespace {

constexpr const char* kConfig = "PeVideoConfig";
constexpr const char* kLoad = "load_pe_video";
constexpr const char* kModelType = "pe_video";
constexpr std::int64_t kMostFrames = 10'000;  // of a video: positions that the reference has
constexpr std::int64_t kFramesTogether = 8;   // go through the picture's network: what they take grows with them

/// Pictures are videos of one frame.
class PeVideoTower : public VideoEncoder, public Trainable, public detail::PeTextScores {
 public:
  PeVideoTower(const char* model_type, detail::PeVideoPart part, std::unique_ptr<const TextEncoder> texts)
      : PeTextScores(std::move(texts), part.score), part_(std::move(part)) {
    description_ = {{"model_type", model_type}, {"architecture", part_.config.vision_config.architecture}};
    const Description input = part_.processor.frame.describe();
    description_.insert(description_.end(), input.begin(), input.end());
    const std::int64_t frames = part_.processor.num_frames;
    std::ostringstream chosen;
    chosen << "of a video ";
    if (frames > 0) chosen << frames << ", evenly from the first to the last";
    if (frames == 0) chosen << "all, in their order";
    if (part_.processor.fps > 0) chosen << "; of a file " << part_.processor.fps << " a second";
    description_.emplace_back("frames", chosen.str());
    description_.emplace_back("activation",
                              "gelu, over the frames " + std::string(to_string(part_.config.hidden_act)) + ", gated");
    description_.emplace_back("pooling",
                              "each frame to a unit vector, the class token over them, then a norm and a linear layer");
    description_.emplace_back("similarity", part_.score.describe());
    description_.emplace_back(
        "parameters", std::to_string(detail::count_parameters(*part_.network) + detail::count_parameters(*part_.head)));
  }

  std::int64_t dim() const override { return part_.head->proj->weight.size(0); }
  Tensor preprocess(const Image& image) const override { return part_.processor.frame(image); }
  Tensor preprocess_file(std::span<const std::byte> file, const ImageOptions& options) const override {
    return part_.processor.frame(file, options);
  }
  Description describe() const override { return description_; }

  Tensor encode(const Tensor& pixels) const override {
    detail::check_pixels(pixels);
    const torch::AutoGradMode record(RecordGradients::on());
    if (pixels.size(0) == 0) return torch::zeros({0, dim()});
    const std::int64_t copies = std::ssize(choose(1, 0));  // as the reference samples one frame
    const auto forward = [&](const Tensor& frames) {
      const Tensor looks = part_.network->look(frames).unsqueeze(1).expand({-1, copies, -1});
      return part_.head->forward(part_.network->forward(looks).select(1, 0));
    };
    return part_.place.run(forward, pixels);
  }

  Tensor encode_video(const Tensor& pixels) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    const detail::PlaceScope scope(part_.place);
    return part_.place.here(part_.head->forward(part_.states(pixels).select(1, 0))[0]);
  }

  std::vector<TrainablePart> trainable() override {
    return detail::pe_parts(part_.encoder_prefix, *part_.network, part_.prefix + "video_head.", part_.head);
  }

  std::vector<std::int64_t> choose(std::int64_t count, double seconds) const override {
    return part_.processor.choose(count, seconds);
  }
  std::int64_t max_frames() const override { return kMostFrames; }

  Tensor look(const Tensor& pixels) const override {
    detail::check_pixels(pixels, part_.config.vision_config.img_size);
    const torch::AutoGradMode record(RecordGradients::on());
    return part_.place.run([&](const Tensor& frames) { return part_.network->look(frames); }, pixels);
  }

  Tensor join(const Tensor& looks) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    const auto forward = [&](const Tensor& frames) {
      return part_.head->forward(part_.network->forward(frames).select(1, 0))[0];
    };
    return part_.place.run(forward, looks.unsqueeze(0));
  }

 private:
  detail::PeVideoPart part_;
  Description description_;
};

}  // namespace

PeVideoConfig PeVideoConfig::load(const std::filesystem::path& config_json) {
  const detail::Json json = detail::read_pe(kConfig, config_json, kModelType);
  return {.video_config = detail::read_pe_video(kConfig, detail::read_part(kConfig, json, "video_config")),
          .text_config = detail::read_pe_text(kConfig, json)};
}

PeVideoEncoderImpl::PeVideoEncoderImpl(const PeVideoEncoderConfig& config) : PeTransformerImpl(config) {
  vision_model_ = register_at(*this, "embedder.vision_model.timm_model", VitPe(config.vision_config));
  projection_ = register_at(*this, "embedder.proj",
                            Linear(config.vision_config.num_classes, config.hidden_size, /*with_bias=*/false));
  data_projection_ = register_at(*this, "embedder.data_proj", Linear(config.hidden_size, config.hidden_size));
}

Tensor PeVideoEncoderImpl::look(const Tensor& frames) const {
  std::vector<Tensor> seen;
  for (const Tensor& some : frames.split(kFramesTogether)) seen.push_back(vision_model_->forward(some));
  return normalise(torch::cat(seen));
}

Tensor PeVideoEncoderImpl::forward(const Tensor& looks) const {
  if (looks.dim() != 3 || looks.size(1) < 1 || looks.size(1) > kMostFrames ||
      looks.size(2) != projection_->weight.size(1)) {
    detail::bad_argument("PeVideoEncoder", "vectors of frames are (N, 1 to ", kMostFrames, ", ",
                         projection_->weight.size(1), "), got ", looks.sizes());
  }
  return states_of(data_projection_->forward(projection_->forward(looks)));
}

AnyEncoder load_pe_video(const std::filesystem::path& directory) {
  const PeVideoConfig config = PeVideoConfig::load(directory / "config.json");
  const detail::ModelFiles files = detail::open_model(kLoad, directory);
  const auto video = detail::PeVideoPart::load(kLoad, files, "", "video_encoder.", config.video_config,
                                               config.text_config.hidden_size);
  const auto text = detail::PeTextPart::load(kLoad, files, kModelType, config.text_config);
  return {.image = video.tower(kModelType, text), .text = text.tower(video.text_head, "text_video_head.")};
}

namespace detail {

PeVideoEncoderConfig read_pe_video(const char* who, const Json& json) {
  PeVideoEncoderConfig config;
  read_pe_transformer(who, json, config);
  Json vision{{"architecture", "vit_pe_core_large_patch14_336"}, {"num_classes", 1'024}};
  vision.update(read_part(who, json, "vision_config"));
  vision.erase("pretrained_cfg");  // the reference makes the network of the name and "model_args" alone
  config.vision_config = read_vit_pe(vision);
  if (config.vision_config.num_classes == 0) failure(who, "\"num_classes\" is 0, wanted the width of a frame's vector");
  return config;
}

PeVideoPart PeVideoPart::load(const char* who, const ModelFiles& files, const std::string& prefix,
                              const std::string& encoder_prefix, const PeVideoEncoderConfig& config, std::int64_t dim) {
  PeVideoPart part{.config = config,
                   .processor = read_video_processor(files.directory),
                   .prefix = prefix,
                   .encoder_prefix = encoder_prefix};
  check_processor(who, part.processor.frame, config.vision_config.img_size);
  part.network = PeVideoEncoder(config);
  load_tower(who, *part.network, files.checkpoint, encoder_prefix);
  part.head = load_pe_head(who, files.checkpoint, prefix + "video_head.", config.hidden_size, dim);
  part.text_head = load_pe_head(who, files.checkpoint, prefix + "text_video_head.", dim, dim);
  part.score = PeScore::load(who, files.checkpoint, prefix + "text_video");
  return part;
}

Tensor PeVideoPart::states(const Tensor& pixels) const {
  check_pixels(pixels, config.vision_config.img_size);
  const std::int64_t count = pixels.size(0);
  if (count < 1 || count > kMostFrames) {
    bad_argument("encode_video", "the video has ", count, " frames, wanted 1 to ", kMostFrames);
  }
  const Tensor chosen = torch::tensor(processor.choose(count, /*seconds=*/0));
  const auto [once, places, counts] = torch::unique_consecutive(chosen, /*return_inverse=*/true);
  const Tensor looks = network->look(place.there(pixels.index_select(0, once)));
  return network->forward(looks.index_select(0, place.there(places)).unsqueeze(0));
}

std::unique_ptr<ImageEncoder> PeVideoPart::tower(const char* model_type, const PeTextPart& text) const {
  return std::make_unique<PeVideoTower>(model_type, *this, text.tower(text_head, prefix + "text_video_head."));
}

}  // namespace detail

}  // namespace trine
