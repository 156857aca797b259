#pragma once

#include <cstdint>
#include <future>
#include <utility>

namespace trine::detail {

/// use(i, make(i)) for 0 to count - 1 in this order, `use` on this thread, `make` of the next one meanwhile on another
/// (of the first on this one): reading and decoding hide behind computing. So two are held at a time, at most. What
/// `make` throws is thrown when its turn has come; nothing is made or used after it.
template <typename Make, typename Use>
void prefetch(std::int64_t count, const Make& make, const Use& use) {
  if (count <= 0) return;
  auto present = make(std::int64_t{0});
  for (std::int64_t i = 0; i < count; ++i) {
    std::future<decltype(present)> next;  // where there is no thread left it is made when it is asked for
    if (i + 1 < count)
      next = std::async(std::launch::async | std::launch::deferred, [&make, i] { return make(i + 1); });
    use(i, std::move(present));
    if (next.valid()) present = next.get();
  }
}

}  // namespace trine::detail
