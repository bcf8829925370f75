"""Optimizers and the learning rate, compared with the formulas of their sources."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from training.network.optimizers import build_optimizer, learning_rate
from training.recipes.network import Fit

RATE = 0.2


def fit(**settings: Any) -> Fit:
    return Fit.model_validate({"passes": 1, "learning_rate": RATE} | settings)


def expected_rate(step: int, steps: int, warmup: int, *, is_constant: bool = False) -> float:
    if step < warmup:
        return RATE * step / warmup
    progress = min(1, (step - warmup) / (steps - warmup))
    return RATE if is_constant else RATE * (1 + math.cos(math.pi * progress)) / 2


@pytest.mark.parametrize("rate", ["cosine", "constant"])
@pytest.mark.parametrize(
    ("steps", "warmup_steps", "warmup"), [(20, 5, 5), (20, 10, 10), (20, 11, 10), (9, 200, 4), (20, 0, 0), (1, 200, 0)]
)
def test_rate_of_every_step(rate: str, steps: int, warmup_steps: int, warmup: int) -> None:
    schedule = learning_rate(fit(rate=rate, warmup_steps=warmup_steps), steps)
    rates = [float(schedule(step)) for step in range(steps + 3)]
    expected = [expected_rate(step, steps, warmup, is_constant=rate == "constant") for step in range(steps + 3)]
    assert rates == pytest.approx(expected, abs=1e-7)


def one_layer() -> keras.Model:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")(inputs))


def after_steps(gradients: list[float], **settings: Any) -> tuple[float, float]:
    """Return a weight of the kernel and one of the bias, both 1 before, after steps with equal gradients everywhere."""
    model = one_layer()
    optimizer = build_optimizer(fit(**settings), RATE, model)
    for gradient in gradients:
        optimizer.apply(
            [keras.ops.full(variable.shape, gradient) for variable in model.trainable_variables],
            model.trainable_variables,
        )
    kernel, bias = (np.asarray(variable) for variable in model.trainable_variables)
    return float(kernel[0, 0]), float(bias[0])


def test_sgd_has_the_momentum_of_the_recipe() -> None:
    kernel, bias = after_steps([1, 1], optimizer="sgd", momentum=0.5, clip_norm=0)
    assert kernel == bias == pytest.approx(1 - RATE - 1.5 * RATE)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_gradient_is_clipped_by_its_global_norm(optimizer: str) -> None:
    """All eight weights have the same gradient, so its norm is sqrt(8) of it; Adam hides a constant factor."""
    settings = {"optimizer": optimizer, "momentum": 0, "weight_decay": 0.02}
    large = after_steps([1, 10_000], clip_norm=0.5, **settings)
    assert large == pytest.approx(after_steps([0.5 / math.sqrt(8)] * 2, clip_norm=0, **settings))
    assert large != pytest.approx(after_steps([1, 10_000], clip_norm=0, **settings), rel=1e-3)
    small = 0.1 / math.sqrt(8)
    assert after_steps([small], clip_norm=0.5, **settings) == after_steps([small], clip_norm=0, **settings)


def adam(gradients: list[float], beta_2: float, decay: float) -> float:
    """Kingma and Ba, 2014, arXiv:1412.6980, algorithm 1; with decoupled weight decay."""
    weight, mean, square = 1.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        weight -= RATE * decay * weight
        mean, square = 0.9 * mean + 0.1 * gradient, beta_2 * square + (1 - beta_2) * gradient**2
        weight -= RATE * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - beta_2**step)) + 1e-7)
    return weight


@pytest.mark.parametrize("beta_2", [0.9, 0.999])
def test_adam_and_adamw_are_those_of_their_sources(beta_2: float) -> None:
    gradients = [0.5, -2.0, 0.25]
    settings = {"beta_2": beta_2, "weight_decay": 0.3, "clip_norm": 0}
    kernel, bias = after_steps(gradients, optimizer="adam", **settings)
    assert kernel == bias == pytest.approx(adam(gradients, beta_2, 0), rel=1e-4)
    kernel, bias = after_steps(gradients, optimizer="adamw", **settings)
    assert kernel == pytest.approx(adam(gradients, beta_2, 0.3), rel=1e-4)
    assert bias == pytest.approx(adam(gradients, beta_2, 0), rel=1e-4), "biases do not decay"
