"""Measures the transcripts of the default model on the clips that models/default/train/synthesise.py makes.

    python models/default/evaluation/transcripts.py tokens CORPUS --count 50        # equal to transformers?
    python models/default/evaluation/transcripts.py words CORPUS                    # word error rate
    python models/default/evaluation/transcripts.py sentences CORPUS                # spoken sentences among 500

CORPUS is the folder of manifest.jsonl. What was heard is kept in CORPUS/transcripts.jsonl and not decoded again. `tokens`
needs transformers. `sentences` ranks the test sentences of CLINC150 by the direct path (the speech tower), by the
transcript through the text tower, and by both: the weight of the transcript is a logistic function of its confidence,
fitted on the validation clips. 95 % intervals: Wilson's for shares, bootstrap over clips for word error rates.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import torch
import trine


def read_manifest(corpus, split, sets=None):
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["split"] == split and (sets is None or row["set"] in sets)]


def spread(rows, count):
    """`count` of the rows, evenly over the list."""
    return rows if not count or count >= len(rows) else [rows[i * len(rows) // count] for i in range(count)]


class Heard:
    """Transcripts by clip and window, made once."""

    def __init__(self, corpus):
        self.corpus, self.path = corpus, corpus / "transcripts.jsonl"
        self.transcriber = trine.Transcriber()
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.known = {(row["audio"], row["whole_window"]): row for row in map(json.loads, lines)}

    def __call__(self, rows, whole_window):
        found = []
        with self.path.open("a", encoding="utf-8") as file:
            for i, row in enumerate(rows):
                key = (row["audio"], whole_window)
                if key not in self.known:
                    heard = self.transcriber.transcribe(self.corpus / row["audio"], whole_window=whole_window)
                    self.known[key] = {
                        "audio": row["audio"], "whole_window": whole_window, "text": heard.text,
                        "confidence": heard.confidence, "no_speech": heard.no_speech, "repeated": heard.repeated,
                    }  # fmt: skip
                    file.write(json.dumps(self.known[key]) + "\n")
                found.append(self.known[key])
                print(f"\rheard {i + 1} / {len(rows)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return found


# --- tokens -----------------------------------------------------------------------------------------------------------


def compare_tokens(corpus, count):
    import transformers

    transformers.logging.set_verbosity_error()
    transcriber = trine.Transcriber()
    model = transformers.WhisperForConditionalGeneration.from_pretrained(transcriber.directory, dtype=torch.float32).eval()
    extract = transformers.WhisperFeatureExtractor.from_pretrained(transcriber.directory)
    rows, equal, equal_texts, timed = spread(read_manifest(corpus, "test"), count), 0, 0, 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(transcriber.directory)
    for i, row in enumerate(rows):
        clip = trine.read_audio(corpus / row["audio"])
        mel = extract(clip[0], sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            wanted = model.generate(mel, return_timestamps=False)[0].tolist()
            stamped = model.generate(mel, return_timestamps=True, force_unique_generate_call=True)[0].tolist()
        edges = (model.generation_config.decoder_start_token_id, model.generation_config.eos_token_id)
        wanted, stamped = ([t for t in tokens if t not in edges] for tokens in (wanted, stamped))
        heard, with_times = transcriber.transcribe(clip), transcriber.transcribe(clip, timestamps=True)
        equal += heard.tokens == wanted
        timed += with_times.tokens == stamped
        equal_texts += heard.text == tokenizer.decode(wanted, skip_special_tokens=True).strip()
        if heard.tokens != wanted or with_times.tokens != stamped:
            print(f"{row['audio']}\n  ours      {heard.tokens} {with_times.tokens}\n  reference {wanted} {stamped}")
        print(f"\rcompared {i + 1} / {len(rows)}", end="", file=sys.stderr, flush=True)
    print(f"\n{len(rows)} clips: tokens equal {equal}, texts equal {equal_texts}, tokens with timestamps equal {timed}")


# --- words ------------------------------------------------------------------------------------------------------------


def words_of(text):
    """Lower case, without punctuation and apostrophes; numbers stay as they are written."""
    return re.sub(r"[^\w\s]", " ", text.lower().replace("'", "").replace("’", "")).split()


def errors(wanted, found):
    """Words put in, left out or changed: the edit distance."""
    row = list(range(len(found) + 1))
    for i, word in enumerate(wanted):
        last, row[0] = row[0], i + 1
        for j, other in enumerate(found):
            last, row[j + 1] = row[j + 1], min(last + (word != other), row[j] + 1, row[j + 1] + 1)
    return row[-1]


def rate(wrong, total):
    """(rate, low, high)"""
    random = np.random.default_rng(0)
    draws = random.integers(0, len(wrong), (2000, len(wrong)))
    samples = wrong[draws].sum(1) / total[draws].sum(1)
    return wrong.sum() / total.sum(), *np.quantile(samples, [0.025, 0.975])


def measure_words(corpus, count, whole_window):
    heard = Heard(corpus)
    print(f"| clips | window | count | words | word error rate | 95 % interval | exact | repeated |\n|{'---|' * 8}")
    for name in ("clinc", "orders", "products", "words"):
        rows = spread(read_manifest(corpus, "test", {name}), count)
        found = heard(rows, whole_window)
        pairs = [(words_of(row["text"]), words_of(row_found["text"])) for row, row_found in zip(rows, found)]
        wrong = np.array([errors(*pair) for pair in pairs])
        total = np.array([len(wanted) for wanted, _ in pairs])
        value, low, high = rate(wrong, total)
        window = "30 s" if whole_window else "own length"
        print(f"| {name} | {window} | {len(rows)} | {total.sum()} | {value:.3f} | {low:.3f} to {high:.3f} | "
              f"{np.mean(wrong == 0):.3f} | {sum(row['repeated'] for row in found)} |", flush=True)  # fmt: skip


# --- sentences --------------------------------------------------------------------------------------------------------


def wilson(hits, count):
    share, z = hits / count, 1.959964
    middle, width = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - width) / (1 + z * z / count), (middle + width) / (1 + z * z / count)


def features_of(model, heard, corpus, split, sets, count, whole_window):
    """Of `count` clips, among the texts of all: (direct, transcript, logit of confidence, texts, right text of each)"""
    every = read_manifest(corpus, split, sets)
    texts, rows = sorted({row["text"] for row in every}), spread(every, count)
    found = heard(rows, whole_window)
    direct = model.embed_audio([corpus / row["audio"] for row in rows])
    transcript = model.embed_text([row["text"] or "." for row in found])
    confidence = torch.tensor([row["confidence"] for row in found]).clamp(1e-4, 1 - 1e-4)
    right = torch.tensor([texts.index(row["text"]) for row in rows])
    return direct, transcript, torch.logit(confidence), model.embed_text(texts), right


def combined(direct, transcript, logit, a, b):
    weight = torch.sigmoid(a * logit + b)[:, None]
    return torch.nn.functional.normalize(weight * transcript + (1 - weight) * direct, dim=1)


def fit(direct, transcript, logit, texts, right):
    """-> (a, b) of the weight sigmoid(a * logit(confidence) + b)"""
    parameters = torch.tensor([1.0, 0.0, math.log(0.05)], requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        a, b, temperature = parameters
        scores = combined(direct, transcript, logit, a, b) @ texts.T / temperature.exp()
        value = torch.nn.functional.cross_entropy(scores, right) + 1e-3 * (a * a + b * b)
        value.backward()
        return value

    optimiser.step(loss)
    return parameters[0].item(), parameters[1].item()


def measure_sentences(corpus, count, whole_window, sets):
    model, heard = trine.Embedder(), Heard(corpus)
    parts = features_of(model, heard, corpus, "val", sets, count, whole_window)
    a, b = fit(*parts)
    print(f"weight of the transcript: sigmoid({a:.3f} * logit(confidence) + {b:.3f}), fitted on {len(parts[0])} clips")
    direct, transcript, logit, texts, right = features_of(model, heard, corpus, "test", sets, count, whole_window)
    print(f"| path | count | texts | R@1 | 95 % interval | R@10 |\n|{'---|' * 6}")
    queries = {"direct": direct, "transcript": transcript, "both": combined(direct, transcript, logit, a, b)}
    for name, vectors in queries.items():
        scores = vectors @ texts.T
        ranks = (scores > scores.gather(1, right[:, None])).sum(1)
        hits, low_high = int((ranks == 0).sum()), wilson(int((ranks == 0).sum()), len(ranks))
        print(f"| {name} | {len(ranks)} | {len(texts)} | {hits / len(ranks):.3f} | {low_high[0]:.3f} to "
              f"{low_high[1]:.3f} | {float((ranks < 10).float().mean()):.3f} |")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tokens", "words", "sentences"])
    parser.add_argument("corpus", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--count", type=int, default=0, help="clips of each set; 0: all")
    parser.add_argument("--whole-window", action="store_true", help="every clip padded to 30 s, several times slower")
    parser.add_argument("--sets", default="clinc", help="of `sentences`: clinc, products, orders, words, or several")
    options = parser.parse_args()
    if options.what == "tokens":
        compare_tokens(options.corpus, options.count)
    elif options.what == "words":
        measure_words(options.corpus, options.count, options.whole_window)
    else:
        measure_sentences(options.corpus, options.count, options.whole_window, set(options.sets.split(",")))


if __name__ == "__main__":
    main()
