#include "search/kernels.h"

#include <cstdlib>
#include <cstring>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "detail/error.h"

namespace trine::detail {

#ifdef __x86_64__
namespace {

/// Not by __builtin_cpu_supports, which clang knows this name in from version 15 on only.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace
#endif

const Kernels* kernels_named(const char* name) {
  if (std::strcmp(name, kPortableKernels.name) == 0) return &kPortableKernels;
#ifdef __x86_64__
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vnni");
  if (has_avx2 && std::strcmp(name, kAvx2Kernels.name) == 0) return &kAvx2Kernels;
  if (has_avx512 && std::strcmp(name, kAvx512Kernels.name) == 0) return &kAvx512Kernels;
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
