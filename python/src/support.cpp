#include "trine/apps/support_agent.h"

#include "module.h"

namespace trine::python {
namespace {

using Unreads = std::vector<std::pair<Modality, std::string>>;

py::object to_dict(const Reply& reply) { return py::module_::import("json").attr("loads")(reply.json()); }

/// Enumerators by their names.
template <typename T>
std::string name(T value) {
  return std::string(to_string(value));
}

Fact fact_of(const std::string& wanted) {
  for (int i = 0; i <= static_cast<int>(Fact::severity); ++i) {
    if (to_string(static_cast<Fact>(i)) == wanted) return static_cast<Fact>(i);
  }
  throw std::invalid_argument("[Reply.find] there is no fact '" + wanted + "'");
}

/// What Python could not make an input of counts as unread.
Reply handle(const SupportAgent& agent, Inputs message, const Unreads& unreads, Conversation& conversation) {
  const bool nothing = !message.image && !message.text && !message.audio;
  Observed seen = nothing && !unreads.empty() ? Observed{} : agent.look(message);
  for (const auto& [modality, why] : unreads) seen.unread.push_back({modality, why});
  return agent.answer(seen, conversation);
}

void bind_reply(py::module_& m) {
  py::class_<Finding>(m, "Finding", "What was found in a message.")
      .def_property_readonly(
          "fact", [](const Finding& self) { return name(self.fact); },
          "'intent', 'emotion', 'urgency', 'heard', 'order_number', 'product', 'price', 'damage', 'damage_type' or "
          "'severity'.")
      .def_readonly("value", &Finding::value, "What it is: 'damaged', 'anger', a product's id.")
      .def_readonly("probability", &Finding::probability, "How sure it is, in 0 to 1.")
      .def_readonly("source", &Finding::source, "Which modality said so: 'image', 'text' or 'audio'.")
      .def_readonly("note", &Finding::note, "A product's title, why something is urgent, what a head was trained on.")
      .def_readonly("turn", &Finding::turn, "Of the conversation, from 1.")
      .def("__repr__", [](const Finding& self) {
        return py::str("Finding({!r}, {!r}, probability={:.3f}, source={!r})")
            .format(name(self.fact), self.value, self.probability, self.source);
      });

  py::class_<Contradiction>(m, "Contradiction", "Two findings that do not fit together.")
      .def_readonly("name", &Contradiction::name,
                    "'intact_photo', 'damaged_photo', 'other_product', 'two_requests' or 'two_feelings'.")
      .def_readonly("first", &Contradiction::first, "The one Finding.")
      .def_readonly("second", &Contradiction::second, "The other.")
      .def("__repr__", [](const Contradiction& self) {
        return py::str("Contradiction({!r}, {!r}, {!r})").format(self.name, self.first, self.second);
      });

  py::class_<Reply>(m, "Reply", "An answer, and all it rests on.")
      .def_readonly("text", &Reply::text, "What the customer reads.")
      .def_readonly("language", &Reply::language, "Its language.")
      .def_property_readonly(
          "author", [](const Reply& self) { return name(self.author); }, "Who wrote it: 'templates' or 'endpoint'.")
      .def_readonly("fallback", &Reply::fallback, "Why the templates did although there is an endpoint; else ''.")
      .def_readonly("turn", &Reply::turn, "Of the conversation, from 1.")
      .def_readonly("continues", &Reply::continues, "Whether it goes on with a request of an earlier turn.")
      .def_readonly("findings", &Reply::findings, "Of one fact the one that counts comes first.")
      .def_readonly("contradictions", &Reply::contradictions, "Findings that do not fit together.")
      .def_property_readonly(
          "unread",
          [](const Reply& self) {
            Unreads unreads;
            for (const auto& [modality, why] : self.unread) unreads.emplace_back(modality, why);
            return unreads;
          },
          "What could not be read, or not all of it: [(modality, why)].")
      .def_property_readonly(
          "not_looked_at",
          [](const Reply& self) {
            std::vector<std::pair<std::string, std::string>> facts;
            for (const auto& [fact, why] : self.not_looked_at) facts.emplace_back(name(fact), why);
            return facts;
          },
          "What the model has no part for: [(fact, why)].")
      .def_property_readonly(
          "missing",
          [](const Reply& self) {
            std::vector<std::string> needs;
            for (const Need need : self.missing) needs.push_back(name(need));
            return needs;
          },
          "What it asks for: 'order_number', 'photo', 'product'.")
      .def(
          "find",
          [](const Reply& self, const std::string& fact) -> std::optional<Finding> {
            const Finding* found = self.find(fact_of(fact));
            return found == nullptr ? std::nullopt : std::optional(*found);
          },
          py::arg("fact"), "The Finding of a fact that counts; None where there is none.")
      .def(
          "to_dict", [](const Reply& self) { return to_dict(self); }, "All of it as a dict that json.dumps takes.")
      .def("__str__", [](const Reply& self) { return self.text; })
      .def("__repr__", [](const Reply& self) {
        return py::str("Reply({!r}, findings={}, missing={})")
            .format(self.text, self.findings.size(), self.missing.size());
      });
}

}  // namespace

void bind_support(py::module_& m) {
  bind_reply(m);
  py::class_<ChatEndpoint>(m, "ChatEndpoint", R"(A chat model behind an OpenAI-compatible endpoint, http or https.

>>> endpoint = trine.ChatEndpoint("http://localhost:8080/v1", model="small")

- url: with or without /chat/completions at its end;
- model: what the endpoint calls it; '': its own choice;
- key_variable: the environment variable with the key; none is sent where it is not set;
- timeout: seconds of one try, of two, from the connection to the last byte.

ValueError for a URL that is not http or https or holds a password, and for a time that is not above 0.)")
      .def(py::init([](std::string url, std::string model, std::string key_variable, double timeout) {
             ChatEndpoint endpoint{std::move(url), std::move(model), std::move(key_variable), timeout};
             check_chat_endpoint(endpoint);
             return endpoint;
           }),
           py::arg("url"), py::kw_only(), py::arg("model") = "", py::arg("key_variable") = "TRINE_CHAT_KEY",
           py::arg("timeout") = 30.0)
      .def_readonly("url", &ChatEndpoint::url, "Where it answers.")
      .def_readonly("model", &ChatEndpoint::model, "What the endpoint calls its model.")
      .def_readonly("key_variable", &ChatEndpoint::key_variable, "The environment variable with the key.")
      .def_readonly("timeout", &ChatEndpoint::timeout_seconds, "Seconds of one try.")
      .def("__repr__", [](const ChatEndpoint& self) {
        return py::str("ChatEndpoint({!r}, model={!r})").format(self.url, self.model);
      });

  py::class_<Conversation>(m, "Conversation", R"(What several turns have brought so far; a new one is empty.

>>> conversation = trine.Conversation()
>>> len(conversation.turns)
0)")
      .def(py::init<>())
      .def_property_readonly(
          "turns",
          [](const Conversation& self) {
            std::vector<std::pair<std::string, std::string>> turns;
            for (const auto& [said, answered] : self.turns) turns.emplace_back(said, answered);
            return turns;
          },
          "What was said and answered, in their order.")
      .def_readonly("open", &Conversation::open, "The intent, a Finding, of a request that lacks something; or None.")
      .def_readonly("known", &Conversation::known, "Order number, product, damage: the latest of each.")
      .def("__repr__", [](const Conversation& self) {
        return py::str("Conversation({} turns, open={!r})")
            .format(self.turns.size(), self.open ? self.open->value : "");
      });

  py::class_<SupportAgent>(m, "SupportAgent")
      .def(py::init([](const Embedder& embedder, std::string language, std::filesystem::path replies,
                       std::filesystem::path examples, std::filesystem::path index,
                       std::optional<IntentClassifier> intents, std::optional<DamageDetector> damage,
                       std::shared_ptr<ProductSearch> products, std::optional<ChatEndpoint> chat) {
             const SupportOptions options{.language = std::move(language),
                                          .chat = std::move(chat),
                                          .replies = std::move(replies),
                                          .intents = std::move(examples),
                                          .index = std::move(index)};
             SupportParts parts{
                 .intents = std::move(intents), .damage = std::move(damage), .products = std::move(products)};
             parts.complete(embedder, options);
             return SupportAgent(embedder, std::move(parts), options);
           }),
           NoGil())
      .def(
          "handle",
          [](const SupportAgent& self, std::optional<ImageInput> image, std::optional<std::string> text,
             std::optional<AudioInput> audio, const Unreads& unreads, Conversation& conversation) {
            return handle(self, {.image = std::move(image), .text = std::move(text), .audio = std::move(audio)},
                          unreads, conversation);
          },
          NoGil())
      .def_property_readonly("languages", [](const SupportAgent& self) { return self.templates().languages(); })
      .def("describe", &SupportAgent::describe);
}

}  // namespace trine::python
