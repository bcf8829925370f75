"""The coarser classes above ImageNet's: a small tree, and for kinds of animals and things that of WordNet 3.0."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from training.recipes.parents import read_parents
from training.weights.imagenet_classes import imagenet_classes

CLASSES = imagenet_classes()
PARENTS = read_parents("imagenet", tuple(CLASSES.values()))
GROUPS = set(PARENTS.values())
NOUNS = Path("/usr/share/wordnet/data.noun")
#: Group -> its synset in WordNet 3.0. Each has exactly the classes that are below the synset.
SYNSETS = {
    "animal": "00015388",
    "ape": "02470325",
    "bear": "02131653",
    "beetle": "02164464",
    "big cat": "02127808",
    "bird": "01503061",
    "bird of prey": "01604330",
    "butterfly": "02274259",
    "crustacean": "01974773",
    "dog": "02084071",
    "fish": "02512053",
    "fox": "02118333",
    "insect": "02159955",
    "lizard": "01674464",
    "monkey": "02484322",
    "musical instrument": "03800933",
    "reptile": "01661091",
    "rodent": "02329401",
    "shark": "01482330",
    "snake": "01726692",
    "spider": "01772222",
    "tool": "04451818",
    "turtle": "01662784",
    "wading bird": "02000954",
}


def chain(label: str) -> list[str]:
    """Return the coarser classes above a label, from the finest to the coarsest."""
    return [PARENTS[label], *chain(PARENTS[label])] if label in PARENTS else []


@functools.cache
def hypernyms() -> dict[str, set[str]]:
    """Return the hypernyms of each noun synset of WordNet 3.0, by offset."""
    above = {}
    for line in NOUNS.read_text(encoding="ascii").splitlines():
        if not line.startswith(" "):
            above[line[:8]] = set(re.findall(r" @i? (\d{8}) n", line.partition(" | ")[0]))
    return above


def is_below(offset: str, group: str) -> bool:
    return offset == group or any(is_below(each, group) for each in hypernyms()[offset])


def test_no_class_has_more_than_three_coarser_classes_above_it() -> None:
    assert max(len(chain(name)) for name in CLASSES.values()) == 3


def test_every_coarser_class_has_two_classes_below_it_or_more() -> None:
    below = {group: [name for name in CLASSES.values() if group in chain(name)] for group in GROUPS}
    assert {group for group, names in below.items() if len(names) < 2} == set()


def test_coarser_class_says_something_new() -> None:
    """No two coarser classes have the same classes."""
    below = [frozenset(name for name in CLASSES.values() if group in chain(name)) for group in GROUPS]
    assert len(set(below)) == len(below)


def test_names_are_distinct_in_any_case_and_plain() -> None:
    assert len({name.casefold() for name in (*CLASSES.values(), *GROUPS)}) == 1000 + len(GROUPS)
    assert {name for name in GROUPS if not re.fullmatch(r"[a-z]+(,? [a-z]+)*", name)} == set()


@pytest.mark.skipif(not NOUNS.is_file(), reason="needs WordNet 3.0 (on Debian: apt-get install wordnet-base)")
@pytest.mark.parametrize("group", SYNSETS)
def test_group_has_the_classes_that_wordnet_has_below_it(group: str) -> None:
    below = {name for wnid, name in CLASSES.items() if is_below(wnid[1:], SYNSETS[group])}
    assert {name for name in CLASSES.values() if group in chain(name)} == below
