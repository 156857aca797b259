"""Compares the transcripts of the default model with transformers' greedy ones, token by token, with timestamps and without.

    python models/default/evaluation/transcript_tokens.py CORPUS --count 50

CORPUS is the folder of manifest.jsonl that models/default/train/synthesise.py makes; its test clips are taken. Word error
rates are measured by `trine evaluate --task transcript`.
"""

import argparse
import sys
from pathlib import Path

import torch
import transformers
import trine
from make_manifests import read_lines


def spread(rows, count):
    """`count` of the rows, evenly over the list."""
    return rows if not count or count >= len(rows) else [rows[i * len(rows) // count] for i in range(count)]


def compare(corpus, count):
    transformers.logging.set_verbosity_error()
    transcriber = trine.Transcriber()
    model = transformers.WhisperForConditionalGeneration.from_pretrained(transcriber.directory, dtype=torch.float32).eval()
    extract = transformers.WhisperFeatureExtractor.from_pretrained(transcriber.directory)
    rows = spread([row for row in read_lines(corpus / "manifest.jsonl") if row["split"] == "test"], count)
    equal, equal_texts, timed = 0, 0, 0
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--count", type=int, default=0, help="clips; 0: all")
    options = parser.parse_args()
    compare(options.corpus, options.count)


if __name__ == "__main__":
    main()
