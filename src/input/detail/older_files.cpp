#include "input/detail/older_files.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "detail/error.h"
#include "detail/file.h"
#include "input/detail/tokenizer_draft.h"
#include "input/detail/whisper_languages.h"

namespace trine::detail {

namespace {

namespace fs = std::filesystem;
using Scored = std::vector<std::pair<std::string, double>>;

constexpr std::int64_t kMostExtraIds = 1000;
constexpr const char* kMeta = "\u2581";  // a space in SentencePiece

Json sequence(const char* key, Json parts) { return {{"type", "Sequence"}, {key, std::move(parts)}}; }

Json replace(const char* kind, const char* what, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{kind, what}}}, {"content", content}};
}

Json split(const char* regex, const char* behavior, bool invert) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", behavior}, {"invert", invert}};
}

Json byte_level(bool add_prefix_space, bool use_regex = true) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"use_regex", use_regex}};
}

Json metaspace(const char* scheme, bool cut = true) {
  return {{"type", "Metaspace"}, {"replacement", kMeta}, {"prepend_scheme", scheme}, {"split", cut}};
}

Json precompiled(const SentencePieceFile& file, bool longest = false) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(file.charsmap.data());
  return {{"type", "Precompiled"},
          {"precompiled_charsmap", Json::binary({bytes, bytes + file.charsmap.size()})},
          {"longest", longest}};
}

Scored scored(const SentencePieceFile& file, std::size_t first = 0) {
  Scored out;
  for (std::size_t i = first; i < file.pieces.size(); ++i) out.emplace_back(file.pieces[i].text, file.pieces[i].score);
  return out;
}

void make_wordpiece(TokenizerDraft& draft, const TokenizerDraft::Roles& roles) {
  draft.name_tokens(roles);
  draft.read_word_list();
  draft.add_tokens();
  const Json strip = draft.has("strip_accents") ? Json(draft.flag("strip_accents", false)) : Json();
  draft.set("normalizer", {{"type", "BertNormalizer"},
                           {"clean_text", true},
                           {"handle_chinese_chars", draft.flag("tokenize_chinese_chars", true)},
                           {"strip_accents", strip},
                           {"lowercase", draft.flag("do_lower_case", true)}});
  draft.set("pre_tokenizer", {{"type", "BertPreTokenizer"}});
  draft.add_template({"cls_token"}, {"sep_token"});
}

void make_bert(TokenizerDraft& draft) {
  make_wordpiece(draft, {{"unk_token", "[UNK]"},
                         {"sep_token", "[SEP]"},
                         {"pad_token", "[PAD]"},
                         {"cls_token", "[CLS]"},
                         {"mask_token", "[MASK]"}});
}

void make_mpnet(TokenizerDraft& draft) {
  make_wordpiece(draft, {{"bos_token", "<s>"},
                         {"eos_token", "</s>"},
                         {"unk_token", "[UNK]"},
                         {"sep_token", "</s>"},
                         {"pad_token", "<pad>"},
                         {"cls_token", "<s>"},
                         {"mask_token", {{"content", "<mask>"}, {"lstrip", true}}}});
}

void make_clip(TokenizerDraft& draft) {
  draft.name_tokens({{"bos_token", "<|startoftext|>"},
                     {"eos_token", "<|endoftext|>"},
                     {"unk_token", "<|endoftext|>"},
                     {"pad_token", "<|endoftext|>"}});
  draft.read_merges({{"unk_token", draft.token("unk_token")}, {"end_of_word_suffix", "</w>"}});
  draft.add_tokens();
  draft.set("normalizer",
            sequence("normalizers", {{{"type", "NFC"}}, replace("Regex", R"(\s+)", " "), {{"type", "Lowercase"}}}));
  draft.set(
      "pre_tokenizer",
      sequence("pretokenizers",
               {split(R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)",
                      "Removed", true),
                byte_level(false)}));
  draft.set("post_processor", {{"type", "RobertaProcessing"},
                               {"cls", draft.token_and_id("bos_token")},
                               {"sep", draft.token_and_id("eos_token")},
                               {"trim_offsets", false},
                               {"add_prefix_space", false}});
}

const TokenizerDraft::Roles kRobertaRoles = {{"bos_token", "<s>"},    {"eos_token", "</s>"},  {"sep_token", "</s>"},
                                             {"cls_token", "<s>"},    {"unk_token", "<unk>"}, {"pad_token", "<pad>"},
                                             {"mask_token", "<mask>"}};

void make_roberta(TokenizerDraft& draft) {
  const bool space = draft.flag("add_prefix_space", false);
  draft.name_tokens(kRobertaRoles);
  draft.read_merges(Json::object());
  draft.add_tokens();
  draft.set("pre_tokenizer", byte_level(space));
  draft.set("post_processor", {{"type", "RobertaProcessing"},
                               {"cls", draft.token_and_id("cls_token")},
                               {"sep", draft.token_and_id("sep_token")},
                               {"trim_offsets", draft.flag("trim_offsets", true)},
                               {"add_prefix_space", space}});
}

