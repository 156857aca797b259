#include "load_features.h"

#include <optional>

#include "command.h"
#include "trine/train/trainer.h"

namespace trine::cli {

train::Dataset load_features(train::FeatureStore& store, const std::vector<train::Sample>& samples,
                             const std::string& title, std::vector<train::SkippedInput>* skipped) {
  std::optional<train::ProgressBar> bar;
  std::vector<train::SkippedInput> unread;
  train::Dataset data = store.load(samples, &unread, [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace(title, total, done);
    bar->show(done);
  });
  bar.reset();
  say_skipped(unread);
  if (skipped != nullptr) skipped->insert(skipped->end(), unread.begin(), unread.end());
  return data;
}

void say_skipped(const std::vector<train::SkippedInput>& skipped) {
  for (const train::SkippedInput& input : skipped) say("Skipped " + input.input + ": " + input.why);
}

}  // namespace trine::cli
