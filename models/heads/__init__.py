"""Classifier heads: features -> probabilities. `save` and `load` keep a fitted head in a pickle of plain values."""

from models.heads.boosted_trees import BoostedTrees
from models.heads.estimators import DenseLayers, Estimator, TopSoftmax, linear_softmax, top_softmax
from models.heads.head import Head, apply_temperature
from models.heads.saved import SavedEstimator, load, save

__all__ = [
    "BoostedTrees",
    "DenseLayers",
    "Estimator",
    "Head",
    "SavedEstimator",
    "TopSoftmax",
    "apply_temperature",
    "linear_softmax",
    "load",
    "save",
    "top_softmax",
]
