#pragma once

#include <cstdint>
#include <functional>

namespace trine::detail {

/// part(begin, end) for parts of 0 to `count` of at least `grain`, by as many threads as torch is set to; in one where
/// it is called from such a part. What the first of the parts that throw has thrown is thrown here, once all have
/// ended.
void in_parallel(std::int64_t count, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& part);

}  // namespace trine::detail
