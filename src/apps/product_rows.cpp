#include "apps/product_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace trine::detail {

using torch::Tensor;

namespace {

/// What a description or keyword has to be nearer than a title or picture: they name a product less exactly.
constexpr float kAsideMargin = 0.05f;
constexpr std::int64_t kMostStandIns = 500;  ///< vectors of a catalogue that are searched for to know its spread

bool is_aside(const std::string& what) { return what == "description" || what.starts_with("keyword: "); }

/// Whether a vector shows what a query of this modality might.
bool stands_in(const std::string& what, Modality modality) {
  const auto is = [&](const char* one, const char* many) {
    return what.starts_with(one) || (what.starts_with("mean of ") && what.ends_with(many));
  };
  switch (modality) {
    case Modality::image:
      return is("picture ", " pictures");
    case Modality::text:
      return what == "title";
    case Modality::audio:
      return is("clip ", " clips");
  }
  return false;
}

}  // namespace

void ProductRows::arrange(ProductIndex& index, std::int64_t dim) {
  products_.resize(index.products.size());
  std::iota(products_.begin(), products_.end(), std::int64_t{0});
  shows_.clear();
  std::vector<std::int64_t> owners;
  std::vector<float> margins;
  std::vector<Tensor> rows;
  for (std::size_t i = 0; i < index.products.size(); ++i) {
    for (const auto& [what, vector] : index.vectors[i].vectors) {
      shows_.push_back(what);
      rows.push_back(vector);
      owners.push_back(static_cast<std::int64_t>(i));
      margins.push_back(is_aside(what) ? kAsideMargin : 0.0f);
    }
  }
  matrix_ = rows.empty() ? torch::empty({0, dim}) : torch::stack(rows);
  owner_ = torch::tensor(owners, torch::kInt64);
  margin_ = torch::tensor(margins);
  std::int64_t row = 0;
  for (ProductVectors& vectors : index.vectors) {
    for (auto& [what, vector] : vectors.vectors) vector = matrix_[row++];
  }
}

ProductRows ProductRows::of(const std::vector<std::int64_t>& products) const {
  ProductRows part;
  std::vector<std::int64_t> rows, owners;
  const std::int64_t* const owner = owner_.const_data_ptr<std::int64_t>();
  for (const std::int64_t product : products) {
    const auto place = std::ranges::lower_bound(products_, product) - products_.begin();
    const auto [first, last] = std::equal_range(owner, owner + size(), place);
    for (const std::int64_t* row = first; row != last; ++row) {
      rows.push_back(row - owner);
      owners.push_back(std::ssize(part.products_));
      part.shows_.push_back(shows_[static_cast<std::size_t>(row - owner)]);
    }
    part.products_.push_back(product);
  }
  const Tensor places = torch::tensor(rows, torch::kInt64);
  part.matrix_ = matrix_.index_select(0, places);
  part.margin_ = margin_.index_select(0, places);
  part.owner_ = torch::tensor(owners, torch::kInt64);
  return part;
}

Tensor ProductRows::best(const Tensor& similarities) const {
  return torch::full({std::ssize(products_)}, -2.0f)
      .scatter_reduce(0, owner_, similarities, "amax", /*include_self=*/true);
}

std::string ProductRows::nearest(const Tensor& similarities, std::int64_t place) const {
  const Tensor masked = similarities.masked_fill(owner_ != place, -2.0f);
  return shows_[static_cast<std::size_t>(masked.argmax().item<std::int64_t>())];
}

/// Rows of pictures, titles or clips; of titles where there are no two of these, of anything where there are no titles.
std::vector<std::int64_t> ProductRows::stand_ins(Modality modality) const {
  std::vector<std::int64_t> rows;
  for (const int choice : {0, 1, 2}) {
    rows.clear();
    for (std::size_t i = 0; i < shows_.size(); ++i) {
      const bool fits = choice == 0 ? stands_in(shows_[i], modality) : choice == 1 ? shows_[i] == "title" : true;
      if (fits) rows.push_back(static_cast<std::int64_t>(i));
    }
    if (rows.size() > 1) break;
  }
  return rows;
}

float ProductRows::spread(Modality modality) const {
  const std::vector<std::int64_t> rows = stand_ins(modality);
  if (products_.size() < 2 || rows.size() < 2) return 0;
  const std::size_t step = (rows.size() + kMostStandIns - 1) / kMostStandIns;
  double sum = 0, squares = 0, count = 0;
  for (std::size_t i = 0; i < rows.size(); i += step) {
    const Tensor others = best(similarities(matrix_[rows[i]])).to(torch::kFloat64);
    const double own = others[owner_[rows[i]].item<std::int64_t>()].item<double>();
    sum += others.sum().item<double>() - own;
    squares += others.square().sum().item<double>() - own * own;
    count += static_cast<double>(products_.size() - 1);
  }
  const double variance = squares / count - (sum / count) * (sum / count);
  return static_cast<float>(std::round(1e5 * std::sqrt(std::max(variance, 0.0))) / 1e5);
}

}  // namespace trine::detail
