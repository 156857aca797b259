#pragma once

/// Marks what the shared libraries export; everything else is hidden.
#define TRINE_API __attribute__((visibility("default")))