void make_gpt2(TokenizerDraft& draft) {
  draft.name_tokens({{"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}});
  draft.read_merges(Json::object());
  draft.add_tokens();
  draft.set("pre_tokenizer", byte_level(draft.flag("add_prefix_space", false)));
  draft.add_flagged_template();
}

void make_qwen2(TokenizerDraft& draft) {
  draft.name_tokens({{"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}, {"pad_token", "<|endoftext|>"}});
  draft.read_merges(Json::object());
  draft.add_tokens();
  draft.set("normalizer", {{"type", "NFC"}});
  draft.set(
      "pre_tokenizer",
      sequence(
          "pretokenizers",
          {split(
               R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
               "Isolated", false),
           byte_level(draft.flag("add_prefix_space", false), false)}));
  draft.add_flagged_template();
}

/// The place of "German" or "de", as a fine-tuned checkpoint keeps it, among Whisper's languages.
std::int32_t language_place(const TokenizerDraft& draft, std::string name) {
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const auto& all = kWhisperLanguages;
  const auto named =
      std::ranges::find_if(all, [&](const auto& entry) { return name == entry.first || name == entry.second; });
  if (named == all.end()) draft.refuse("the \"language\" of tokenizer_config.json is none of Whisper's");
  const auto first = std::ranges::find(all, named->first, &std::pair<std::string_view, std::string_view>::first);
  return static_cast<std::int32_t>(first - all.begin());
}

void make_whisper(TokenizerDraft& draft) {
  constexpr const char* kStart = "<|startoftranscript|>";
  draft.name_tokens({{"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}});
  draft.read_merges(Json::object());
  draft.add_tokens();
  draft.set("pre_tokenizer", byte_level(draft.flag("add_prefix_space", false)));
  draft.set("decoder", {{"type", "ByteLevel"}});
  std::vector<std::string> before{kStart};
  if (draft.has("language"))
    before.push_back(draft.token_after(kStart, 1 + language_place(draft, draft.text("language"))));
  if (draft.has("task")) {
    const std::string task = draft.text("task");
    if (task != "transcribe" && task != "translate") {
      draft.refuse("the \"task\" of tokenizer_config.json is neither transcribe nor translate");
    }
    before.push_back("<|" + task + "|>");
  }
  if (!draft.flag("predict_timestamps", false)) before.emplace_back("<|notimestamps|>");
  draft.set_template(before, {draft.token("eos_token")});
}

/// The first pieces of the file have other numbers in the model: <s> 0, <pad> 1, </s> 2, <unk> 3.
void make_xlm_roberta(TokenizerDraft& draft) {
  draft.name_tokens(kRobertaRoles);
  const SentencePieceFile& file = draft.read_sentencepiece();
  Scored pieces;
  for (const char* role : {"bos_token", "pad_token", "eos_token", "unk_token"})
    pieces.emplace_back(draft.token(role), 0);
  const Scored rest = scored(file, std::min<std::size_t>(3, file.pieces.size()));
  pieces.insert(pieces.end(), rest.begin(), rest.end());
  pieces.emplace_back(draft.token("mask_token"), 0);
  draft.use_unigram(pieces, 3, false);
  draft.add_tokens();
  if (!file.charsmap.empty()) draft.set("normalizer", precompiled(file));
  const char* scheme = draft.flag("add_prefix_space", true) ? "always" : "never";
  draft.set("pre_tokenizer", sequence("pretokenizers", {{{"type", "WhitespaceSplit"}}, metaspace(scheme)}));
  draft.add_template({"bos_token"}, {"eos_token"});
}

void make_t5(TokenizerDraft& draft) {
  draft.name_tokens({{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}});
  const SentencePieceFile& file = draft.read_sentencepiece();
  Scored pieces = scored(file);
  for (std::int64_t i = draft.number("extra_ids", 100, kMostExtraIds); i-- > 0;) {
    pieces.emplace_back("<extra_id_" + std::to_string(i) + ">", 0);
    draft.add_special(pieces.back().first);
  }
  draft.use_unigram(pieces, 2, false);
  draft.add_tokens();
  if (!file.charsmap.empty()) draft.set("normalizer", precompiled(file));
  draft.set("pre_tokenizer", sequence("pretokenizers", {{{"type", "WhitespaceSplit"}}, metaspace("always")}));
  draft.add_template({}, {"eos_token"});
}

/// SigLIP has no fast tokenizer: its Python class cleans text and calls SentencePiece. The same steps here: white space
/// as Python sees it, a space before the text, no ASCII punctuation, then the normalization rules, longest match first.
void make_siglip(TokenizerDraft& draft) {
  const auto wide = [](const char* token) { return Json{{"content", token}, {"lstrip", true}, {"rstrip", true}}; };
  draft.name_tokens({{"eos_token", wide("</s>")}, {"unk_token", wide("<unk>")}, {"pad_token", wide("</s>")}});
  const SentencePieceFile& file = draft.read_sentencepiece();
  const auto unknown = std::find_if(file.pieces.begin(), file.pieces.end(),
                                    [](const auto& piece) { return piece.type == SentencePieceFile::Type::kUnknown; });
  if (unknown == file.pieces.end()) draft.refuse("the SentencePiece model has no piece for unknown characters");
  draft.use_unigram(scored(file), static_cast<std::int32_t>(unknown - file.pieces.begin()), file.byte_fallback);
  draft.add_tokens(false);
  Json steps = Json::array({replace("String", kMeta, " "), {{"type", "Prepend"}, {"prepend", kMeta}, {"first", true}}});
  if (draft.flag("do_lower_case", true)) steps.push_back({{"type", "Lowercase"}});
  steps.push_back(replace("Regex", R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])", ""));
  steps.push_back(replace("Regex", "[\\s\x1C-\x1F]+", " "));
  steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
  if (!file.charsmap.empty()) steps.push_back(precompiled(file, true));
  steps.push_back(replace("Regex", " {2,}", " "));
  steps.push_back({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}});
  draft.set("normalizer", sequence("normalizers", steps));
  draft.set("pre_tokenizer", metaspace("never", false));
  draft.add_template({}, {"eos_token"}, true);
}

void make_gemma(TokenizerDraft& draft) {
  draft.name_tokens({{"bos_token", "<bos>"},
                     {"eos_token", "<eos>"},
                     {"unk_token", "<unk>"},
                     {"pad_token", "<pad>"},
                     {"mask_token", "<mask>"}});
  draft.read_sentencepiece();
  draft.use_bpe({{"unk_token", draft.token("unk_token")}, {"fuse_unk", true}, {"byte_fallback", true}});
  draft.add_tokens();
  draft.set("normalizer", replace("String", " ", kMeta));
  draft.set("pre_tokenizer",
            {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}});
  draft.add_flagged_template();
}

const std::map<std::string, void (*)(TokenizerDraft&)> kFamilies = {
    {"BertTokenizer", make_bert},     {"DistilBertTokenizer", make_bert}, {"MPNetTokenizer", make_mpnet},
    {"CLIPTokenizer", make_clip},     {"RobertaTokenizer", make_roberta}, {"GPT2Tokenizer", make_gpt2},
    {"Qwen2Tokenizer", make_qwen2},   {"T5Tokenizer", make_t5},           {"XLMRobertaTokenizer", make_xlm_roberta},
    {"SiglipTokenizer", make_siglip}, {"GemmaTokenizer", make_gemma},     {"WhisperTokenizer", make_whisper}};

const std::map<std::string, const char*> kModelTypes = {
    {"bert", "BertTokenizer"},     {"distilbert", "BertTokenizer"}, {"mpnet", "MPNetTokenizer"},
    {"clip", "CLIPTokenizer"},     {"xclip", "CLIPTokenizer"},      {"roberta", "RobertaTokenizer"},
    {"clap", "RobertaTokenizer"},  {"gpt2", "GPT2Tokenizer"},       {"qwen2", "Qwen2Tokenizer"},
    {"t5", "T5Tokenizer"},         {"mt5", "T5Tokenizer"},          {"xlm-roberta", "XLMRobertaTokenizer"},
    {"siglip", "SiglipTokenizer"}, {"gemma", "GemmaTokenizer"},     {"whisper", "WhisperTokenizer"}};

/// The tokenizer class, without "Fast"; empty if nothing names it.
std::string family_of(const char* who, const fs::path& directory, const Json& config) {
  auto name = get_or<std::string>(who, config, "tokenizer_class", "");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (!name.empty()) return name;
  const auto type = get_or<std::string>(who, read_json_if_there(who, directory / "config.json"), "model_type", "");
  if (const auto found = kModelTypes.find(type); found != kModelTypes.end()) return found->second;
  return fs::exists(directory / "vocab.txt") ? "BertTokenizer" : type;
}

}  // namespace

Json convert_older_files(const char* who, const fs::path& directory, const Json& config) {
  const auto there = [&](const char* name) { return fs::exists(directory / name); };
  if (!there("vocab.txt") && !there("merges.txt") && !there("spiece.model") && !there("tokenizer.model") &&
      !there("sentencepiece.bpe.model")) {
    missing_file(who, directory / "tokenizer.json");
  }
  const std::string name = family_of(who, directory, config);
  const auto family = kFamilies.find(name);
  if (family == kFamilies.end()) {
    std::string wanted;
    for (const auto& [known, make] : kFamilies) wanted += (wanted.empty() ? "" : ", ") + known;
    failure(who, directory.string(), " has no tokenizer.json, and the tokenizer class ", shown(name),
            " is not supported without one; wanted ", wanted);
  }
  TokenizerDraft draft(who, directory, config);
  family->second(draft);
  return draft.take();
}

}  // namespace trine::detail
