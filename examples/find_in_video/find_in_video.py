"""find_in_video.py CLIP TEXT: the three moments of a video that fit a text best, and why."""

import sys

import trine

clip, text = sys.argv[1:]
search = trine.VideoSearch()  # the default model
video = search.watch(clip)
for note in video.notes:
    print(note, file=sys.stderr)
for moment in search.find(video, text, k=3):
    print(f"{moment.start:.1f} to {moment.end:.1f} s ({moment.score:.2f}): {moment.reasons()}")
