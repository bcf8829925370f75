"""Check of an XGBoost model before XGBoost reads it.

XGBoost follows the indices of a tree without checking them: a changed child makes it read foreign memory, or run in a
circle, but only for images that reach that node. Replaying golden outputs cannot find that, so it is checked here, as
well as the other indices. The format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.heads import ubjson

_OBJECTIVES = ("multi:softprob", "binary:logistic")
_NODE_ARRAYS = {
    "base_weights": (">f",),
    "default_left": (">B",),
    "left_children": (">i",),
    "loss_changes": (">f",),
    "parents": (">i",),
    "right_children": (">i",),
    "split_conditions": (">f",),
    "split_indices": (">i", ">q"),
    "split_type": (">B",),
    "sum_hessian": (">f",),
}
"""Array with a value for each node -> its possible types."""
_CATEGORY_ARRAYS = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_LEAF = -1
_MAX_DEPTH = 256  # the recipes use 4
Indices = npt.NDArray[np.int64]


class TreeModel(NamedTuple):
    """What is known of a checked model."""

    features: int
    classes: int


def check(model: bytes) -> TreeModel:
    """Check a model in UBJSON, as `Booster.save_raw("ubj")` returns it.

    Raises:
        ValueError: it is no classifier of boosted trees on numbers, or one of its indices is out of range.
    """
    try:
        return _check(ubjson.parse(model)["learner"])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("the model lacks a part, or one has another type") from error


def _check(learner: dict[str, Any]) -> TreeModel:
    parameters, booster = learner["learner_model_param"], learner["gradient_booster"]
    features, classes = _count(parameters["num_feature"]), _count(parameters["num_class"])
    outputs = max(classes, 1)
    _require(booster["name"] == "gbtree", "has no trees")
    _require(learner["objective"]["name"] == _OBJECTIVES[classes == 0], "is no classifier")
    _require(classes != 1 and parameters.get("num_target", "1") == "1", "is no classifier of single labels")
    _require(features > 0 and not learner["feature_names"] and not learner["feature_types"], "has named features")
    _check_base_score(parameters["base_score"], outputs)
    _check_trees(booster["model"], features, outputs)
    return TreeModel(features, classes or 2)


def _check_base_score(text: str, outputs: int) -> None:
    """Check the score before the first tree: a number, or since XGBoost 3.1 a list with one for each output."""
    scores = json.loads(text)
    scores = scores if isinstance(scores, list) else [scores]
    _require(len(scores) in (1, outputs) and all(map(_is_finite, scores)), "has another number of base scores")


def _check_trees(model: dict[str, Any], features: int, outputs: int) -> None:
    trees, outputs_of_trees, ends = model["trees"], model["tree_info"], model["iteration_indptr"]
    _require(_count(model["gbtree_model_param"]["num_trees"]) == len(trees) == len(outputs_of_trees), "lacks trees")
    _require(all(0 <= output < outputs for output in outputs_of_trees), "has trees of unknown classes")
    _require(len(ends) > 0 and ends[0] == 0 and ends[-1] == len(trees), "has rounds without trees")
    _require(all(first <= second for first, second in itertools.pairwise(ends)), "has rounds without trees")
    _require(not model.get("cats", {}).get("enc"), "has categories")
    sizes = [_check_arrays(tree) for tree in trees]
    _check_nodes({name: _join(trees, name) for name in _NODE_ARRAYS}, np.array(sizes, np.int64), features)


def _check_arrays(tree: dict[str, Any]) -> int:
    """Check that every array has one value for each node; returns the number of nodes."""
    nodes = _count(tree["tree_param"]["num_nodes"])
    _require(nodes > 0 and tree["tree_param"]["size_leaf_vector"] in ("0", "1"), "has leaves for several outputs")
    for name, formats in _NODE_ARRAYS.items():
        array = tree[name]
        size = nodes * struct.calcsize(array.format)
        _require(array.format in formats and len(array.data) == size, "has a tree without nodes")
    _require(not any(tree[name].data for name in _CATEGORY_ARRAYS), "has categories")
    return nodes


def _join(trees: list[dict[str, Any]], name: str) -> npt.NDArray[Any]:
    """Return an array of all trees, one after the other: 1,000 small arrays would take ten times as long to check."""
    formats = {tree[name].format for tree in trees}
    _require(len(formats) == 1, "has arrays of different types")
    return np.frombuffer(b"".join(tree[name].data for tree in trees), formats.pop())


def _check_nodes(nodes: dict[str, npt.NDArray[Any]], sizes: Indices, features: int) -> None:
    """Check the nodes of all trees.

    Args:
        nodes: array of each kind, all trees one after the other.
        sizes: number of nodes of each tree.
        features: number of features.
    """
    left, right = nodes["left_children"], nodes["right_children"]
    is_split = left != _LEAF
    _require(not nodes["split_type"].any(), "has categories")
    _require(np.array_equal(is_split, right != _LEAF), "has a node with one child")
    roots = np.cumsum(sizes) - sizes
    parents = np.flatnonzero(is_split)
    root_of_parent, end_of_parent = (np.repeat(bounds, sizes)[parents] for bounds in (roots, roots + sizes))
    children = np.stack([left[parents], right[parents]]) + root_of_parent
    # Every child comes after its parent, and none has two: then there is no way back.
    _require(bool(((children > parents) & (children < end_of_parent)).all()), "has a child outside its tree")
    _require(int(np.bincount(children.ravel(), minlength=1).max()) <= 1, "has a node with two parents")
    _check_depth(roots, dict(zip(parents.tolist(), children.T.tolist(), strict=True)))
    indices = nodes["split_indices"][parents]
    _require(bool(((indices >= 0) & (indices < features)).all()), "splits on an unknown feature")
    _require(bool(np.isfinite(nodes["split_conditions"]).all()), "has a leaf that is not finite")


def _check_depth(roots: Indices, children: dict[int, list[int]]) -> None:
    """Bound the recursion of native code: a tree can be a chain of all its nodes."""
    level = roots.tolist()
    for _ in range(_MAX_DEPTH):
        level = [child for node in level if node in children for child in children[node]]
        if not level:
            return
    raise ValueError("the model has a tree that is too deep")


def _count(text: str) -> int:
    """Parse a number as XGBoost writes parameters, in decimal digits."""
    _require(text.isascii() and text.isdigit() and len(text) < 10, "has a parameter that is no number")
    return int(text)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(f"the model {otherwise}")
