"""A network during its fit: training steps and evaluation.

Its whole state is in TensorFlow variables, all of which a checkpoint stores.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the first import

import keras
import tensorflow as tf

from models import networks
from models.arrays import Pixels
from models.networks import Tensors
from training.network.batch_norm import recompute_batch_norm, with_fused_batch_norm
from training.network.evaluation import LabelMeasure, TeacherMeasure
from training.network.history import TeacherMetrics, TopMetrics
from training.network.images.batches import Examples, TrainingBatch
from training.network.losses import (
    LABELS,
    TEACHER,
    TaskLosses,
    dense_penalty,
    forward,
    output_logits,
    task_losses,
    weighted_sum,
)
from training.network.optimizers import build_optimizer, learning_rate
from training.recipes.network import Fit, Network, Task
from training.runtime.tensorflow import set_deterministic_threads


@dataclass(frozen=True)
class StepResult:
    """The losses of one step on its batch before the step, by task.

    Attributes:
        losses: cross-entropy with the labels.
        teacher_losses: divergence from the teacher.
        is_skipped: True if the gradients were not finite, and nothing was changed.
    """

    losses: dict[str, float]
    teacher_losses: dict[str, float]
    is_skipped: bool


class Trainer:
    """A network and the optimizer that fits it."""

    def __init__(
        self,
        network: Network,
        fit: Fit,
        tops: Mapping[str, int],
        seed: int,
        initial_weights: Tensors | None,
        steps: int,
    ) -> None:
        """Build the network and load its initial weights.

        Args:
            network: architecture, input size and tasks.
            fit: settings of the fit.
            tops: name -> number of classes, of the tasks with labels in their order, then of the teacher's.
            seed: of random weights and of dropout.
            initial_weights: tops that they lack start with random weights; None: everything does.
            steps: of the whole fit, over which the learning rate decays.

        Raises:
            WeightsError: there is no such network, or the weights belong to another one.
        """
        set_deterministic_threads(fit.parts)
        keras.utils.set_random_seed(seed)
        any_size = fit.early is not None
        self._sigmoids = [task.top for task in network.tasks if task.sigmoid]
        units = {top: 1 if top in self._sigmoids else width for top, width in tops.items()}
        self._teacher_top = network.teacher.top if network.teacher else ""
        self._model = networks.build(network.architecture, network.size, units, dropout=fit.dropout, any_size=any_size)
        self._model = with_fused_batch_norm(self._model)
        if initial_weights is not None:
            networks.set_tensors(self._model, initial_weights, skip_mismatched_dense=True)
        _set_momentum(self._model, fit.batch_norm_momentum)
        if self._teacher_top:
            output_logits(self._model, self._teacher_top)
        _freeze(self._model, fit.frozen_layers)
        self._rate = learning_rate(fit, steps)
        self._optimizer = build_optimizer(fit, self._rate, self._model)
        self._kept = [tf.Variable(weight.value) for weight in self._model.weights] if fit.stop else []
        self._train_step = _build_train_step(self._model, self._optimizer, network, fit)
        self._predict = _build_predict(self._model, network.size)

    @property
    def variables(self) -> list[tf.Variable]:
        """The whole state: weights, kept weights, dropout's random state, the optimizer's moments and step counter."""
        state = [variable.value for variable in (*self._model.variables, *self._optimizer.variables)]
        return state + self._kept

    @property
    def steps_done(self) -> int:
        """Steps done so far."""
        return int(self._optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._rate(self.steps_done))

    def train_step(self, batch: TrainingBatch) -> StepResult:
        """Take one step, or skip it if its gradients are not finite."""
        losses, is_finite = self._train_step(batch.pixels, batch.labels, batch.teacher)
        of_labels, of_teacher = ({top: float(loss) for top, loss in losses[kind].items()} for kind in (LABELS, TEACHER))
        return StepResult(of_labels, of_teacher, is_skipped=not bool(is_finite))

    def use_averaged_weights(self) -> None:
        """Set the weights to their moving average; needs `ema_momentum`."""
        self._optimizer.finalize_variable_values(self._model.trainable_variables)

    def recompute_batch_norm(self, batches: Iterable[Pixels]) -> None:
        """Recompute the batch normalization statistics on these batches."""
        recompute_batch_norm(self._model, batches)

    def evaluate(self, task: Task, chunks: Iterable[Examples]) -> tuple[TopMetrics | None, TeacherMetrics | None]:
        """Measure a task in inference mode: by its labels, and by its teacher, as far as they count."""
        by_labels, by_teacher = LabelMeasure(), TeacherMeasure()
        for pixels, labels, teacher in chunks:
            outputs = self._predict(pixels)
            if task.is_labelled:
                by_labels.add(outputs[task.top].numpy(), labels)
            if teacher is not None:
                by_teacher.add(outputs[self._teacher_top].numpy(), teacher)
        return by_labels.metrics(), by_teacher.metrics()

    def keep_weights(self) -> None:
        """Store the current weights as the best so far; does nothing without early stopping."""
        for kept, weight in zip(self._kept, self._model.weights, strict=True):
            kept.assign(weight.value)

    def restore_kept_weights(self) -> None:
        """Set the network to the weights that were kept last."""
        for kept, weight in zip(self._kept, self._model.weights, strict=True):
            weight.assign(kept)

    def export_tensors(self) -> Tensors:
        """Return the weights as a weights file stores them; a sigmoid unit as the equivalent softmax."""
        tensors = networks.get_tensors(self._model)
        for top in self._sigmoids:
            tensors |= networks.sigmoid_to_softmax(tensors, top)
        return tensors


def _set_momentum(model: keras.Model, momentum: float) -> None:
    """Set the momentum of batch normalization; Keras's default of 0.99 is too slow for a few thousand steps."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def _freeze(model: keras.Model, layers: int) -> None:
    """Freeze the weights of the first layers; batch normalization still uses the statistics of the batch."""
    for layer in model.layers[:layers]:
        for variable in layer.trainable_variables:
            variable.trainable = False


