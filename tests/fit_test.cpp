#include <filesystem>
#include <fstream>

#include "detail/sha256.h"
#include "module_testing.h"
#include "text_testing.h"
#include "trine/train/fit.h"

namespace {

using namespace trine::testing;
using trine::Features;
using trine::FusionType;
using trine::Modality;
using trine::train::Balance;
using trine::train::Dataset;
using trine::train::FeatureStore;
using trine::train::FitOptions;
using trine::train::FitResult;
using trine::train::Split;
using trine::train::Task;
using trine::train::TaskModel;
using trine::train::TaskModelImpl;
namespace fs = std::filesystem;

/// Three labels that image and text each show with noise; every fifth sample lacks its text, every seventh its image.
Dataset labelled(std::int64_t count = 90, double noise = 0.6) {
  torch::manual_seed(11);
  Dataset data;
  const Tensor image = torch::randn({3, 12}), text = torch::randn({3, 8});
  data.features = {{"image", torch::zeros({count, 2, 12})}, {"text", torch::zeros({count, 1, 8})}};
  data.masks = {{"image", torch::ones({count, 2}, torch::kBool)}, {"text", torch::ones({count, 1}, torch::kBool)}};
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t label = i % 3;
    data.features["image"][i] = image[label] + noise * torch::randn({2, 12});
    data.features["text"][i] = text[label] + noise * torch::randn({1, 8});
    if (i % 5 == 4) data.masks["text"][i].fill_(false);
    if (i % 7 == 6 && i % 5 != 4) data.masks["image"][i].fill_(false);
    data.labels.push_back(std::string(1, static_cast<char>('a' + label)));
    data.ids.push_back("");
    data.splits.push_back(i % 10 < 6 ? Split::train : i % 10 < 8 ? Split::val : Split::test);
  }
  return data;
}

FitOptions small(Task task = Task::classify) {
  return {.task = task,
          .network = {.modalities = {}, .hidden_dim = 16, .num_heads = 2, .ff_dim = 16},
          .out_dim = 8,
          .epochs = 8,
          .batch_size = 16,
          .learning_rate = 5e-3,
          .modality_dropout = 0.2,
          .seed = 3};
}

Tensors weights_of(const TaskModel& model) { return trine::state_dict(*model); }

void expect_same(const TaskModel& found, const TaskModel& wanted) {
  const Tensors a = weights_of(found), b = weights_of(wanted);
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : b) EXPECT_TRUE(tensor.equal(a.at(name))) << name;
}

/// Share of the test split whose label comes first.
double test_top1(FitResult& result, const Dataset& data) {
  const Dataset test = data.of(Split::test);
  const Tensor scores = trine::train::predict(result.model, test).scores;
  return (scores.argmax(1) == test.numbers(result.model->options().labels)).to(torch::kFloat64).mean().item<double>();
}

// --- manifests
// --------------------------------------------------------------------------------------------------------

