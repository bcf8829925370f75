"""Plain English names of ImageNet's 1,000 classes (`imagenet_classes.tsv`), and of coarser classes above them.

`imagenet_parents.tsv` follows the nouns of WordNet 3.0, simplified: everyday names, at most three coarser classes above
a class, and none where they would say little.
"""

from __future__ import annotations

import csv
from pathlib import Path

PARENTS_FILE = Path(__file__).with_name("imagenet_parents.tsv")
_FILE = Path(__file__).with_name("imagenet_classes.tsv")


def imagenet_classes() -> dict[str, str]:
    """Return the names by WordNet id, in the order of every network's outputs; no two are equal."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return {row["wnid"]: row["name"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
