#include "linear/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::size_t kLargePage = std::size_t{1} << 21;
constexpr std::size_t kChunk = std::size_t{1} << 25;     ///< of weights: many small layers share large pages
constexpr std::size_t kLine = 64;                        ///< of the cache
constexpr std::size_t kFewestBytes = 1 << 16;            ///< below, the system's own allocator keeps what is freed
constexpr std::size_t kMostFree = std::size_t{1} << 27;  ///< kept for later

std::size_t filled_up(std::size_t size, std::size_t step) { return (size + step - 1) / step * step; }

/// From `kLargePage` on the pages may be large.
void* allocate(std::size_t bytes) {
  void* memory = std::aligned_alloc(bytes < kLargePage ? kLine : kLargePage, bytes);
  if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= kLargePage) madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: that it fails is no error
#endif
  return memory;
}

/// Weights one after the other; a chunk lives as long as one of its tensors.
class Chunks {
 public:
  std::shared_ptr<char> next(std::size_t bytes) {
    const std::size_t size = filled_up(bytes, kLine);
    const std::lock_guard lock(mutex_);
    if (chunk_ == nullptr || used_ + size > size_) {
      size_ = std::max(kChunk, filled_up(size, kLargePage));
      chunk_ = {static_cast<char*>(allocate(size_)), std::free};
      used_ = 0;
    }
    used_ += size;
    return {chunk_, chunk_.get() + used_ - size};
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<char> chunk_;
  std::size_t size_ = 0, used_ = 0;
};

/// Blocks that nobody uses, by size.
class Pool {
 public:
  void* take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      if (std::vector<void*>& blocks = free_[bytes]; !blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        bytes_ -= bytes;
        return block;
      }
    }
    return allocate(bytes);
  }

  void give_back(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes_ + bytes > kMostFree) {
      std::free(block);
      return;
    }
    free_[bytes].push_back(block);
    bytes_ += bytes;
  }

 private:
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  std::size_t bytes_ = 0;
};

}  // namespace

Tensor in_large_pages(const Tensor& tensor) {
  static Chunks& chunks = *new Chunks;  // never destroyed: tensors may outlive what is static
  const std::shared_ptr<char> memory = chunks.next(tensor.nbytes());
  return torch::from_blob(memory.get(), tensor.sizes(), [memory](void*) {}, tensor.scalar_type()).copy_(tensor);
}

Tensor reused(at::IntArrayRef shape, torch::ScalarType type) {
  static Pool& pool = *new Pool;
  const auto wanted = static_cast<std::size_t>(c10::multiply_integers(shape)) * c10::elementSize(type);
  if (wanted < kFewestBytes) return torch::empty(shape, type);
  // four sizes from a power of two to the next
  const std::size_t bytes = filled_up(wanted, std::bit_floor(wanted) / 4);
  void* block = pool.take(bytes);
  return torch::from_blob(block, shape, [bytes](void* freed) { pool.give_back(freed, bytes); }, type);
}

}  // namespace trine::detail
