#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace trine::detail {

/// Threads for work on `wanted` (0: one per processor that the process may use), at most `pieces`.
inline std::size_t threads_for(std::size_t wanted, std::size_t pieces) {
  const std::size_t threads = wanted != 0 ? wanted : std::max(std::thread::hardware_concurrency(), 1u);
  return std::clamp<std::size_t>(pieces, 1, threads);
}

/// Calls work(0) to work(threads - 1) at the same time, the last on this thread; fewer where the system gives no more
/// threads, so work must be shared through a counter. Throws the first exception when all have ended.
template <typename Work>
void in_parallel(std::size_t threads, const Work& work) {
  std::mutex mutex;
  std::exception_ptr first;
  const auto guarded = [&](std::size_t worker) {
    try {
      work(worker);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      others.reserve(threads - 1);
      while (others.size() + 1 < threads) others.emplace_back(guarded, others.size());
    } catch (const std::system_error&) {  // no more threads: those that run do it all
    }
    guarded(threads - 1);
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace trine::detail
