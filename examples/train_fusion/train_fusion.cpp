// train_fusion [MANIFEST [OUT]]: a fusion for the manifest's labels, measured on its test split and saved in OUT.
// Without a manifest it trains on numbers of its own.
#include <trine/embedder.h>
#include <trine/train/fit.h>

#include <cstdio>
#include <iostream>

using trine::train::Dataset;

/// 900 samples of six labels in three modalities that tell them apart well, fairly and poorly; every fourth has no
/// text.
Dataset made_up() {
  torch::manual_seed(7);
  const torch::Tensor numbers = torch::arange(900) % 6;
  Dataset data;
  for (const auto& [modality, noise] : {std::pair{"image", 1.5}, {"text", 2.0}, {"audio", 2.5}}) {
    const torch::Tensor centres = torch::randn({6, 16});
    data.features[modality] = (centres.index_select(0, numbers) + noise * torch::randn({900, 16})).unsqueeze(1);
  }
  data.masks["text"] = (torch::arange(900) % 4 != 3).unsqueeze(1);
  const trine::train::Split splits[] = {trine::train::Split::train, trine::train::Split::train,
                                        trine::train::Split::train, trine::train::Split::val,
                                        trine::train::Split::test};
  for (int i = 0; i < 900; ++i) {
    data.labels.push_back("label " + std::to_string(i % 6));
    data.splits.push_back(splits[i / 6 % 5]);
  }
  return data;
}

void report(const std::string& name, trine::train::TaskModel& model, const Dataset& data) {
  const trine::train::Prediction said = trine::train::predict(model, data);
  const torch::Tensor right = said.scores.argmax(1) == data.numbers(model->options().labels);
  std::printf("%-14s accuracy %.3f; weights", name.c_str(), right.to(torch::kDouble).mean().item<double>());
  for (const auto& [modality, weight] : said.weights) {
    std::printf(" %s %.2f", modality.c_str(), weight.mean().item<double>());
  }
  std::printf("\n");
}

/// The samples that have something else, with that.
Dataset without(Dataset data, const std::string& modality) {
  data.features.erase(modality);
  data.masks.erase(modality);
  torch::Tensor any = torch::zeros(data.size(), torch::kBool);
  for (const auto& [other, present] : data.present()) any = any | present;
  const torch::Tensor rows = any.nonzero().flatten();
  return data.at({rows.data_ptr<std::int64_t>(), rows.data_ptr<std::int64_t>() + rows.numel()});
}

int main(int argc, char** argv) try {
  at::set_num_threads(1);  // the same numbers whatever the number of cores
  const Dataset data =
      argc > 1 ? trine::train::FeatureStore(trine::Embedder::load()).load(trine::train::read_manifest(argv[1]))
               : made_up();
  trine::train::FitResult result = trine::train::fit(data, {.modality_dropout = 0.3, .seed = 1});
  std::printf("kept epoch %d of %zu\n", static_cast<int>(result.best_epoch), result.history.size());

  const Dataset test = data.of(trine::train::Split::test);
  report("all", result.model, test);
  for (const auto& [modality, x] : test.features) report("without " + modality, result.model, without(test, modality));
  if (argc > 2) result.model->save(argv[2]);
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
