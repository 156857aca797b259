#include "encoders/encoder_directory.h"

#include <cstdlib>

#include "detail/error.h"

namespace trine::detail {

namespace fs = std::filesystem;

namespace {

fs::path home_cache() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const fs::path cache = variable("TRINE_CACHE"); !cache.empty()) return cache;
  if (const fs::path cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "trine";
  return variable("HOME") / ".cache" / "trine";
}

}  // namespace

fs::path encoder_directory(const char* who, const fs::path& model, const std::string& name) {
  if (fs::is_directory(model / name)) return model / name;
  const fs::path cached = home_cache() / "encoders" / name;
  if (fs::is_directory(cached)) return cached;
  failure(who, "the encoder ", name, " of ", model, " is not in the cache ", home_cache(),
          ": run `python -m trine.fetch`, or set TRINE_CACHE");
}

}  // namespace trine::detail
