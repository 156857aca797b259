#include "tower_times.h"

#include <algorithm>
#include <ctime>
#include <stdexcept>

#include "command.h"

namespace trine::cli {

std::map<Modality, double> tower_times(const Embedder& model, const std::vector<train::Sample>& samples) {
  constexpr std::size_t kTimed = 40, kWarm = 3;  ///< inputs; the first ones run with cold caches
  std::map<Modality, double> times;
  for (const Modality modality : model.modalities()) {
    std::vector<std::string> inputs;
    for (const train::Sample& sample : samples) {
      if (const auto found = sample.inputs.find(modality); found != sample.inputs.end()) {
        inputs.push_back(found->second.front());
      }
    }
    std::vector<double> passed;
    const std::size_t wanted = std::min(inputs.size(), kTimed);
    for (std::size_t i = 0; i < wanted; ++i) {
      const std::string& input = inputs[i * inputs.size() / wanted];
      try {
        const std::clock_t before = std::clock();
        model.embed_inputs(modality, {input});
        passed.push_back(1000.0 * static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC);
      } catch (const std::runtime_error&) {  // what cannot be read is reported where it is needed
      }
    }
    if (passed.empty()) continue;
    passed.erase(passed.begin(), passed.begin() + static_cast<std::ptrdiff_t>(std::min(kWarm, passed.size() - 1)));
    std::ranges::nth_element(passed, passed.begin() + std::ssize(passed) / 2);
    times[modality] = passed[passed.size() / 2];
  }
  return times;
}

}  // namespace trine::cli
