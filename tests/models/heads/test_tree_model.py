"""Check of XGBoost models: every index that XGBoost would follow unchecked."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from xgboost import XGBClassifier, XGBRegressor

from models.heads import BoostedTrees, tree_model, ubjson
from tests.support.clusters import examples


@functools.cache
def model(classes: int = 3) -> bytes:
    fitted = XGBClassifier(n_estimators=3, max_depth=3, random_state=0).fit(*examples(classes))
    return bytes(fitted.get_booster().save_raw("ubj"))


def render(value: Any) -> bytes:
    """Write UBJSON as XGBoost does."""
    if isinstance(value, ubjson.Numbers):
        count = len(value.data) // struct.calcsize(value.format)
        marker = {">f": b"d", ">i": b"l", ">B": b"U", ">q": b"L"}[value.format]
        return b"[$" + marker + b"#" + length(count) + value.data
    if isinstance(value, dict):
        return b"{" + b"".join(text(key) + render(member) for key, member in value.items()) + b"}"
    if isinstance(value, list):
        return b"[#" + length(len(value)) + b"".join(map(render, value))
    return b"S" + text(value) if isinstance(value, str) else b"l" + struct.pack(">i", value)


def length(value: int) -> bytes:
    return b"L" + struct.pack(">q", value)


def text(value: str) -> bytes:
    return length(len(value.encode())) + value.encode()


def numbers(like: ubjson.Numbers, change: Callable[[Any], None]) -> ubjson.Numbers:
    values = np.frombuffer(like.data, like.format).copy()
    change(values)
    return ubjson.Numbers(like.format, values.tobytes())


@pytest.mark.parametrize(("classes", "expected"), [(2, (6, 2)), (3, (6, 3))])
def test_intact_model_is_accepted(classes: int, expected: tuple[int, int]) -> None:
    assert tree_model.check(model(classes)) == expected
    assert tree_model.check(render(ubjson.parse(model(classes)))) == expected


def test_numbers_are_those_that_xgboost_writes_as_json() -> None:
    fitted = BoostedTrees.from_model(model()).booster
    trees = json.loads(fitted.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    parsed = ubjson.parse(model())["learner"]["gradient_booster"]["model"]["trees"]
    for tree, expected in zip(parsed, trees, strict=True):
        for name in ("left_children", "split_indices", "split_conditions"):
            assert np.allclose(np.frombuffer(tree[name].data, tree[name].format), expected[name])


def assign(index: int, value: float) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        values[index] = value

    return change


TREE_CHANGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a child of another tree": ("left_children", assign(0, 10_000)),
    "a child before its parent": ("left_children", assign(1, 0)),
    "a node that is its own child": ("left_children", assign(1, 1)),
    "a negative child": ("left_children", assign(0, -2)),
    "a child of two nodes": ("right_children", assign(0, 1)),
    "only one child": ("left_children", assign(0, -1)),
    "an unknown feature": ("split_indices", assign(0, 6)),
    "a negative feature": ("split_indices", assign(0, -1)),
    "a split on categories": ("split_type", assign(0, 1)),
    "an infinite leaf": ("split_conditions", assign(-1, np.inf)),
    "a leaf that is no number": ("split_conditions", assign(-1, np.nan)),
}


@pytest.mark.parametrize("kind", TREE_CHANGES)
@pytest.mark.parametrize("tree", [0, -1])
def test_tree_with_an_index_out_of_range_is_rejected(kind: str, tree: int) -> None:
    name, change = TREE_CHANGES[kind]
    content = ubjson.parse(model())
    changed = content["learner"]["gradient_booster"]["model"]["trees"][tree]
    changed[name] = numbers(changed[name], change)
    with pytest.raises(ValueError, match="the model"):
        tree_model.check(render(content))


def test_tree_of_a_long_chain_is_rejected() -> None:
    content = ubjson.parse(model())
    tree = content["learner"]["gradient_booster"]["model"]["trees"][0]
    nodes = 1001
    tree["tree_param"]["num_nodes"] = str(nodes)
    for name, array in tree.items():
        if name in tree_model._NODE_ARRAYS:
            tree[name] = ubjson.Numbers(array.format, bytes(nodes * struct.calcsize(array.format)))
    left = np.where(np.arange(nodes) % 2 == 0, np.arange(nodes) + 1, -1)
    left[-1] = -1
    for name, children in (("left_children", left), ("right_children", np.where(left < 0, -1, left + 1))):
        tree[name] = ubjson.Numbers(">i", children.astype(">i4").tobytes())
    with pytest.raises(ValueError, match="too deep"):
        tree_model.check(render(content))


CHANGES: dict[str, tuple[tuple[str, ...], Any]] = {
    "fewer features": (("learner_model_param", "num_feature"), "1"),
    "no features": (("learner_model_param", "num_feature"), "0"),
    "a negative number of features": (("learner_model_param", "num_feature"), "-1"),
    "a huge number of features": (("learner_model_param", "num_feature"), "9" * 30),
    "fewer classes": (("learner_model_param", "num_class"), "2"),
    "one class": (("learner_model_param", "num_class"), "1"),
    "several labels": (("learner_model_param", "num_target"), "2"),
    "too many base scores": (("learner_model_param", "base_score"), "[0,0,0,0]"),
    "an infinite base score": (("learner_model_param", "base_score"), "[1e999,0,0]"),
    "a base score that is no number": (("learner_model_param", "base_score"), "[[],0,0]"),
    "another objective": (("objective", "name"), "multi:softmax"),
    "another booster": (("gradient_booster", "name"), "gblinear"),
    "more trees than stated": (("gradient_booster", "model", "gbtree_model_param", "num_trees"), "8"),
    "trees of an unknown class": (("gradient_booster", "model", "tree_info"), [0, 1, 2, 0, 1, 2, 0, 1, 3]),
    "trees of a negative class": (("gradient_booster", "model", "tree_info"), [0, 1, 2, 0, 1, 2, 0, 1, -1]),
    "rounds beyond the trees": (("gradient_booster", "model", "iteration_indptr"), [0, 3, 6, 12]),
    "rounds that go back": (("gradient_booster", "model", "iteration_indptr"), [0, 6, 3, 9]),
    "no rounds": (("gradient_booster", "model", "iteration_indptr"), []),
    "no trees": (("gradient_booster", "model"), {}),
    "a text instead of trees": (("gradient_booster", "model", "trees"), "trees"),
    "named features": (("feature_names",), ["a"] * 6),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_model_with_another_parameter_is_rejected(kind: str) -> None:
    (*parents, last), value = CHANGES[kind]
    content = ubjson.parse(model())
    part = functools.reduce(lambda part, name: part[name], parents, content["learner"])
    assert last in part
    part[last] = value
    with pytest.raises(ValueError, match="the model"):
        tree_model.check(render(content))


def test_model_of_a_regression_is_rejected() -> None:
    fitted = XGBRegressor(n_estimators=2).fit(*examples(2))
    with pytest.raises(ValueError, match="is no classifier"):
        tree_model.check(bytes(fitted.get_booster().save_raw("ubj")))


@pytest.mark.parametrize("format", ["json", "deprecated"])
def test_model_in_another_format_is_rejected(format: str) -> None:  # noqa: A002 - as XGBoost calls it
    data = (
        bytes(BoostedTrees.from_model(model()).booster.save_raw("json")) if format == "json" else b"binf" + b"\0" * 99
    )
    with pytest.raises(ValueError, match="the model"):
        tree_model.check(data)


def test_truncated_model_is_rejected() -> None:
    data = model()
    for end in range(0, len(data), 7):
        with pytest.raises(ValueError, match="the model"):
            tree_model.check(data[:end])


def test_features_of_another_width_are_rejected() -> None:
    trees = BoostedTrees.from_model(model())
    for width in (5, 7):
        with pytest.raises(ValueError, match=r"[Ff]eature"):
            trees.predict_proba(np.zeros((1, width), np.float32))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"{",
        b"[",
        b"[#",
        b"[$d#i\x01",
        b"[$x#" + length(0),
        b"[#" + length(2) + b"T",
        b"[#" + length(-1),
        b"[$d#" + length(2**61),
        b"S" + length(5) + b"a",
        b"S" + length(2) + b"\xff\xff",
        b"TT",
        b"[" * 100,
        b"{" + text("a") + b"T" + text("a") + b"T}",
        (b"{" + text("a")) * 50 + b"T" + b"}" * 50,
        b"[]",
        b"N",
    ],
    ids=repr,
)
def test_damaged_ubjson_is_rejected(data: bytes) -> None:
    with pytest.raises(ValueError, match="the model"):
        ubjson.parse(data)


def test_array_without_a_length_is_rejected() -> None:
    content = b"{L" + struct.pack(">q", 1) + b"a[#L" + struct.pack(">q", 0) + b"}"
    assert ubjson.parse(content) == {"a": []}
    for marker in b"xL":
        with pytest.raises(ValueError, match="the model has an array without a length"):
            ubjson.parse(content.replace(b"[#", b"[" + bytes([marker])))
