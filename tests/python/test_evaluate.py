"""`trine evaluate --task`: what heads say of labelled lines, against figures that are counted here."""

import functools
import json

import numpy as np
import pytest
from conftest import GOLDEN, make_picture, make_voice, refused, save_wav
from PIL import Image

import trine

WORDS = {"fruit": ["lemon", "apple", "ripe pear"], "drink": ["milk", "cold juice", "oat drink"], "other": ["tractor"]}


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(run, *arguments):
    done = run("evaluate", *arguments, "--json")
    assert done.returncode == 0, done.said
    return json.loads(done.stdout)


def figures(report):
    return {row["figure"]: row for row in report["results"]}


def test_intents_that_are_fitted_on_lines(run, tiny, tiny_directory, tmp_path):
    fit = [{"text": f"{word} {n}", "label": label} for label, words in WORDS.items() for word in words for n in range(4)]
    fit += [{"text": f"what time is it {n}", "label": "out_of_scope"} for n in range(6)]
    lines = [{"text": "a lemon", "label": "fruit"}, {"text": "milk", "label": "drink"}, {"text": "tractor", "label": "fruit"}]
    lines += [{"text": "what time is it now", "label": "out_of_scope"}]
    arguments = [write_lines(tmp_path / "lines.jsonl", lines), "--task", "intent", "--model", tiny_directory]
    arguments += ["--fit", write_lines(tmp_path / "fit.jsonl", fit)]
    report = evaluate(run, *arguments)

    examples = {}
    for row in fit:
        examples.setdefault(row["label"], []).append(row["text"])
    intents = trine.IntentClassifier(examples, embedder=tiny)
    found = intents.understand([row["text"] for row in lines])
    right = [f.label == row["label"] for f, row in zip(found, lines)][:3]
    kept = [f.label == row["label"] and f.in_scope for f, row in zip(found, lines)][:3]
    seen = figures(report)
    assert report["known"] == ["drink", "fruit", "other"]
    assert seen["accuracy, told which are in scope"]["value"] == pytest.approx(np.mean(right))
    assert seen["accuracy, told which are in scope"]["chance"] == pytest.approx(1 / 3)
    assert seen["in scope: kept and right"]["value"] == pytest.approx(np.mean(kept))
    assert seen["out of scope: found"]["value"] == float(not found[3].in_scope)
    assert b"95 % interval" in run("evaluate", *arguments).stdout


def best_f1(scores, truth):
    """The best F1 of any threshold, and the threshold."""
    found = [(2 * (truth & (scores >= t)).sum() / max((scores >= t).sum() + truth.sum(), 1), t) for t in scores]
    return max(found, key=lambda pair: pair[0])


@pytest.mark.parametrize("task, names", [("emotion", 7), ("emotion-labels", 28)])
def test_emotions_of_texts(run, default_model, tmp_path, task, names):
    texts = [
        ("I am so happy with this!", "joy"), ("What a lovely surprise, thank you", "joy, surprise"),
        ("This makes me furious", "anger"), ("I miss my dog so much", "sadness"), ("The shop opens at nine", "neutral"),
        ("Yuck, that is rotten", "disgust"), ("I was scared to death", "fear"), ("Oh wow, really?", "surprise"),
    ]  # fmt: skip
    lines = write_lines(tmp_path / "lines.jsonl", [{"text": text, "label": label} for text, label in texts])
    recognizer = trine.EmotionRecognizer(default_model)
    predict = recognizer.text if task == "emotion" else recognizer.text_labels
    found = [{score.label: score.probability for score in predict(text)} for text, _ in texts]
    labels = sorted(found[0])
    scores = np.array([[row[label] for label in labels] for row in found], np.float32)
    truth = np.array([[label in given.split(", ") for label in labels] for _, given in texts])

    report = evaluate(run, lines, "--task", task)
    seen = figures(report)
    assert len(labels) == names and report["known"] == labels
    assert seen["the likeliest is right"]["value"] == truth[np.arange(len(texts)), scores.argmax(1)].mean()
    above = scores >= 0.5
    f1 = 2 * (above & truth).sum(0) / np.maximum(above.sum(0) + truth.sum(0), 1)
    assert seen["macro-F1"]["value"] == pytest.approx(f1.mean())
    assert seen["macro-F1"]["chance"] == pytest.approx((2 * truth.mean(0) / (truth.mean(0) + 1)).mean())

    report = evaluate(run, lines, "--task", task, "--fit", lines)  # on itself: the best that thresholds can do
    best = {label: best_f1(scores[:, i], truth[:, i])[0] for i, label in enumerate(labels)}
    assert figures(report)["macro-F1"]["value"] == pytest.approx(np.mean(list(best.values())))
    assert {label: row["f1"] for label, row in report["labels"].items()} == pytest.approx(best)


