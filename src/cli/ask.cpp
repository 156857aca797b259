#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <stdexcept>

#include "command.h"
#include "trine/apps/support_agent.h"

namespace trine::cli {

namespace {

struct Options : CommonOptions {
  std::map<Modality, std::string> inputs;
  SupportOptions support;
  ChatEndpoint chat;
  bool interactive = false;
};

Inputs message_of(const std::map<Modality, std::string>& inputs) {
  Inputs message;
  for (const auto& [modality, input] : inputs) {
    if (modality == Modality::image) message.image = std::filesystem::path(input);
    if (modality == Modality::text) message.text = input;
    if (modality == Modality::audio) message.audio = std::filesystem::path(input);
  }
  return message;
}

/// What was found, a line each, with its source.
std::string table_of(const Reply& reply) {
  std::vector<std::vector<std::string>> rows{{"found", "value", "chance", "by", "note"}};
  for (const Finding& finding : reply.findings) {
    std::string note = finding.note;
    if (finding.turn != reply.turn) note += (note.empty() ? "turn " : ", turn ") + std::to_string(finding.turn);
    rows.push_back({std::string(to_string(finding.fact)), one_line(finding.value), fixed(finding.probability, 2),
                    std::string(to_string(finding.source)), one_line(note)});
  }
  for (const auto& [name, first, second] : reply.contradictions) {
    const std::string against = std::string(to_string(first.source)) + " " + one_line(first.value) + ", " +
                                std::string(to_string(second.source)) + " " + one_line(second.value);
    rows.push_back({"contradiction", name, "", "", against});
  }
  std::string text;
  for (const std::string& line : aligned(rows)) text += "  " + line + "\n";
  return rows.size() == 1 ? "" : "\n" + text;
}

void print_reply(const Reply& reply, bool json) {
  for (const auto& [modality, why] : reply.unread)
    say("Could not read the " + std::string(to_string(modality)) + ": " + why);
  for (const auto& [fact, why] : reply.not_looked_at)
    say("Not looked at: " + std::string(to_string(fact)) + " (" + why + ")");
  if (!reply.fallback.empty()) say("The templates wrote this: " + reply.fallback);
  print(json ? reply.json() + "\n" : reply.text + "\n" + table_of(reply));
}

/// Answers one message; one of which nothing could be read is an error.
void answer(const SupportAgent& agent, const Options& options) {
  const Reply reply = agent.handle(message_of(options.inputs));
  if (reply.findings.empty() && reply.unread.size() >= options.inputs.size()) {
    throw std::runtime_error(reply.unread.front().why);
  }
  print_reply(reply, options.json);
}

/// Answers the lines of stdin, a turn each, until it ends.
void talk(const SupportAgent& agent, const Options& options) {
  Conversation conversation;
  const auto turn = [&](const std::map<Modality, std::string>& inputs) {
    try {
      print_reply(agent.handle(message_of(inputs), conversation), options.json);
    } catch (const std::invalid_argument& error) {
      say(error.what());
    }
  };
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) say("A line is a message; /image FILE or /audio FILE sends a file; /new begins anew; Ctrl-D ends.");
  if (!options.inputs.empty()) turn(options.inputs);
  for (std::string line; terminal && std::cerr << "> ", std::getline(std::cin, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string command = line.substr(0, line.find(' '));
    if (command == "/new") {
      conversation = {};
    } else if (command == "/image" || command == "/audio") {
      const std::size_t path = line.find_first_not_of(' ', command.size());
      if (path == std::string::npos) {
        say(command + " FILE: the file is missing");
        continue;
      }
      turn({{command == "/image" ? Modality::image : Modality::audio, line.substr(path)}});
    } else {
      turn({{Modality::text, line}});
    }
  }
}

void run(Options options) {
  if (options.inputs.empty() && !options.interactive && isatty(STDIN_FILENO) == 0) {
    throw CLI::ValidationError(
        "Nothing to answer: give --text TEXT, --image FILE or --audio FILE, or several; --interactive reads turns from "
        "stdin");
  }
  if (const auto text = options.inputs.find(Modality::text); text != options.inputs.end()) {
    text->second = text_argument(text->second);
  }
  if (!options.chat.url.empty()) options.support.chat = options.chat;
  const SupportAgent agent(load_model(options), options.support);
  if (options.inputs.empty() || options.interactive) return talk(agent, options);
  answer(agent, options);
}

}  // namespace

void add_ask(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "ask", "Answers a customer's message: words, a photo, a recording, in any combination",
                  "trine ask --text \"My bananas arrived squashed.\" --image photo.jpg", *options);
  const auto add = [&](const std::string& name, Modality modality, const std::string& what, const std::string& type) {
    const auto set = [options, modality](const std::string& value) { options->inputs[modality] = value; };
    command->add_option_function<std::string>(name, set, what)->type_name(type);
  };
  add("--image", Modality::image, "A photo", "FILE");
  add("--text", Modality::text, "What the customer writes; - reads it from stdin", "TEXT");
  add("--audio", Modality::audio, "What the customer says", "FILE");
  command->add_flag("--interactive", options->interactive,
                    "A conversation, a line a turn; at a terminal also without any input");
  command
      ->add_option("--language", options->support.language,
                   "Of the reply: en (if not said), de, or one of the templates")
      ->type_name("CODE");
  command
      ->add_option("--index", options->support.index,
                   "Products, made by `trine index`; else catalogue.trine of the model")
      ->type_name("INDEX");
  command->add_option("--replies", options->support.replies, "Templates; else replies.json of the model")
      ->type_name("FILE");
  command->add_option("--intents", options->support.intents, "Examples; else intents.json of the model")
      ->type_name("FILE");
  CLI::Option* url = command
                         ->add_option("--chat-url", options->chat.url,
                                      "An OpenAI-compatible endpoint that writes the reply: http://localhost:8080/v1")
                         ->type_name("URL");
  command->add_option("--chat-model", options->chat.model, "What the endpoint calls its model")
      ->type_name("NAME")
      ->needs(url);
  command
      ->add_option("--chat-key-variable", options->chat.key_variable,
                   "Environment variable with the endpoint's key; TRINE_CHAT_KEY if not said")
      ->type_name("NAME")
      ->needs(url);
  command->add_option("--chat-timeout", options->chat.timeout_seconds, "Seconds of one try, of two; 30 if not said")
      ->type_name("S")
      ->needs(url);
  command->callback([options] { run(*options); });
}

}  // namespace trine::cli
