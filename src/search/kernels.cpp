#include "search/kernels.h"

#include <cstdlib>
#include <cstring>

#include "detail/cpu.h"
#include "detail/error.h"

namespace trine::detail {

const Kernels* kernels_named(const char* name) {
  if (std::strcmp(name, kPortableKernels.name) == 0) return &kPortableKernels;
#ifdef __x86_64__
  const Instructions has = instructions();
  if (has >= Instructions::avx2 && std::strcmp(name, kAvx2Kernels.name) == 0) return &kAvx2Kernels;
  if (has >= Instructions::avx512_vnni && std::strcmp(name, kAvx512Kernels.name) == 0) return &kAvx512Kernels;
#endif
  return nullptr;
}

const Kernels& kernels() {
  static const Kernels& chosen = [&]() -> const Kernels& {
    if (const char* wanted = std::getenv("TRINE_SEARCH_KERNELS")) {
      if (const Kernels* found = kernels_named(wanted)) return *found;
      bad_argument("TRINE_SEARCH_KERNELS", "wanted portable, or avx2 or avx512 where the processor has them, got ",
                   wanted);
    }
    for (const char* name : {"avx512", "avx2"}) {
      if (const Kernels* found = kernels_named(name)) return *found;
    }
    return kPortableKernels;
  }();
  return chosen;
}

}  // namespace trine::detail
