#include "linear/parallel.h"

#include <ATen/Parallel.h>

#include <exception>
#include <limits>
#include <mutex>

#ifndef _OPENMP
#error "without OpenMP torch's parallel_for, a template, computes in one thread"
#endif

namespace trine::detail {

void in_parallel(std::int64_t count, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& part) {
  std::mutex mutex;
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::exception_ptr error;
  at::parallel_for(0, count, grain, [&](std::int64_t begin, std::int64_t end) {
    try {
      part(begin, end);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (begin < first) first = begin, error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace trine::detail
