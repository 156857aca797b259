#include <trine/trine.h>

#include <filesystem>
#include <iostream>
#include <vector>

int main(int argc, char** argv) {
  const std::filesystem::path path = argc > 1 ? argv[1] : "consumer.trine";
  trine::Index index(2);
  index.add("apple", std::vector<float>{1, 0});
  index.add("pear", std::vector<float>{0, 1});
  index.save(path);

  const torch::Tensor query = torch::tensor({0.6f, 0.8f});
  const std::span<const float> values(query.data_ptr<float>(), 2);
  for (const trine::Match& match : trine::Index::load(path).search(values, 2)) {
    std::cout << match.id << ' ' << match.score << '\n';
  }
}
