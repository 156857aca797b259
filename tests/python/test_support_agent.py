"""The support agent in Python and at the terminal, its templates, and endpoints of chat models."""

import json
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import make_picture, make_voice, refused, save_wav

import trine

REPLIES = Path(__file__).resolve().parents[2] / "models" / "default" / "replies.json"


@pytest.fixture(scope="module")
def agent(tiny):
    """Of a model that has no part of an agent."""
    return trine.SupportAgent(tiny, replies=REPLIES)


@pytest.fixture
def endpoint(monkeypatch):
    """A chat endpoint on this machine: endpoint.answer(content) or endpoint.respond(status, bytes)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.requests.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = server.response
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    server.respond = lambda status, body: setattr(server, "response", (status, body))
    server.answer = lambda content: server.respond(
        200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
    )
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# --- Python -----------------------------------------------------------------------------------------------------------


def test_a_reply_tells_what_it_rests_on(agent):
    reply = agent.handle(text="My order 10293 is late, and I need it right now.")
    assert reply.find("order_number").value == "10293" and reply.find("order_number").source == "text"
    assert reply.find("damage") is None and reply.author == "templates" and reply.language == "en"
    assert dict(reply.not_looked_at).keys() == {"intent", "emotion"}
    assert str(reply) == reply.text and "10293" in repr(reply.find("order_number"))
    rows = json.loads(json.dumps(reply.to_dict()))
    assert rows["findings"][0]["fact"] == "order_number" and rows["text"] == reply.text
    with pytest.raises(ValueError, match="no fact 'colour'"):
        reply.find("colour")
    assert agent.languages == ["de", "en"] and "none" in str(agent.describe())


def test_what_cannot_be_read_is_told_and_the_rest_is_used(agent, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bad = [
        {"image": tmp_path / "missing.jpg"},
        {"image": tmp_path / "cut.png"},
        {"image": b"no picture"},
        {"image": np.full((4, 4, 3), 7.0)},
        {"audio": b""},
        {"audio": np.array([0.1, np.nan] * 8_000)},
        {"audio": tmp_path},
    ]
    for inputs in bad:
        reply = agent.handle(text="order 10293", **inputs)
        assert [modality for modality, _ in reply.unread] == list(inputs), inputs
        assert reply.find("order_number").value == "10293"
        alone = agent.handle(**inputs)
        assert len(alone.unread) == 1 and alone.text and alone.unread[0][1].strip()
    assert agent.handle(text="a \udcff", image=make_picture()).unread[0][0] == "text"
    for nothing in ({}, {"text": " "}):
        with pytest.raises(ValueError, match="got nothing"):
            agent.handle(**nothing)
    with pytest.raises(TypeError):
        agent.handle(text=7)


def test_a_conversation_remembers(agent):
    conversation = trine.Conversation()
    agent.handle(text="It is order 10293.", conversation=conversation)
    reply = agent.handle(text="Hello?", conversation=conversation)
    assert reply.turn == 2 and reply.find("order_number").turn == 1
    assert [said for said, _ in conversation.turns] == ["It is order 10293.", "Hello?"]
    assert conversation.open is None and conversation.known[0].value == "10293" and "2 turns" in repr(conversation)


def test_products_may_be_an_index_or_a_search(tiny, tmp_path):
    search = trine.ProductSearch.build(tiny, [{"id": "b", "title": "Banana", "attributes": {"price": 2}}])
    search.save(tmp_path / "products.trine")
    for products in (search, tmp_path / "products.trine"):
        reply = trine.SupportAgent(tiny, replies=REPLIES, products=products).handle(text="two bananas")
        assert (reply.find("product").note, reply.find("price").value) == ("Banana", "2")
    with pytest.raises(FileNotFoundError):
        trine.SupportAgent(tiny, replies=REPLIES, products=tmp_path / "missing.trine")


def test_intents_may_be_a_classifier_and_need_their_sentences(tiny):
    examples = {"late": ["it is late", "where is it"], "praise": ["good", "very good"]}
    intents = trine.IntentClassifier(examples, embedder=tiny)
    reply = trine.SupportAgent(tiny, replies=REPLIES, intents=intents).handle(text="it is late")
    assert reply.find("intent").value in ("late", "other") and reply.find("urgency") is not None
    lost = trine.IntentClassifier({**examples, "lost": ["lost", "I lost it"]}, embedder=tiny)
    with pytest.raises(RuntimeError, match="no reply to the intent"):
        trine.SupportAgent(tiny, replies=REPLIES, intents=lost)


def test_bad_options(tiny, tmp_path):
    with pytest.raises(ValueError, match="no language 'fr'|no language \"fr\""):
        trine.SupportAgent(tiny, replies=REPLIES, language="fr")
    with pytest.raises(FileNotFoundError, match="replies.json"):
        trine.SupportAgent(tiny)
    for wrong in ({"embedder": "model"}, {"embedder": tiny, "damage": "head.safetensors"}):
        with pytest.raises(TypeError, match="must be a trine"):
            trine.SupportAgent(**wrong, replies=REPLIES)
    for url in ("", "file:///etc/passwd", "localhost:8080", "http://me:secret@localhost"):
        with pytest.raises(ValueError) as error:
            trine.ChatEndpoint(url)
        assert "secret" not in str(error.value)
    with pytest.raises(ValueError, match="time-out"):
        trine.ChatEndpoint("http://localhost", timeout=0)


def test_an_endpoint_writes_and_the_templates_do_where_it_fails(tiny, endpoint, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    chat = trine.ChatEndpoint(endpoint.url, model="small", key_variable="MY_KEY", timeout=5)
    agent = trine.SupportAgent(tiny, replies=REPLIES, chat=chat)
    endpoint.answer("I look after order 10293.")
    reply = agent.handle(text="order 10293")
    assert (reply.author, reply.text, reply.fallback) == ("endpoint", "I look after order 10293.", "")
    path, headers, body = endpoint.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer s3cret"
    assert json.loads(body)["model"] == "small"

    endpoint.answer("You get 20 % off.")
    reply = agent.handle(text="order 10293")
    assert reply.author == "templates" and "20" in reply.fallback and "20 %" not in reply.text
    for status, content, word in ((500, b"down", "500"), (200, b"\0" * 100, "JSON"), (200, b"x" * (2 << 20), "1 MiB")):
        endpoint.respond(status, content)
        reply = agent.handle(text="order 10293")
        assert reply.author == "templates" and word in reply.fallback and "s3cret" not in reply.fallback


def test_https_is_checked_against_the_certificates(tiny, endpoint, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    endpoint.socket = context.wrap_socket(endpoint.socket, server_side=True)
    endpoint.answer("Safe.")
    chat = trine.ChatEndpoint(endpoint.url.replace("http:", "https:"), timeout=5)
    agent = trine.SupportAgent(tiny, replies=REPLIES, chat=chat)
    reply = agent.handle(text="hello")
    assert reply.author == "templates" and "certificate" in reply.fallback
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert agent.handle(text="hello").text == "Safe."


# --- the default model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default_agent(default_model):
    return trine.SupportAgent(default_model)


def test_every_intent_of_the_default_model_has_a_reply(default_agent):
    labels = trine.IntentClassifier(embedder=default_agent.embedder).labels
    intents = json.loads(REPLIES.read_text(encoding="utf-8"))["intents"]
    assert set(labels) <= set(intents)


@pytest.mark.parametrize(
    "text, intent, missing",
    [
        ("My bananas arrived completely squashed and leaking!", "damaged", ["order_number", "photo"]),
        ("Where is my order 10293? It should have been here yesterday.", "order_status", []),
        ("Please cancel my order.", "cancel", ["order_number"]),
        ("Thank you so much, everything was perfect.", "praise", []),
    ],
)
def test_the_default_model_understands(default_agent, text, intent, missing):
    reply = default_agent.handle(text=text)
    assert reply.find("intent").value == intent and reply.missing == missing, reply.to_dict()


def test_the_default_model_answers_a_question_about_a_price(default_agent):
    reply = default_agent.handle(text="How much are the lemons?")
    assert reply.find("intent").value == "price" and reply.find("product").note == "Lemon"
    assert reply.find("price").value in reply.text


def test_the_default_model_looks_at_photos(default_agent):
    reply = default_agent.handle(image=make_picture(width=300, height=200), text="My bananas came broken.")
    if damage := reply.find("damage"):
        assert damage.source == "image" and "synthetic" in damage.note
    else:
        assert "damage" in dict(reply.not_looked_at)
    assert reply.unread == []


# --- the terminal -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(run, tiny_directory):
    return lambda *arguments, stdin=b"": run(
        "ask", "--model", tiny_directory, "--replies", REPLIES, *arguments, stdin=stdin
    )


def test_ask_prints_the_reply_and_what_was_found(ask, tmp_path):
    done = ask("--text", "My order 10293 is late.")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and lines[1] == "" and lines[2].split()[:4] == ["found", "value", "chance", "by"]
    assert lines[3].split() == ["order_number", "10293", "1.00", "text"]
    assert "Not looked at: intent" in done.said

    reply = json.loads(ask("--text", "-", "--json", "--language", "de", stdin=b"order 10293").stdout)
    assert reply["language"] == "de" and reply["findings"][0]["value"] == "10293"

    save_wav(tmp_path / "voice.wav", make_voice())
    done = ask("--text", "order 10293", "--image", tmp_path / "missing.png", "--audio", tmp_path / "voice.wav", "--json")
    assert done.returncode == 0 and "Could not read the image" in done.said and "missing.png" in done.said
    assert [row["modality"] for row in json.loads(done.stdout)["unread"]] == ["image"]


def test_ask_holds_a_conversation(ask):
    turns = b"order 10293\n\n/image missing.png\n/image\nhello\n/new\nhello\n"
    done = ask("--interactive", "--json", stdin=turns)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [reply["turn"] for reply in replies] == [1, 2, 3, 1]
    assert replies[2]["findings"][0]["value"] == "10293" and replies[3]["findings"] == []
    assert "the file is missing" in done.said


def test_ask_uses_an_endpoint(ask, endpoint):
    endpoint.answer("I look after it.")
    done = ask("--text", "hello", "--chat-url", endpoint.url, "--chat-model", "small", "--json")
    assert json.loads(done.stdout)["author"] == "endpoint"
    endpoint.respond(404, b"")
    done = ask("--text", "hello", "--chat-url", endpoint.url)
    assert done.returncode == 0 and "The templates wrote this" in done.said and "404" in done.said


def test_ask_refuses(ask, run, tiny_directory, tmp_path):
    for arguments in ([], ["--chat-model", "small", "--text", "a"], ["--text"], ["--unknown"]):
        assert ask(*arguments).returncode == 2
    refused(ask("--image", tmp_path / "missing.png"), "missing.png")
    refused(ask("--text", " "), "got nothing")
    refused(ask("--text", b"\xff"), "UTF-8")
    refused(ask("--text", "a", "--language", "fr"), "fr")
    refused(ask("--text", "a", "--chat-url", "ftp://localhost"), "http")
    (tmp_path / "replies.json").write_text("{}")
    refused(run("ask", "--model", tiny_directory, "--text", "a", "--replies", tmp_path / "replies.json"), "replies.json")
