#pragma once

#include <string>

#include "spectrogram_testing.h"

/// What the tests of the families that hear samples share: the cases of make_waves.py.

namespace trine::testing {

inline const fs::path kWaves = fs::path(TRINE_TEST_DATA) / "golden/waves";

inline Golden waves(const std::string& name) { return Golden((kWaves / name).string()); }

}  // namespace trine::testing