TEST(Sha256, KnownSums) {  // FIPS 180-4's own examples
  const auto sum = [](std::string_view text) {
    trine::detail::Sha256 sha;
    for (std::size_t i = 0; i < text.size(); i += 37) sha.add(text.substr(i, 37));
    return trine::detail::hex(sha.finish());
  };
  EXPECT_EQ(sum(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sum("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sum("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sum(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Manifest, ReadsAnySubsetOfModalities) {
  const Folder folder;
  folder.write("m.jsonl",
               "{\"image\": \"a.jpg\", \"text\": [\"x\", \"y\"], \"label\": \"p\", \"split\": \"val\"}\n\n"
               "{\"audio\": [\"b.wav\"], \"id\": \"7\", \"set\": \"s\", \"more\": 1}\n");
  const auto samples = trine::train::read_manifest(folder / "m.jsonl");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].inputs.at(Modality::image).front(), (folder / "a.jpg").string());
  EXPECT_EQ(samples[0].inputs.at(Modality::text), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(samples[0].label, "p");
  EXPECT_EQ(samples[0].split, Split::val);
  EXPECT_EQ(samples[1].id, "7");
  EXPECT_EQ(samples[1].set, "s");
  EXPECT_EQ(samples[1].line, 3u);
  EXPECT_EQ(samples[1].split, Split::train);
}

TEST(Manifest, MistakesNameFileAndLine) {
  const Folder folder;
  const auto refused = [&](const std::string& content) {
    folder.write("m.jsonl", content);
    const std::string sentence = refusal<std::runtime_error>([&] { trine::train::read_manifest(folder / "m.jsonl"); });
    EXPECT_NE(sentence.find("m.jsonl"), std::string::npos) << sentence;
    return sentence;
  };
  EXPECT_NE(refused("").find("holds no line"), std::string::npos);
  EXPECT_NE(refused("{\"text\": \"a\"}\n{\"text\"").find("line 2"), std::string::npos);
  EXPECT_NE(refused("[]").find("line 1: a JSON object"), std::string::npos);
  EXPECT_NE(refused("{\"label\": \"a\"}").find("there is none"), std::string::npos);
  EXPECT_NE(refused("{\"text\": 1}").find("\"text\" must be a text or a list"), std::string::npos);
  EXPECT_NE(refused("{\"text\": []}").find("holds 0 inputs"), std::string::npos);
  EXPECT_NE(refused("{\"image\": [\"\"]}").find("none of them empty"), std::string::npos);
  EXPECT_NE(refused("{\"text\": \"a\", \"label\": 3}").find("\"label\" must be a text"), std::string::npos);
  EXPECT_NE(refused("{\"text\": \"a\", \"split\": \"dev\"}").find("not \"dev\""), std::string::npos);
  EXPECT_NE(refusal<std::runtime_error>([&] { trine::train::read_manifest(folder / "none.jsonl"); }).find("none.jsonl"),
            std::string::npos);
}

TEST(Dataset, PartsLabelsAndChecks) {
  Dataset data = labelled(20);
  data.check();
  EXPECT_EQ(data.of(Split::train).size(), 12);
  EXPECT_EQ(data.classes(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(data.numbers({"b", "c"}).slice(0, 0, 3).equal(torch::tensor({-1, 0, 1}, torch::kInt64)));
  EXPECT_FALSE(data.present().at("text")[4].item<bool>());
  const auto refused = [](const Dataset& broken) { return refusal<std::invalid_argument>([&] { broken.check(); }); };
  Dataset broken = labelled(20);
  broken.features["text"][2][0][1] = NAN;
  EXPECT_EQ(refused(broken), "[Dataset] the features of 'text' of sample 2 are not finite");
  broken = labelled(20);
  broken.features["text"][4][0][1] = NAN;  // where nobody looks
  broken.check();
  broken.masks["image"][4].fill_(false);
  EXPECT_EQ(refused(broken), "[Dataset] sample 4 has no modality");
  broken = labelled(20);
  broken.labels.pop_back();
  EXPECT_NE(refused(broken).find("labels must be as many as samples (20); got 19"), std::string::npos);
  broken = labelled(20);
  broken.masks["audio"] = broken.masks["text"];
  EXPECT_NE(refused(broken).find("a mask of 'audio', but no features"), std::string::npos);
  EXPECT_NE(refused({}).find("got none"), std::string::npos);
}

// --- fit
// --------------------------------------------------------------------------------------------------------------

TEST(Fit, EveryFusionLearnsWithMissingModalities) {
  const Dataset data = labelled();
  for (const FusionType fusion : {FusionType::early, FusionType::late, FusionType::hybrid, FusionType::attention}) {
    FitOptions options = small();
    options.fusion = fusion;
    options.balance = Balance::up;
    FitResult result = fit(data, options);
    EXPECT_GE(test_top1(result, data), 0.8) << trine::to_string(fusion);
    EXPECT_EQ(std::ssize(result.history), options.epochs);
    EXPECT_LT(result.history.back().loss, result.history.front().loss);
    EXPECT_FALSE(result.model->is_training());
  }
}

TEST(Fit, RanksByTheVectorsOfLabels) {
  const Dataset data = labelled();
  FitOptions options = small(Task::rank);
  options.temperature = 0.2;
  torch::manual_seed(5);
  options.label_vectors = torch::randn({3, 6});
  FitResult result = fit(data, options);
  EXPECT_GE(test_top1(result, data), 0.8);
  const auto prediction = trine::train::predict(result.model, data);
  EXPECT_TRUE(torch::allclose(prediction.vector.norm(2, 1), torch::ones({data.size()})));
  expect_close(weights_of(result.model).at("label_vectors"), trine::normalise(options.label_vectors));
}

TEST(Fit, AlignsModalitiesByIds) {
  Dataset data = labelled();
  data.ids = data.labels;
  data.labels.clear();
  FitResult result = fit(data, small(Task::align));
  EXPECT_GE(*result.history.back().val_top1, 0.8);
  EXPECT_LT(result.history.back().loss, result.history.front().loss);
  const auto vectors = trine::train::predict(result.model, data).vectors;
  EXPECT_EQ(vectors.at("image").sizes(), (torch::IntArrayRef{data.size(), 8}));
  EXPECT_TRUE(weights_of(result.model).contains("contrast.logit_scale"));
}

TEST(Fit, FollowsItsSeedAndLeavesTorchsOwn) {
  const Dataset data = labelled();
  torch::manual_seed(1);
  const FitResult first = fit(data, small());
  const Tensor next = torch::rand({4});
  torch::manual_seed(1);
  EXPECT_TRUE(torch::rand({4}).equal(next));
  expect_same(fit(data, small()).model, first.model);
  FitOptions other = small();
  other.seed = 4;
  EXPECT_FALSE(weights_of(fit(data, other).model).at("head.weight").equal(weights_of(first.model).at("head.weight")));
}

TEST(Fit, StopsEarlyAndKeepsTheBestEpoch) {
  Dataset data = labelled();
  for (std::size_t i = 0; i < data.labels.size(); ++i) {  // nothing to learn for the validation
    if (data.splits[i] == Split::val) data.labels[i] = "abc"[i * 7 % 3];
  }
  FitOptions options = small();
  options.epochs = 60;
  options.patience = 4;
  const FitResult result = fit(data, options);
  EXPECT_TRUE(result.stopped_early);
  EXPECT_EQ(std::ssize(result.history), result.best_epoch + 4);
  EXPECT_LT(result.history.size(), 60u);
  for (const auto& log : result.history) {
    EXPECT_LE(*log.val_top1, *result.history[static_cast<std::size_t>(result.best_epoch - 1)].val_top1);
  }
}

TEST(Fit, ResumedEqualsStraight) {
  const Dataset data = labelled();
  for (const Task task : {Task::classify, Task::align}) {
    FitOptions options = small(task);
    if (task == Task::align) options.batch_size = 4, options.modality_dropout = 0.5;  // many batches teach nothing
    const FitResult wanted = fit(data, options);
    const Folder folder;
    options.folder = folder / "run";
    options.checkpoint_seconds = 0;  // one after each step
    for (const std::int64_t last : {1, 9, 17}) {
      std::int64_t seen = 0;
      options.progress = [&](const trine::train::FitProgress& now) {
        EXPECT_GE(now.step, seen);
        seen = now.step;
        if (now.step >= last) throw std::runtime_error("stop");
      };
      EXPECT_THROW(fit(data, options), std::runtime_error);
    }
    options.progress = {};
    const FitResult resumed = fit(data, options);
    expect_same(resumed.model, wanted.model);
    ASSERT_EQ(resumed.history.size(), wanted.history.size());
    for (std::size_t i = 0; i < wanted.history.size(); ++i) {
      EXPECT_EQ(resumed.history[i].loss, wanted.history[i].loss);
      EXPECT_EQ(resumed.history[i].val_loss, wanted.history[i].val_loss);
    }
    expect_same(TaskModel(TaskModelImpl::load(folder / "run")), wanted.model);
    options.progress = [](const auto&) { FAIL() << "it had ended"; };
    expect_same(fit(data, options).model, wanted.model);
    options.seed = 9;
    options.progress = {};
    EXPECT_NE(refusal<std::runtime_error>([&] { fit(data, options); }).find("other data or options"),
              std::string::npos);
  }
}

TEST(Fit, WhatDoesNotFitIsASentence) {
  const auto refused = [](const Dataset& data, const FitOptions& options = small()) {
    return refusal<std::invalid_argument>([&] { fit(data, options); });
  };
  Dataset data = labelled(30);
  data.labels.assign(30, "a");
  EXPECT_EQ(refused(data), "[fit] wanted two labels at least, all samples have 'a'");
  data = labelled(30);
  data.labels[9] = "new";  // of the test split
  EXPECT_EQ(refused(data), "[fit] the label 'new' of sample 9 (test) is not in train");
  data.labels[9] = "";
  EXPECT_EQ(refused(data), "[fit] sample 9 has no label");
  data = labelled(30);
  data.splits.assign(30, Split::test);
  EXPECT_EQ(refused(data), "[fit] there is no train sample");
  data = labelled(30);
  data.features["audio"] = torch::zeros({30, 1, 4});
  data.masks["audio"] = torch::zeros({30, 1}, torch::kBool);
  EXPECT_EQ(refused(data), "[fit] no train sample has the modality 'audio'");
  data = labelled(30);
  EXPECT_NE(refused(data, small(Task::rank)).find("label_vectors must be floats (3, D)"), std::string::npos);
  data.masks["text"].fill_(false);
  data.masks["image"].fill_(true);
  data.masks["text"][0].fill_(true);
  EXPECT_NE(refused(data, small(Task::align)).find("nothing to align"), std::string::npos);
  data = labelled(30);
  const auto changed = [&](const auto& change) {
    FitOptions options = small();
    change(options);
    return refused(data, options);
  };
  EXPECT_EQ(changed([](FitOptions& o) { o.epochs = 0; }), "[fit] epochs must be at least 1, got 0");
  EXPECT_EQ(changed([](FitOptions& o) { o.learning_rate = 0; }), "[fit] learning_rate must be above 0, got 0");
  EXPECT_EQ(changed([](FitOptions& o) { o.warmup = 1; }), "[fit] warmup must be from 0 to below 1, got 1");
  EXPECT_NE(changed([](FitOptions& o) { o.modality_dropout = 2; }).find("0 to 1, got 2"), std::string::npos);
  EXPECT_NE(changed([](FitOptions& o) { o.network.num_heads = 3; }).find("num_heads 3"), std::string::npos);
}

TEST(Fit, ADeviceThatIsNotThereIsRefused) {
  FitOptions options = small();
  options.device = torch::Device(torch::kCUDA, 100);
  EXPECT_EQ(refusal<std::runtime_error>([&] { trine::train::fit(labelled(), options); }).find("[LoadDevice] wanted a"),
            0);
  options.device = torch::kCPU;
  expect_same(trine::train::fit(labelled(), options).model, trine::train::fit(labelled(), small()).model);
}

TEST(Fit, RanksCountTiesAgainst) {
  const Tensor scores = torch::tensor({{0.5f, 0.5f, 0.1f}, {0.1f, 0.2f, 0.9f}, {0.0f, 0.0f, 0.0f}});
  const Tensor right = torch::tensor({{1, 0, 0}, {0, 1, 1}, {0, 0, 1}}).to(torch::kBool);
  EXPECT_TRUE(trine::train::ranks(scores, right).equal(torch::tensor({2, 1, 3}, torch::kInt64)));
}

TEST(Fit, TunesTowersOfACopy) {
  const TextDirectory directory("bert");
  const Folder folder;
  const trine::Embedder model = trine::Embedder::load(directory.path());
  const Tensor before = model.embed_text("a sour lemon");
  std::vector<trine::train::Sample> samples;
  for (const char* word : {"sour", "ripe", "green", "cold", "fresh", "big"}) {
    for (const std::string label : {"lemon", "leek"}) {
      samples.push_back({.inputs = {{Modality::text, {std::string(word) + " " + label}}}, .label = label});
    }
  }
  FeatureStore store(model, folder / "store");
  FitOptions options = small();
  options.tune = {Modality::text};
  const auto refused = [&] {
    return refusal<std::invalid_argument>([&] { trine::train::fit(store, samples, options); });
  };
  EXPECT_NE(refused().find("a folder is wanted"), std::string::npos);
  options.folder = folder / "run";
  options.tune = {Modality::image};
  EXPECT_NE(refused().find("has no image tower"), std::string::npos);
  EXPECT_NE(refusal<std::invalid_argument>([&] { trine::train::fit(labelled(30), options); }).find("tuned by samples"),
            std::string::npos);

  options.tune = {Modality::text, Modality::text};
  options.tower_learning_rate = 1e-3;
  const FitResult result = trine::train::fit(store, samples, options);
  EXPECT_LT(result.history.back().loss, result.history.front().loss);
  EXPECT_TRUE(model.embed_text("a sour lemon").equal(before));
  ASSERT_TRUE(result.embedder);
  EXPECT_GT(largest_difference(result.embedder->embed_text("a sour lemon"), before), 1e-4);
  EXPECT_EQ(result.embedder->directory(), folder / "run/embedder");
  EXPECT_EQ(result.model->options().embedder, result.embedder->fingerprint());
}

TEST(TaskModel, DamagedFoldersAreRefused) {
  const Folder folder;
  TaskModel model(trine::train::TaskModelOptions{.inputs = {{"image", 4}}, .labels = {"a", "b"}});
  model->save(folder.path());
  EXPECT_EQ(TaskModelImpl::load(folder.path())->options().labels, (std::vector<std::string>{"a", "b"}));
  const std::string config = [&] {
    std::ifstream file(folder / "config.json");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string changed = config;
    folder.write("config.json", changed.replace(changed.find(from), from.size(), to));
    return refusal<std::runtime_error>([&] { TaskModelImpl::load(folder.path()); });
  };
  EXPECT_NE(refused("\"image\": 4", "\"image\": 5").find("not saved together"), std::string::npos);
  EXPECT_NE(refused("\"image\": 4", "\"image\": 99999999").find("wanted 1 to 65536"), std::string::npos);
  EXPECT_NE(refused("\"classify\"", "\"guess\"").find("not 'guess'"), std::string::npos);
  EXPECT_NE(refused("\"b\"", "\"a\"").find("each once"), std::string::npos);
  EXPECT_NE(refused("task_model", "fusion").find("wanted \"task_model\""), std::string::npos);
}

}  // namespace
