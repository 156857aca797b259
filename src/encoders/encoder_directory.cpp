#include "encoders/encoder_directory.h"

#include "detail/error.h"
#include "trine/embedder.h"

namespace trine::detail {

namespace fs = std::filesystem;

fs::path encoder_directory(const char* who, const fs::path& model, const std::string& name) {
  if (fs::is_directory(model / name)) return model / name;
  const fs::path cached = cache_directory() / "encoders" / name;
  if (fs::is_directory(cached)) return cached;
  failure(who, "the encoder ", name, " of ", model, " is not in the cache ", cache_directory(),
          ": run `python -m trine.fetch`, or set TRINE_CACHE");
}

}  // namespace trine::detail