def test_clips_with_one_label(run, default_model, tmp_path):
    for i in range(3):
        save_wav(tmp_path / f"{i}.wav", make_voice(0.5 + i / 2))
    labels = ["dog bark", "rain", "dog bark"]
    lines = [{"audio": f"{i}.wav", "label": label} for i, label in enumerate(labels)]
    report = evaluate(run, write_lines(tmp_path / "lines.jsonl", lines), "--task", "sound")
    sounds = trine.SoundRecognizer(default_model)
    right = [sounds.recognize(tmp_path / f"{i}.wav")[0].label == label for i, label in enumerate(labels)]
    assert figures(report)["accuracy"]["value"] == pytest.approx(np.mean(right))
    recall = (right[1] + (right[0] + right[2]) / 2) / 2
    assert figures(report)["mean recall of the labels (UAR)"]["value"] == pytest.approx(recall)
    assert report["labels"]["dog bark"]["count"] == 2 and figures(report)["accuracy"]["chance"] == pytest.approx(0.1)


@functools.cache
def distance(said, heard):
    """The edit distance of two lists of words, by its definition."""
    if not said or not heard:
        return len(said) + len(heard)
    changed = distance(said[1:], heard[1:]) + (said[0] != heard[0])
    return min(changed, distance(said[1:], heard) + 1, distance(said, heard[1:]) + 1)


def test_words_of_transcripts(run, tmp_path):
    model = GOLDEN / "transcripts/english"
    transcriber = trine.Transcriber(model)
    clips = [make_voice(seconds) for seconds in (0.6, 1.1)]
    for i, clip in enumerate(clips):
        save_wav(tmp_path / f"{i}.wav", clip)
    heard = [transcriber.transcribe(tmp_path / f"{i}.wav").text for i in range(2)]
    lines = [{"audio": "0.wav", "text": f"Well, {heard[0]}!"}, {"audio": "1.wav", "text": "It's a ripe lemon."}]
    report = evaluate(run, write_lines(tmp_path / "lines.jsonl", lines), "--task", "transcript", "--model", model)
    assert report["heard"] == heard
    words = lambda text: "".join(c if c.isalnum() or c == "_" else " " for c in text.lower().replace("'", "")).split()
    pairs = [(tuple(words(line["text"])), tuple(words(text))) for line, text in zip(lines, heard)]
    count = sum(len(said) for said, _ in pairs)
    assert figures(report)["word error rate"]["value"] == pytest.approx(sum(distance(*pair) for pair in pairs) / count)
    assert figures(report)["word error rate"]["count"] == count


def test_clips_that_are_heard(run, default_model, tmp_path):
    save_wav(tmp_path / "voice.wav", make_voice())
    rows = [{"audio": "voice.wav", "text": text} for text in ("a lemon", "some milk")]
    lines = write_lines(tmp_path / "lines.jsonl", rows)
    found = [row["query"] for row in evaluate(run, "--hear", "--retrieval", lines)["results"]]
    assert found == ["audio", "audio: both", "audio: transcript"]

    best = trine.ProductSearch(embedder=default_model).search(audio=tmp_path / "voice.wav", k=1)[0].id
    lines = write_lines(tmp_path / "products.jsonl", [{"id": best, "audio": "voice.wav"}])
    assert [row["top1"] for row in evaluate(run, "--hear", lines)["results"]] == [1.0]


