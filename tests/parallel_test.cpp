#include "linear/parallel.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using trine::detail::in_parallel;

/// torch's number of threads while it lives.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

TEST(Parallel, EveryIndexIsTakenOnce) {
  for (const int threads : {1, 2, 3}) {
    const Threads set(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 100}) {
      std::vector<int> taken(static_cast<std::size_t>(count));
      in_parallel(count, 3, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++taken[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(taken, std::vector<int>(static_cast<std::size_t>(count), 1)) << threads << " threads";
    }
  }
}

/// Each part waits for the other one: a single thread would not get on, and gives up after a while.
TEST(Parallel, TwoThreadsWorkAtTheSameTime) {
  const Threads set(2);
  std::mutex mutex;
  std::condition_variable both;
  std::set<std::thread::id> seen;
  in_parallel(2, 1, [&](std::int64_t, std::int64_t) {
    std::unique_lock lock(mutex);
    seen.insert(std::this_thread::get_id());
    both.notify_all();
    both.wait_for(lock, std::chrono::minutes(1), [&] { return seen.size() == 2; });
  });
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Parallel, TheFirstErrorIsThrown) {
  for (const int threads : {1, 2}) {
    const Threads set(threads);
    for (int i = 0; i < 20; ++i) {
      try {
        in_parallel(8, 1, [](std::int64_t begin, std::int64_t end) {
          for (std::int64_t j = begin; j < end; ++j) {
            if (j >= 3) throw std::runtime_error(std::to_string(j));
          }
        });
        FAIL() << "nothing was thrown";
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "3");
      }
    }
  }
}

}  // namespace
