"""Optimizers and learning rate schedules of a fit."""

from __future__ import annotations

from typing import Any

import keras

from training.recipes.network import Fit


def learning_rate(fit: Fit, steps: int) -> Any:
    """Return Keras's schedule of the learning rate: linear warm-up, then constant or cosine decay to 0.

    A fit with fewer steps than the recipe's warm-up warms up for half of its steps.

    Source: Loshchilov and Hutter, 2017, arXiv:1608.03983.
    """
    warmup = min(fit.warmup_steps, steps // 2)
    final_share = 1.0 if fit.rate == "constant" else 0.0
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(fit.learning_rate, max(1, steps), alpha=final_share)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, alpha=final_share, warmup_target=fit.learning_rate, warmup_steps=warmup
    )


def build_optimizer(fit: Fit, rate: Any, model: keras.Model) -> Any:
    """Return the recipe's optimizer with all of its variables created for a model.

    The moving average of the weights, if there is one, starts with the initial weights. Keras starts it with the
    weights after the first step, which may be skipped.
    """
    settings: dict[str, Any] = {"global_clipnorm": fit.clip_norm or None}
    if fit.ema_momentum:
        settings |= {"use_ema": True, "ema_momentum": fit.ema_momentum}
    if fit.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=fit.momentum, **settings)
    elif fit.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate, beta_2=fit.beta_2, **settings)
    else:
        optimizer = _build_adamw(fit, rate, model, **settings)
    optimizer.build(model.trainable_variables)
    if fit.ema_momentum:
        for average, weight in zip(optimizer._model_variables_moving_average, model.trainable_variables, strict=True):
            average.assign(weight)
    return optimizer


def _build_adamw(fit: Fit, rate: Any, model: keras.Model, **settings: Any) -> Any:
    """Return AdamW without weight decay on biases and batch normalization.

    Source: Loshchilov and Hutter, 2019, arXiv:1711.05101.
    """
    optimizer = keras.optimizers.AdamW(rate, weight_decay=fit.weight_decay, beta_2=fit.beta_2, **settings)
    optimizer.exclude_from_weight_decay(
        [variable for variable in model.trainable_variables if len(variable.shape) == 1]
    )
    return optimizer
