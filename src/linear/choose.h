#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "trine/precision.h"

/// Which arithmetic a layer gets when it is made.

namespace trine::detail {

/// Of this thread's LoadPrecision.
Precision asked_precision();
double asked_accuracy();

/// std::invalid_argument unless a LoadPrecision may ask for it on `device`.
void check_precision(const char* who, Precision precision, c10::Device device);

/// (in, out)
using LinearShape = std::pair<std::int64_t, std::int64_t>;

/// Of a layer that this thread makes now, by its LoadPrecision; told to the PrecisionLog that lives.
Precision precision_of(LinearShape shape);

/// While one lives: what the layers that this thread makes compute with. The innermost one hears.
class PrecisionLog {
 public:
  PrecisionLog();
  ~PrecisionLog();
  PrecisionLog(const PrecisionLog&) = delete;
  PrecisionLog& operator=(const PrecisionLog&) = delete;

  /// "fp32"; "auto: 384 x 1152 int8, 384 x 384 fp32"; "int8: 27 x 32 fp32"; "fp32: this family has no layers in int8";
  /// on CUDA "auto: bf16"
  std::string describe() const;

 private:
  friend Precision precision_of(LinearShape shape);
  Precision asked_;
  PrecisionLog* outer_;
  std::map<LinearShape, Precision> shapes_;
};

}  // namespace trine::detail
