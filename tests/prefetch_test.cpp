#include "detail/prefetch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using trine::detail::prefetch;

TEST(Prefetch, UsesEachInOrderOnThisThreadWhileAnotherMakesTheNext) {
  std::vector<std::int64_t> used;
  std::vector<std::thread::id> makers(5);
  const auto here = std::this_thread::get_id();
  prefetch(
      5,
      [&](std::int64_t i) {
        makers[static_cast<std::size_t>(i)] = std::this_thread::get_id();
        return std::make_unique<std::int64_t>(i * i);  // need not be copied
      },
      [&](std::int64_t i, const std::unique_ptr<std::int64_t>& made) {
        EXPECT_EQ(*made, i * i);
        EXPECT_EQ(std::this_thread::get_id(), here);
        used.push_back(i);
      });
  EXPECT_EQ(used, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(makers[0], here);
  EXPECT_NE(makers[1], here);
}

TEST(Prefetch, HoldsTwoAtMost) {
  std::atomic<int> held = 0, most = 0;
  prefetch(
      20,
      [&](std::int64_t i) {
        most = std::max(most.load(), ++held);
        return std::shared_ptr<std::int64_t>(new std::int64_t(i), [&](std::int64_t* one) {
          --held;
          delete one;
        });
      },
      [](std::int64_t, std::shared_ptr<std::int64_t>) {});
  EXPECT_EQ(held, 0);
  EXPECT_LE(most, 2);
}

TEST(Prefetch, ThrowsWhenItsTurnHasCome) {
  std::vector<std::int64_t> made, used;
  const auto run = [&](std::int64_t bad) {
    made.clear();
    used.clear();
    prefetch(
        6,
        [&](std::int64_t i) {
          made.push_back(i);  // never two at a time
          if (i == bad) throw std::runtime_error(std::to_string(i));
          return i;
        },
        [&](std::int64_t i, std::int64_t) { used.push_back(i); });
  };
  EXPECT_THROW(run(0), std::runtime_error);
  EXPECT_TRUE(used.empty());
  EXPECT_THROW(run(3), std::runtime_error);
  EXPECT_EQ(used, (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(made, (std::vector<std::int64_t>{0, 1, 2, 3}));
  EXPECT_NO_THROW(run(9));
  EXPECT_EQ(used.size(), 6u);
}

TEST(Prefetch, WaitsForWhatIsBeingMadeWhenTheWorkFails) {
  std::atomic<int> made = 0;
  const auto run = [&] {
    prefetch(
        9,
        [&](std::int64_t i) {
          if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
          return ++made;
        },
        [](std::int64_t i, int) {
          if (i == 1) throw std::invalid_argument("no");
        });
  };
  EXPECT_THROW(run(), std::invalid_argument);
  const int then = made;
  EXPECT_LE(then, 3);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(made, then);
}

TEST(Prefetch, DoesNothingWithoutItemsAndNoThreadForOne) {
  const auto use = [](std::int64_t, std::thread::id maker) { EXPECT_EQ(maker, std::this_thread::get_id()); };
  int made = 0;
  const auto make = [&](std::int64_t) { return ++made, std::this_thread::get_id(); };
  prefetch(0, make, use);
  prefetch(-1, make, use);
  EXPECT_EQ(made, 0);
  prefetch(1, make, use);
  EXPECT_EQ(made, 1);
}

}  // namespace
