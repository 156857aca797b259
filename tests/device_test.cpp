// Networks on another device: with torch's operators on the CPU, and on CUDA where there is any. That they make all
// they need where they lie is tests/python/test_device.py's: torch's meta device wants the kernels that Python's torch
// has.

#include "trine/device.h"

#include <stdexcept>

#include "device_testing.h"
#include "trine/apps/video_understanding.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/transcriber.h"
#include "trine/fusion.h"
#include "trine/precision.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::device;
using trine::Embedder;
using trine::LoadDevice;
using trine::LoadPrecision;
using trine::Modality;
using trine::Precision;

const fs::path kData = fs::path(TRINE_TEST_DATA) / "golden";
constexpr int kMany = 7;

#define TRINE_NEEDS_CUDA() \
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device"

// --- every tower
// ------------------------------------------------------------------------------------------------------

class EachTower : public testing::TestWithParam<TowerCase> {
 protected:
  Tensor embed(int count) const { return embed_some(load_tower(GetParam()), GetParam().modality, count); }
};

INSTANTIATE_TEST_SUITE_P(Device, EachTower, testing::ValuesIn(every_tower()), [](const auto& one) {
  std::string name = one.param.folder + "_" + std::string(trine::to_string(one.param.modality));
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

TEST_P(EachTower, TorchsOperatorsGiveTheSameVectors) {
  const Embedder model = load_tower(GetParam());
  Tensor ours, theirs;
  int ours_products = 0, theirs_products = 0;
  {
    const Products called;
    ours = embed_some(model, GetParam().modality, kMany);
    ours_products = called.count();
  }
  {
    const CpuAutocast plain(torch::kFloat32);
    const Products called;
    theirs = embed_some(model, GetParam().modality, kMany);
    theirs_products = called.count();
  }
  EXPECT_LT(largest_difference(ours, theirs), 1e-5);
  EXPECT_GT(theirs_products, ours_products);
}

/// What a network in bf16 does on CUDA, done on the CPU.
TEST_P(EachTower, AutocastIsNear) {
  const Embedder model = load_tower(GetParam());
  const Tensor exact = embed_some(model, GetParam().modality, kMany);
  const CpuAutocast rounded(torch::kBFloat16);
  const Tensor near = embed_some(model, GetParam().modality, kMany);
  EXPECT_EQ(near.scalar_type(), torch::kFloat32);
  EXPECT_GT(smallest_cosine(exact, near), 0.98);  // the weights are random
  EXPECT_GT(largest_difference(exact, near), 0);
}

TEST_P(EachTower, CudaGivesTheVectorsOfTheCpu) {
  TRINE_NEEDS_CUDA();
  const Tensor exact = embed(kMany);
  const LoadDevice there(device("cuda"));
  const Embedder model = load_tower(GetParam());
  EXPECT_TRUE(model.device().is_cuda());
  const Tensor found = embed_some(model, GetParam().modality, kMany);
  EXPECT_TRUE(found.is_cpu());
  EXPECT_LT(largest_difference(found, exact), 1e-4);
  EXPECT_LT(largest_difference(embed_some(model, GetParam().modality, 1), exact.slice(0, 0, 1)), 1e-4);
  EXPECT_TRUE(embed_some(model, GetParam().modality, kMany).equal(found));
  EXPECT_TRUE(embed(kMany).equal(found));  // of a model that was loaded anew
  for (const Precision precision : {Precision::bf16, Precision::fp16, Precision::automatic}) {
    const LoadPrecision scope(precision);
    EXPECT_GT(smallest_cosine(embed(kMany), exact), 0.99) << trine::to_string(precision);
  }
}

// --- asking for a device
// ----------------------------------------------------------------------------------------------

TEST(Device, NamesAreTorchs) {
  EXPECT_EQ(device("cpu"), torch::Device(torch::kCPU));
  EXPECT_EQ(device("auto").is_cuda(), torch::cuda::is_available());
  for (const char* name : {"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1x", "cuda:999", "mps", "cpu:0"}) {
    EXPECT_EQ(refusal<std::invalid_argument>([&] { device(name); }),
              "[LoadDevice] wanted auto, cpu, cuda or cuda: and a number, got \"" + std::string(name) + "\"");
  }
}

TEST(Device, OneThatIsNotThereIsRefused) {
  if (torch::cuda::is_available()) {
    EXPECT_NE(refusal<std::runtime_error>([] { device("cuda:100"); }).find("wanted a device from cuda:0"),
              std::string::npos);
    return;
  }
  EXPECT_EQ(refusal<std::runtime_error>([] { device("cuda"); }),
            "[LoadDevice] wanted a device that is here, got cuda: this LibTorch finds no CUDA device, use cpu or auto");
  EXPECT_NE(refusal<std::runtime_error>([] { LoadDevice(torch::Device(torch::kCUDA, 1)); }).find("got cuda:1"),
            std::string::npos);
}

TEST(Device, TheInnermostScopeHoldsAndEnds) {
  const auto loaded = [] { return Embedder::load(kData / "vision/vit").device(); };
  {
    const LoadDevice outer(torch::kMeta);
    EXPECT_TRUE(loaded().is_meta());
    {
      const LoadDevice inner(torch::kCPU);
      EXPECT_TRUE(loaded().is_cpu());
    }
    EXPECT_TRUE(loaded().is_meta());
  }
  EXPECT_TRUE(loaded().is_cpu());
}

TEST(Device, EachHasItsPrecisions) {
  EXPECT_FALSE(trine::supports(Precision::fp16));
  EXPECT_EQ(refusal<std::invalid_argument>([] { LoadPrecision(Precision::fp16); }),
            "[LoadPrecision] wanted auto, fp32, bf16 or int8 on cpu, got fp16");
  {
    const LoadDevice there(torch::kMeta);
    EXPECT_TRUE(trine::supports(Precision::fp16) && trine::supports(Precision::bf16));
    EXPECT_FALSE(trine::supports(Precision::int8));
    EXPECT_EQ(refusal<std::invalid_argument>([] { LoadPrecision(Precision::int8); }),
              "[LoadPrecision] wanted auto, fp32, bf16 or fp16 on meta, got int8");
    const LoadPrecision rounded(Precision::fp16);
    const Embedder model = Embedder::load(kData / "vision/vit");
    EXPECT_NE(described(model.describe()).find("image.precision: fp16\n"), std::string::npos);
    EXPECT_EQ(refusal<std::invalid_argument>([] { LoadDevice(torch::kCPU); }),
              "[LoadDevice] wanted auto, fp32, bf16 or int8 on cpu, got fp16");
  }
  EXPECT_FALSE(trine::supports(Precision::fp16));
}

// --- on CUDA
// ----------------------------------------------------------------------------------------------------------

TEST(Device, TowersLearnOnCuda) {
  TRINE_NEEDS_CUDA();
  const Directory saved;
  const TextDirectory folder("bert");
  const LoadDevice there(device("cuda"));
  const Embedder model = Embedder::load(folder.path());
  const auto weights = model.weights(Modality::text);
  EXPECT_TRUE(weights.front().second.is_cuda());
  {
    const trine::RecordGradients record;
    embed_some(model, Modality::text, 3).select(1, 0).sum().backward();
  }
  EXPECT_TRUE(weights.front().second.grad().is_cuda());
  const torch::NoGradGuard no_grad;
  for (const auto& [name, weight] : weights) {
    if (weight.grad().defined()) Tensor(weight).sub_(weight.grad(), 0.1);
  }
  model.save(saved / "model");
  EXPECT_LT(largest_difference(embed_some(Embedder::load(saved / "model"), Modality::text, 3),
                               embed_some(model, Modality::text, 3)),
            1e-5);
}

TEST(Device, TranscriptsAreThoseOfTheCpu) {
  TRINE_NEEDS_CUDA();
  const Tensor samples = noise("noise", {19'200}) / 4;
  const float* begin = samples.const_data_ptr<float>();
  const trine::Audio clip{16'000, {begin, begin + samples.numel()}};
  for (const char* name : {"english", "multilingual"}) {
    const auto here = trine::Transcriber::load(kData / "transcripts" / name).transcribe(clip);
    const LoadDevice there(device("cuda"));
    EXPECT_EQ(trine::Transcriber::load(kData / "transcripts" / name).transcribe(clip).tokens, here.tokens) << name;
  }
}

TEST(Device, ModulesGiveTheSameOnCuda) {
  TRINE_NEEDS_CUDA();
  const torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  const Tensor image = torch::randn({3, 4, 16}), text = torch::randn({3, 5, 16});
  for (const trine::FusionType type :
       {trine::FusionType::early, trine::FusionType::late, trine::FusionType::hybrid, trine::FusionType::attention}) {
    trine::Fusion fusion =
        trine::make_fusion(type, {.modalities = {"image", "text"}, .hidden_dim = 16, .num_heads = 4, .ff_dim = 24});
    fusion->eval();
    const Tensor here = fusion->forward({{"image", image}, {"text", text}}).vector;
    fusion->to(torch::kCUDA);
    const Tensor there = fusion->forward({{"image", image.cuda()}, {"text", text.cuda()}}).vector;
    EXPECT_TRUE(there.is_cuda());
    EXPECT_LT(largest_difference(there.cpu(), here), 1e-4) << trine::to_string(type);
  }
  trine::VideoUnderstanding network(trine::VideoUnderstandingOptions{
      .frame_dim = 16, .audio_dim = 3, .text_dim = 16, .hidden_dim = 4, .out_dim = 6, .num_heads = 2});
  const Tensor here = network->forward({.frames = image, .transcript = text}).video;
  network->to(torch::kCUDA);
  const Tensor there = network->forward({.frames = image.cuda(), .transcript = text.cuda()}).video;
  EXPECT_LT(largest_difference(there.cpu(), here), 1e-3);  // cuDNN's LSTM is in TF32 where torch's setting lets it be
}

}  // namespace