def test_damage_in_photos(run, model, model_directory, tmp_path):
    rows = []
    for seed in range(16):
        pixels = make_picture(seed, 64, 48)
        if damaged := seed % 2:
            pixels[10 : 14 + seed, 20 : 24 + seed] = 0
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
        kind = ["hole", "burn"][seed // 2 % 2] if damaged else "intact"
        rows.append({"image": f"{seed}.png", "label": kind, "severity": seed / 16 if damaged else 0, "set": f"by {seed % 4}"})
    labels = [(row["label"], row["severity"]) if row["label"] != "intact" else "intact" for row in rows]
    photos = [tmp_path / row["image"] for row in rows]
    detector = trine.DamageDetector.fit(photos, labels, embedder=model, epochs=20, trained_on="squares")
    detector.save(tmp_path / "head.safetensors")
    detector = trine.DamageDetector(tmp_path / "head.safetensors", embedder=model)
    found = [detector.inspect(photo) for photo in photos]
    lines = write_lines(tmp_path / "lines.jsonl", rows)
    report = evaluate(run, lines, "--task", "damage", "--head", tmp_path / "head.safetensors", "--model", model_directory)
    seen = figures(report)

    scores, truth = np.array([f.probability for f in found]), np.array([row["label"] != "intact" for row in rows])
    above = [(a > b) + (a == b) / 2 for a in scores[truth] for b in scores[~truth]]
    assert seen["area under the ROC curve"]["value"] == pytest.approx(np.mean(above))
    assert seen["right at 0.7"]["value"] == pytest.approx(((scores > 0.7) == truth).mean())
    assert seen["damage found at 0.7"]["value"] == pytest.approx((scores > 0.7)[truth].mean())
    assert seen["intact left alone at 0.7"]["value"] == pytest.approx((scores <= 0.7)[~truth].mean())
    told = [(row, f) for row, f in zip(rows, found) if row["label"] != "intact" and f.types]
    assert len(told) > 2 and report["known"] == ["burn", "hole"]
    kind = seen["kind, of damage found"]
    assert kind["value"] == pytest.approx(np.mean([f.types[0].label == row["label"] for row, f in told]))
    assert kind["chance"] == 0.5 and kind["count"] == len(told)
    severities = np.array([(row["severity"], f.severity) for row, f in told]).T
    assert seen["severity, correlation, of damage found"]["value"] == pytest.approx(np.corrcoef(severities)[0, 1], abs=1e-4)
    assert sum(row["count"] for row in report["sets"]) == 16 and sum(row["alarms"] for row in report["sets"]) == (scores > 0.7).sum()


def test_videos_and_what_is_said_of_them(run, tmp_path):
    directory, clip = GOLDEN / "vision" / "clip", GOLDEN / "video" / "h264_aac_text.mp4"
    texts = ["A red apple", "milk for two", "a blue door", "a horse"]
    rows = [{"video": str(clip), "text": text, "unlike": {"told backwards": texts[i - 1]}} for i, text in enumerate(texts)]
    rows[0].update(set="of fruit", shows=[{"text": "apple", "start": 0, "end": 0.5}, {"text": "apple", "start": 0.3, "end": 0.6}])
    rows[1]["shows"] = [{"text": "milk", "start": 5, "end": 9}]
    lines = write_lines(tmp_path / "lines.jsonl", rows)
    report = evaluate(run, lines, "--task", "video", "--model", directory)
    seen = figures(report)

    search = trine.VideoSearch(trine.Embedder(directory))
    video = search.watch(clip)
    scores = search.embedder.embed_text(texts) @ video.vector
    first = [bool((scores[i] >= scores).all()) for i in range(4)]
    assert seen["own text first of 100 at most"]["value"] == pytest.approx(np.mean(first))
    assert seen["own text first of 100 at most"]["chance"] == 0.25
    assert seen["the same, of fruit"]["value"] == first[0] and seen["the same, of fruit"]["count"] == 1
    before = [float(scores[i] > scores[i - 1]) for i in range(4)]
    assert seen["own text before it: told backwards"]["value"] == pytest.approx(np.mean(before))
    best = [search.find(video, text, k=1, min_score=0)[0].best for text in ("apple", "milk")]
    assert seen["best moment shows it"]["value"] == pytest.approx((best[0] < 0.6) / 2)  # no moment lies after the end
    assert seen["best moment shows it"]["chance"] == pytest.approx(0.6 / 2, abs=0.02) and not report["temporal"]

    def of(**change):
        row = {**rows[0], **change}
        path = write_lines(tmp_path / "bad.jsonl", [{key: value for key, value in row.items() if value is not None}])
        return run("evaluate", path, "--task", "video", "--model", directory)

    refused(of(text=None), 'bad.jsonl, line 1: no "text"')
    refused(of(unlike=["told backwards"]), 'line 1: "unlike" has an unexpected value')
    refused(of(shows=[{"text": "apple", "start": 0}]), 'line 1: no "end"')
    refused(of(video="nowhere.mp4"), "nowhere.mp4")


def test_clips_without_their_own_speaker(run, default_model, tmp_path):
    rows = []
    for i in range(12):
        speaker, low = f"speaker {i // 4}", i % 2
        save_wav(tmp_path / f"{i}.wav", make_voice(0.4, pitch=(120 if low else 420) + 11 * i))
        rows.append({"audio": f"{i}.wav", "label": "low" if low else "high", "set": speaker})
    arguments = ("--task", "voice-emotion", "--leave-out")
    report = evaluate(run, write_lines(tmp_path / "lines.jsonl", rows), *arguments)
    assert report["known"] == ["high", "low"] and figures(report)["mean recall of the labels (UAR)"]["value"] == 1.0
    assert figures(report)["accuracy"]["count"] == 12 and figures(report)["accuracy"]["chance"] == 0.5

    for row in rows[8:]:  # the last speaker's are told the wrong way round: by the others' heads all of them
        row["label"] = {"high": "low", "low": "high"}[row["label"]]
    report = evaluate(run, write_lines(tmp_path / "lines.jsonl", rows), *arguments)
    assert report["labels"]["high"]["right"] + report["labels"]["low"]["right"] <= 8

    refused(run("evaluate", write_lines(tmp_path / "two.jsonl", rows[:8]), *arguments), "three sets at least, got 2")
    del rows[3]["set"]
    refused(run("evaluate", write_lines(tmp_path / "none.jsonl", rows), *arguments), 'line 4: "set" is missing')


def test_what_is_refused(run, default_model, tmp_path):
    def of(rows, task, *more):
        return run("evaluate", write_lines(tmp_path / "lines.jsonl", rows), "--task", task, *more)

    good = [{"text": "hello", "label": "joy"}]
    refused(of([{"text": "hello", "label": "joyful"}], "emotion"), 'line 1: no label "joyful"; known are anger')
    refused(of([{"text": "hello"}], "emotion"), 'line 1: "label" is missing')
    refused(of([{"audio": "a.wav", "label": "joy"}], "emotion"), 'line 1: "text" is wanted')
    refused(of(good, "intent"), 'line 1: no intent "joy"')
    refused(of(good, "sound", "--fit", tmp_path / "lines.jsonl"), "--fit is for intent")
    refused(of(good, "intent", "--leave-out"), "--leave-out is for sound, voice-emotion, not for intent")
    refused(of(good, "intent", "--no-temporal"), "--no-temporal is for video")
    refused(of(good, "intent", "--head", "a.safetensors"), "--head is for damage")
    refused(of(good, "damage"), 'lines.jsonl, line 1: no "image"')
    refused(of([{"image": "a.png", "label": "hole", "severity": 2}], "damage"), "line 1: a severity must be 0 to 1")
    refused(of([{"image": "nowhere.png", "label": "hole"}], "damage"), "nowhere.png")
    refused(of([{"audio": "a.wav"}], "transcript"), '"text" is wanted, what is said')
    refused(of([{"audio": "nowhere.wav", "label": "dog"}], "sound"), "nowhere.wav")
    assert run("evaluate", "--task", "emotion").returncode == 2
    assert run("evaluate", tmp_path / "lines.jsonl", "--fit", tmp_path / "lines.jsonl").returncode == 2
    assert run("evaluate", tmp_path / "lines.jsonl", "--task", "smell").returncode == 2
