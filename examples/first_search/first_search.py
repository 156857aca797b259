"""first_search.py [PHOTO [TEXT [VOICE]]]: the best three products and why; an empty argument is left out."""

import sys

import trine

given = dict(zip(("image", "text", "audio"), sys.argv[1:]))
query = {modality: value for modality, value in given.items() if value}

search = trine.ProductSearch()  # the default model and its catalogue
for hit in search.search(**query, k=3):
    print(f"{hit.title} ({hit.score:.3f}): {hit.sentence()}")
