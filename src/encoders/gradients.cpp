#include "trine/encoders/gradients.h"

namespace trine {

namespace {
thread_local int recording = 0;  ///< how many live in this thread
}

RecordGradients::RecordGradients() { ++recording; }
RecordGradients::~RecordGradients() { --recording; }
bool RecordGradients::on() { return recording > 0; }

}  // namespace trine
