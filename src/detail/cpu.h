#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/// Which instructions this machine has, for loops that are compiled for several kinds and chosen when they run.

namespace trine::detail {

enum class Instructions { portable, avx2, avx512, avx512_vnni };  ///< each with those before it

/// Asked once. avx2: with FMA, F16C and BMI2; avx512: F, BW, DQ and VL.
inline Instructions instructions() {
#if defined(__x86_64__)
  static const Instructions best = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;  // F16C: clang knows its name from version 15 on only
    const bool has_f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
    if (!has_f16c || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi2")) {
      return Instructions::portable;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
      return Instructions::avx2;
    }
    return __builtin_cpu_supports("avx512vnni") ? Instructions::avx512_vnni : Instructions::avx512;
  }();
  return best;
#else
  return Instructions::portable;
#endif
}

/// Products of bytes in AVX's own registers.
inline bool has_avx_vnni() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;  // GCC has no name for it before version 13
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1u) != 0;
#else
  return false;
#endif
}

/// Registers that are matrices, of bytes too; whether the system lets a program use them is another question.
inline bool has_amx() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 25 & 1u) != 0;
#else
  return false;
#endif
}

}  // namespace trine::detail
