// support_agent [PHOTO [VOICE]]: a complaint in three turns; an empty argument is left out.
#include <trine/trine.h>

#include <iostream>

int main(int argc, char** argv) try {
  const trine::SupportAgent agent;  // the default model, its templates and its catalogue
  trine::Conversation conversation;
  const auto turn = [&](const std::string& what, const trine::Inputs& message) {
    const trine::Reply reply = agent.handle(message, conversation);
    std::cout << "> " << what << "\n" << reply.text << "\n";
    for (const trine::Finding& finding : reply.findings) {
      std::cout << "    " << to_string(finding.fact) << ": " << finding.value << " (" << to_string(finding.source)
                << ")\n";
    }
    for (const auto& [modality, why] : reply.unread) std::cerr << to_string(modality) << ": " << why << "\n";
  };

  const std::string complaint = "The lemons I got from you are squashed!";
  turn(complaint, {.text = complaint});
  turn("It was order 10293.", {.text = "It was order 10293."});
  if (argc > 1 && *argv[1] != '\0') turn("(a photo)", {.image = argv[1]});
  if (argc > 2 && *argv[2] != '\0') turn("(a recording)", {.audio = argv[2]});
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