def _build_train_step(model: keras.Model, optimizer: Any, network: Network, fit: Fit) -> Any:
    """Build the graph of one step, from uint8 pixels to new weights. The batch contains the tasks' images in order.

    The parts of a batch depend on each other only where their gradients are averaged, so TensorFlow computes them
    concurrently. If the gradients are not finite, the step changes neither weights, moments nor statistics of batch
    normalization; only the step counter advances.
    """
    weights = model.trainable_variables
    statistics = [variable.value for variable in _statistics(model)]

    def step(
        pixels: tf.Tensor, labels: Sequence[tf.Tensor], teacher: Sequence[tf.Tensor]
    ) -> tuple[TaskLosses, tf.Tensor]:
        before = [tf.identity(value) for value in statistics]
        images = tf.split(pixels, [task.batch for task in network.tasks])
        parts = zip(*(_split_into_parts(tensors, fit.parts) for tensors in (images, labels, teacher)), strict=True)
        losses, gradients = zip(*(_gradients(model, network, fit, *part) for part in parts), strict=True)
        means = [_mean(of_parts) for of_parts in zip(*gradients, strict=True)]
        is_finite = tf.math.is_finite(tf.linalg.global_norm(means))

        def take() -> None:
            optimizer.apply(means, weights)

        def skip() -> None:
            for statistic, value in zip(statistics, before, strict=True):
                statistic.assign(value)
            optimizer.iterations.assign_add(1)

        tf.cond(is_finite, take, skip)
        return tf.nest.map_structure(lambda *of_parts: _mean(of_parts), *losses), is_finite

    return tf.function(step, autograph=False)


def _statistics(model: keras.Model) -> list[keras.Variable]:
    """Return the moving means and variances of batch normalization."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]


def _split_into_parts(tensors: Sequence[tf.Tensor], parts: int) -> list[tuple[tf.Tensor, ...]]:
    """Split every tensor into equal parts and return part by part."""
    split = [tf.split(tensor, parts) for tensor in tensors]
    return [tuple(of_tensor[number] for of_tensor in split) for number in range(parts)]


def _gradients(
    model: keras.Model,
    network: Network,
    fit: Fit,
    images: Sequence[tf.Tensor],
    labels: Sequence[tf.Tensor],
    teacher: Sequence[tf.Tensor],
) -> tuple[TaskLosses, list[tf.Tensor]]:
    """Return the losses of each task, and the gradients of their weighted sum."""
    with tf.GradientTape() as tape:
        outputs = forward(model, tf.concat(images, 0), training=True)
        losses = task_losses(network, fit.label_smoothing, outputs, labels, teacher)
        total = weighted_sum(network, losses)
        if fit.l2:
            total += fit.l2 * dense_penalty(model)
    return losses, tape.gradient(total, model.trainable_variables)


def _mean(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(tensors) / len(tensors) if len(tensors) > 1 else tensors[0]


def _build_predict(model: keras.Model, size: int) -> Any:
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return forward(model, pixels, training=False)

    return tf.function(predict, autograph=False, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])
