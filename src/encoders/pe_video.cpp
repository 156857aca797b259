#include "trine/encoders/pe_video.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "detail/error.h"
#include "encoders/config.h"
#include "encoders/pe_config.h"
#include "encoders/pe_prefix.h"
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
class PeVideoTower : public VideoEncoder, public Trainable {
 public:
  PeVideoTower(const char* model_type, detail::PeVideoPart part) : part_(std::move(part)) {
    description_ = {{"model_type", model_type}, {"architecture", part_.config.vision_config.architecture}};
    const Description input = part_.processor.frame.describe();
    description_.insert(description_.end(), input.begin(), input.end());
    description_.emplace_back("frames", part_.processor.num_frames == 0
                                            ? "of a video all, in their order"
                                            : "of a video " + std::to_string(part_.processor.num_frames) +
                                                  ", evenly from the first to the last");
    description_.emplace_back("activation",
                              "gelu, over the frames " + std::string(to_string(part_.config.hidden_act)) + ", gated");
    description_.emplace_back("pooling",
                              "each frame to a unit vector, the class token over them, then a norm and a linear layer");
    description_.emplace_back(
        "parameters", std::to_string(detail::count_parameters(*part_.network) + detail::count_parameters(*part_.head)));
  }

  std::int64_t dim() const override { return part_.head->proj->weight.size(0); }
  Tensor preprocess(const Image& image) const override { return part_.processor.frame(image); }
  Description describe() const override { return description_; }

  Tensor encode(const Tensor& pixels) const override {
    detail::check_pixels(pixels);
    const torch::AutoGradMode record(RecordGradients::on());
    if (pixels.size(0) == 0) return torch::zeros({0, dim()});
    const std::int64_t copies =
        std::max<std::int64_t>(1, part_.processor.num_frames);  // as the reference samples one frame
    const Tensor looks = part_.network->look(pixels).unsqueeze(1).expand({-1, copies, -1});
    return part_.head->forward(part_.network->forward(looks).select(1, 0));
  }

  Tensor encode_video(const Tensor& pixels) const override {
    const torch::AutoGradMode record(RecordGradients::on());
    return part_.head->forward(part_.states(pixels).select(1, 0))[0];
  }

  std::vector<TrainablePart> trainable() override {
    return detail::pe_parts(part_.encoder_prefix, *part_.network, part_.prefix + "video_head.", part_.head);
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
  return {.image = video.tower(kModelType), .text = text.tower(video.text_head, "text_video_head.")};
}

std::unique_ptr<VideoEncoder> load_video_encoder(const std::filesystem::path& directory) {
  constexpr const char* kWho = "load_video_encoder";
  constexpr const char* kPeAv = "pe_audio_video";
  const std::filesystem::path file = directory / "config.json";
  if (!std::filesystem::exists(file)) return nullptr;
  const detail::Json json = detail::read_json(kWho, file);
  const auto type = json.is_object() ? detail::get_or<std::string>(kWho, json, "model_type", "") : "";
  if (type != kModelType && type != kPeAv) return nullptr;
  const detail::ModelFiles files = detail::open_model(kWho, directory);
  const bool alone = type == kModelType;
  const detail::Json both = alone ? json : detail::read_part(kWho, json, "audio_video_config");
  const auto config = detail::read_pe_video(kWho, detail::read_part(kWho, both, "video_config"));
  const std::string prefix = alone ? "video_encoder." : detail::pe_encoder_prefix(files.checkpoint, "video");
  return std::make_unique<PeVideoTower>(
      alone ? kModelType : kPeAv, detail::PeVideoPart::load(kWho, files, alone ? "" : "video_model.", prefix, config,
                                                            detail::read_pe_text(kWho, json).hidden_size));
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
  if (processor.num_frames == 0) return network->forward(network->look(pixels).unsqueeze(0));
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < processor.num_frames; ++i) {  // in floating point, as the reference does
    chosen.push_back(static_cast<std::int64_t>(static_cast<double>(i * (count - 1)) /
                                               static_cast<double>(processor.num_frames - 1)));
  }
  const auto [once, places, counts] = torch::unique_consecutive(torch::tensor(chosen), /*return_inverse=*/true);
  return network->forward(network->look(pixels.index_select(0, once)).index_select(0, places).unsqueeze(0));
}

std::unique_ptr<ImageEncoder> PeVideoPart::tower(const char* model_type) const {
  return std::make_unique<PeVideoTower>(model_type, *this);
}

}  // namespace detail

}  // namespace trine
