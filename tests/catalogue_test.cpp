#include "trine/apps/catalogue.h"

#include <gtest/gtest.h>

#include "testing.h"

namespace {

using trine::Attributes;
using trine::Product;
using trine::read_catalogue;
using trine::testing::Folder;

std::string refused(const Folder& folder, const std::string& name, std::string_view content) {
  folder.write(name, content);
  return trine::testing::refusal<std::runtime_error>([&] { read_catalogue(folder / name); });
}

TEST(Catalogue, LinesOfJson) {
  const Folder folder;
  folder.write("good.jsonl",
               "{\"id\": \"a\", \"title\": \"A\", \"images\": [\"a.jpg\"], \"attributes\": {\"price\": 2.49}}\n\n"
               "{\"id\": \"b\", \"title\": \"B\", \"image\": \"b.jpg\", \"audio\": [\"b.wav\", \"c.wav\"], \"video\": \"b.mp4\", "
               "\"keywords\": \"bee\", \"stock\": 3, \"tags\": [\"x\", \"y\"]}\n");
  const std::vector<Product> products = read_catalogue(folder / "good.jsonl");
  ASSERT_EQ(products.size(), 2u);
  EXPECT_EQ(products[0].images.at(0), folder / "a.jpg");
  EXPECT_EQ(products[0].attributes, (Attributes{{"price", "2.49"}}));
  EXPECT_EQ(products[1].images.at(0), folder / "b.jpg");
  EXPECT_EQ(products[1].audio.at(1), folder / "c.wav");
  EXPECT_EQ(products[1].videos, std::vector{folder / "b.mp4"});
  EXPECT_EQ(products[1].keywords, std::vector<std::string>{"bee"});
  EXPECT_EQ(products[1].attributes, (Attributes{{"stock", "3"}, {"tags", "[\"x\",\"y\"]"}}));
}

TEST(Catalogue, LinesThatAreWrongAreRefusedByLine) {
  const Folder folder;
  const std::vector<std::pair<std::string, std::string>> bad{
      {"{\"id\": \"a\"}", "title"},
      {"{\"id\": 1, \"title\": \"A\"}", "id"},
      {"[]", "JSON object"},
      {"{\"id\": \"\", \"title\": \"A\"}", "empty"},
      {"{\"id\": \"a\\nb\", \"title\": \"A\"}", "one line"},
      {"{\"id\": \"a\", \"title\": \"A\", \"images\": [7]}", "images"},
      {"{\"id\": \"a\", \"title\": \"A\", \"audio\": [\"\"]}", "audio"},
      {"{\"id\": \"a\", \"title\": \"A\", \"attributes\": 3}", "attributes"},
      {"{\"id\": \"a\", \"title\": \"A\", \"price\": 3, \"attributes\": {\"price\": 4}}", "price"},
      {"{\"id\": \"a\", \"title\": \"A\"}\n{\"id\": \"a\", \"title\": \"B\"}", "line 2: the id \"a\" is there twice"},
      {"{\"id\"", "line 1"},
      {"", "no product"}};
  for (const auto& [content, part] : bad) {
    const std::string sentence = refused(folder, "bad.jsonl", content);
    EXPECT_NE(sentence.find(part), std::string::npos) << content << ": " << sentence;
    EXPECT_EQ(sentence.find("[read_catalogue]"), 0u) << sentence;
  }
}

TEST(Catalogue, Tables) {
  const Folder folder;
  folder.write("good.csv",
               "\xEF\xBB\xBFID,title,price,category,organic,images,images,keywords,code\r\n"
               "a,\"Apple, \"\"red\"\"\",2.50,fruit,true,a.jpg | b.jpg,c.jpg,red|sour one,007\r\n"
               "\r\n"
               "b,\"two\nlines\",-3,,false,,,,12345678901234567890123\r\n"
               "c,C,1e999,+1,nan,,,,4006381333931");
  const std::vector<Product> products = read_catalogue(folder / "good.csv");
  ASSERT_EQ(products.size(), 3u);
  EXPECT_EQ(products[0].title, "Apple, \"red\"");
  EXPECT_EQ(products[0].images, (std::vector{folder / "a.jpg", folder / "b.jpg", folder / "c.jpg"}));
  EXPECT_EQ(products[0].keywords, (std::vector<std::string>{"red", "sour one"}));
  EXPECT_EQ(products[0].attributes,
            (Attributes{{"price", "2.5"}, {"category", "\"fruit\""}, {"organic", "true"}, {"code", "\"007\""}}));
  EXPECT_EQ(products[1].title, "two\nlines");
  EXPECT_EQ(products[1].attributes,
            (Attributes{{"price", "-3"}, {"organic", "false"}, {"code", "\"12345678901234567890123\""}}));
  EXPECT_EQ(
      products[2].attributes,
      (Attributes{{"price", "\"1e999\""}, {"category", "\"+1\""}, {"organic", "\"nan\""}, {"code", "4006381333931"}}));
}

TEST(Catalogue, TablesWithSemicolonsOrTabs) {
  const Folder folder;
  folder.write("a.csv", "id;title;price\n1;Lemon, sour;0,5\n");
  folder.write("a.tsv", "id\ttitle\n1\tLemon; sour\n");
  EXPECT_EQ(read_catalogue(folder / "a.csv")[0].title, "Lemon, sour");
  EXPECT_EQ(read_catalogue(folder / "a.csv")[0].attributes, (Attributes{{"price", "\"0,5\""}}));
  EXPECT_EQ(read_catalogue(folder / "a.tsv")[0].title, "Lemon; sour");
}

TEST(Catalogue, TablesThatAreWrongAreRefusedByLineAndColumn) {
  const Folder folder;
  const std::string head = "id,title\n";
  const std::vector<std::pair<std::string, std::string>> bad{
      {"", "no product"},
      {head, "no product"},
      {"\xEF\xBB\xBF", "no product"},
      {"name,title\n1,A\n", "line 1: wanted a header with the column id"},
      {"id,name\n1,A\n", "column title"},
      {"id,title,title\n1,A,B\n", "\"title\" is there twice"},
      {"id,title,x,x\n1,A,B,C\n", "\"x\" is there twice"},
      {"id,title,\n1,A,B\n", "column 3 has no name"},
      {head + "1,A\n2\n", "line 3: wanted 2 columns as in the header, got 1"},
      {head + "1,A,B\n", "line 2: wanted 2 columns"},
      {head + "1,\"A\n", "line 2, column 2: a field in quotes without a second quote"},
      {head + "1,\"A\"B\n", "line 2, column 2: text after the closing quote"},
      {head + "1,A\"B\n", "line 2, column 2: a quote inside"},
      {head + "1,A\rB\n", "line 2, column 2: a carriage return"},
      {head + std::string("1,A\0B\n", 6), "line 2, column 2: a zero byte"},
      {head + "1,\xff\n", "line 2, column 2: text that is not UTF-8"},
      {head + "1,A\n,B\n", "line 3: id and title must not be empty"},
      {head + "\"a\nb\",B\n", "line 2: the id \"a?b\" must be one line"},
      {head + "1,\"a\n\n\"\n1,B\n", "line 5: the id \"1\" is there twice"},
      {head + "1," + std::string((1 << 20) + 1, 'a') + "\n", "line 2, column 2: a field has more than 1048576 bytes"},
      {std::string(1'000, ',') + "\n", "columns"},
      {head + "1," + std::string(1'999'999, '"') + "\n", "line 2"}};
  for (const auto& [content, part] : bad) {
    const std::string sentence = refused(folder, "bad.csv", content);
    EXPECT_NE(sentence.find(part), std::string::npos) << content.substr(0, 60) << ": " << sentence;
    EXPECT_EQ(sentence.find("[read_catalogue]"), 0u) << sentence;
  }
  EXPECT_NE(trine::testing::refusal<std::runtime_error>([&] { read_catalogue(folder / "none.csv"); }).find("none.csv"),
            std::string::npos);
}

}  // namespace
