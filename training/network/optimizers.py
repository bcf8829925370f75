"""What turns gradients into new weights, and at which rate."""

from __future__ import annotations

from typing import Any

import keras

from training.recipes.schema import Fit


def learning_rate(fit: Fit, steps: int) -> Any:
    """The rate of each step, for Keras: in a line up to the learning rate, then constant or down to 0.

    It falls on a cosine (Loshchilov, Hutter, 2017, arXiv:1608.03983). A fit that is shorter than the recipe thought
    warms up for half of its steps.
    """
    warmup = min(fit.warmup_steps, steps // 2)
    lowest = 1.0 if fit.rate == "constant" else 0.0
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(fit.learning_rate, max(1, steps), alpha=lowest)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, alpha=lowest, warmup_target=fit.learning_rate, warmup_steps=warmup
    )


def optimizer(fit: Fit, rate: Any, model: keras.Model) -> Any:
    """The recipe's optimizer, ready for a model: all of its variables are there."""
    clip = {"global_clipnorm": fit.clip_norm or None}
    if fit.optimizer == "sgd":
        made = keras.optimizers.SGD(rate, momentum=fit.momentum, **clip)
    elif fit.optimizer == "adam":
        made = keras.optimizers.Adam(rate, beta_2=fit.beta_2, **clip)
    else:
        made = _adamw(fit, rate, model, **clip)
    made.build(model.trainable_variables)
    return made


def _adamw(fit: Fit, rate: Any, model: keras.Model, **clip: float | None) -> Any:
    """AdamW (Loshchilov, Hutter, 2019, arXiv:1711.05101); biases and batch normalisation do not decay."""
    made = keras.optimizers.AdamW(rate, weight_decay=fit.weight_decay, beta_2=fit.beta_2, **clip)
    made.exclude_from_weight_decay([variable for variable in model.trainable_variables if len(variable.shape) == 1])
    return made
