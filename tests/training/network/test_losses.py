"""The loss by a teacher, and the metrics that compare a network with it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from tests.support import taught_fit, tiny_fit
from training.network.evaluation import LabelMeasure, TeacherMeasure
from training.network.losses import LABELS, TEACHER, distillation_loss, task_losses, weighted_sum
from training.recipes.network import Network

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((6, 3)).astype(np.float32) * 4
TEACHER_LOGITS = RANDOM.standard_normal((6, 3)).astype(np.float32) * 4
PROBABILITIES = softmax(TEACHER_LOGITS, axis=1)


@pytest.mark.parametrize("temperature", [1, 2, 5])
def test_loss_is_the_divergence_at_the_temperature_times_its_square(temperature: float) -> None:
    targets = softmax(TEACHER_LOGITS / temperature, axis=1)
    ratio = np.log(targets) - log_softmax(LOGITS / temperature, axis=1)
    expected = temperature**2 * (targets * ratio).sum(axis=1).mean()
    assert float(distillation_loss(PROBABILITIES, LOGITS, temperature)) == pytest.approx(expected, rel=1e-4)


def test_loss_is_zero_if_network_and_teacher_agree() -> None:
    assert float(distillation_loss(PROBABILITIES, TEACHER_LOGITS + 3, 2)) == pytest.approx(0, abs=1e-5)


def test_gradient_is_finite_where_probabilities_are_rounded_to_zero() -> None:
    logits = tf.Variable([[400.0, 0.0, -400.0]])
    with tf.GradientTape() as tape:
        loss = distillation_loss(np.array([[0, 1, 0]], np.float32), logits, 2)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[2, -2, 0]], atol=1e-5)
    assert float(loss) == pytest.approx(4 * 200)


def _network() -> Network:
    colours, stripes = tiny_fit.network().tasks
    taught = colours.model_copy(update={"loss_weight": 0.5, "teacher_weight": 2.5})
    return taught_fit.network(taught, stripes, taught_fit.UNLABELLED.model_copy(update={"teacher_weight": 10.0}))


def test_each_task_is_compared_with_its_own_targets_and_weighted() -> None:
    outputs = {"colours": softmax(LOGITS, axis=1), "stripes": softmax(LOGITS[:, :2], axis=1), "taught": LOGITS}
    outputs = {top: tf.constant(value) for top, value in outputs.items()}
    labels = [tf.constant([0, 1]), tf.constant([1]), tf.constant([0, 0, 0])]
    taught = [tf.constant(PROBABILITIES[:2]), tf.constant(PROBABILITIES[3:])]
    losses = task_losses(_network(), 0.0, outputs, labels, taught)
    assert losses.keys() == {LABELS, TEACHER}
    assert losses[LABELS].keys() == {"colours", "stripes"}, "the third task has no labels"
    own = log_softmax(LOGITS, axis=1)
    assert float(losses[LABELS]["colours"]) == pytest.approx(-(own[0, 0] + own[1, 1]) / 2, rel=1e-4)
    expected = {
        "colours": float(distillation_loss(PROBABILITIES[:2], LOGITS[:2], 2)),
        "noise": float(distillation_loss(PROBABILITIES[3:], LOGITS[3:], 2)),
    }
    assert {top: float(loss) for top, loss in losses[TEACHER].items()} == pytest.approx(expected)
    total = 0.5 * losses[LABELS]["colours"] + 0.5 * losses[LABELS]["stripes"]
    total += 2.5 * losses[TEACHER]["colours"] + 10 * losses[TEACHER]["noise"]
    assert float(weighted_sum(_network(), losses)) == pytest.approx(float(total))


def test_agreement_and_divergence_are_means_over_all_images() -> None:
    measure = TeacherMeasure()
    measure.add(LOGITS[:4], PROBABILITIES[:4])
    measure.add(LOGITS[4:], PROBABILITIES[4:])
    metrics = measure.metrics()
    assert metrics is not None
    assert metrics.images == 6
    assert metrics.agreement == (LOGITS.argmax(axis=1) == PROBABILITIES.argmax(axis=1)).mean()
    divergence = (PROBABILITIES * (np.log(PROBABILITIES) - log_softmax(LOGITS, axis=1))).sum(axis=1)
    assert metrics.divergence == pytest.approx(divergence.mean(), rel=1e-5)


def test_nothing_is_measured_without_images() -> None:
    assert TeacherMeasure().metrics() is None
    assert LabelMeasure().metrics() is None
