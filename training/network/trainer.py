"""A network during its fit: training steps and evaluation.

Its whole state is in TensorFlow variables, all of which a checkpoint stores.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the first import

import keras
import tensorflow as tf

from models import networks
from models.arrays import Integers, Pixels
from models.networks import Tensors
from training.network.batch_norm import recompute_batch_norm, with_fused_batch_norm
from training.network.batches import TrainingBatch
from training.network.history import TopMetrics
from training.network.optimizers import build_optimizer, learning_rate
from training.recipes.network import Fit, Network, Task
from training.runtime.tensorflow import set_deterministic_threads


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
            tops: name -> number of classes, in the order of the tasks.
            seed: of random weights and of dropout.
            initial_weights: tops that they lack start with random weights; None: everything does.
            steps: of the whole fit, over which the learning rate decays.

        Raises:
            WeightsError: there is no such network, or the weights belong to another one.
        """
        set_deterministic_threads(fit.parts)
        keras.utils.set_random_seed(seed)
        any_size = fit.early is not None
        units = {task.top: 1 if task.sigmoid else tops[task.top] for task in network.tasks}
        self._sigmoids = [top for top, width in units.items() if width == 1]
        self._model = networks.build(network.architecture, network.size, units, dropout=fit.dropout, any_size=any_size)
        self._model = with_fused_batch_norm(self._model)
        if initial_weights is not None:
            networks.set_tensors(self._model, initial_weights, skip_mismatched_dense=True)
        _set_momentum(self._model, fit.batch_norm_momentum)
        _freeze(self._model, fit.frozen_layers)
        self._rate = learning_rate(fit, steps)
        self._optimizer = build_optimizer(fit, self._rate, self._model)
        self._kept = [tf.Variable(weight.value) for weight in self._model.weights] if fit.stop else []
        self._train_step = _build_train_step(self._model, self._optimizer, network.tasks, fit)
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

    def train_step(self, batch: TrainingBatch) -> dict[str, float]:
        """Take one step and return the loss of each top on the batch before the step."""
        return {top: float(loss) for top, loss in self._train_step(batch.pixels, batch.labels).items()}

    def recompute_batch_norm(self, batches: Iterable[Pixels]) -> None:
        """Recompute the batch normalization statistics on these batches."""
        recompute_batch_norm(self._model, batches)

    def evaluate(self, top: str, chunks: Iterable[tuple[Pixels, Integers]]) -> TopMetrics:
        """Measure accuracy and mean log loss (nats) of a top in inference mode."""
        correct, loss, count = 0, 0.0, 0
        for pixels, labels in chunks:
            probabilities = self._predict(pixels)[top].numpy()
            correct += int((probabilities.argmax(axis=1) == labels).sum())
            loss -= float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).sum())
            count += len(labels)
        return TopMetrics(images=count, accuracy=correct / count, log_loss=loss / count)

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


def _build_train_step(model: keras.Model, optimizer: Any, tasks: Sequence[Task], fit: Fit) -> Any:
    """Build the graph of one step, from uint8 pixels to new weights. The batch contains the tasks' images in order.

    The parts of a batch depend on each other only where their gradients are averaged, so TensorFlow computes them
    concurrently.
    """

    def step(pixels: tf.Tensor, labels: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        images = tf.split(pixels, [task.batch for task in tasks])
        parts = zip(_split_into_parts(images, fit.parts), _split_into_parts(labels, fit.parts), strict=True)
        losses, gradients = zip(*(_gradients(model, tasks, *part, fit) for part in parts), strict=True)
        optimizer.apply([_mean(of_parts) for of_parts in zip(*gradients, strict=True)], model.trainable_variables)
        return {task.top: _mean(of_parts) for task, of_parts in zip(tasks, zip(*losses, strict=True), strict=True)}

    return tf.function(step, autograph=False)


def _split_into_parts(tensors: Sequence[tf.Tensor], parts: int) -> list[tuple[tf.Tensor, ...]]:
    """Split every tensor into equal parts and return part by part."""
    return list(zip(*(tf.split(tensor, parts) for tensor in tensors), strict=True))


def _gradients(
    model: keras.Model,
    tasks: Sequence[Task],
    images: Sequence[tf.Tensor],
    labels: Sequence[tf.Tensor],
    fit: Fit,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return the loss of each task, and the gradients of their weighted sum."""
    counts = [task_labels.shape[0] for task_labels in labels]
    with tf.GradientTape() as tape:
        outputs = _probabilities(model, tf.concat(images, 0), training=True)
        rows = [tf.split(outputs[task.top], counts)[number] for number, task in enumerate(tasks)]
        losses = [
            _cross_entropy(task_labels, task_rows, fit.label_smoothing)
            for task_labels, task_rows in zip(labels, rows, strict=True)
        ]
        total = tf.add_n([task.loss_weight * loss for task, loss in zip(tasks, losses, strict=True)])
        if fit.l2:
            total += fit.l2 * tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in _dense_kernels(model, tasks)])
    return losses, tape.gradient(total, model.trainable_variables)


def _probabilities(model: keras.Model, pixels: tf.Tensor, *, training: bool) -> dict[str, tf.Tensor]:
    """Return all outputs for uint8 pixels; a sigmoid unit as the probabilities of both classes."""
    outputs = model(networks.scale(pixels, networks.scaling_of(model.name)), training=training)
    return {name: tf.concat([1 - value, value], 1) if value.shape[1] == 1 else value for name, value in outputs.items()}


def _dense_kernels(model: keras.Model, tasks: Sequence[Task]) -> list[tf.Variable]:
    """Return the kernels of the dense layers below the tops."""
    below = [layer for layer in model.layers if layer.name not in {task.top for task in tasks}]
    return [layer.kernel.value for layer in below if isinstance(layer, keras.layers.Dense)]


def _mean(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(tensors) / len(tensors) if len(tensors) > 1 else tensors[0]


def _cross_entropy(labels: tf.Tensor, probabilities: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Return the mean cross-entropy with label smoothing (Szegedy et al., 2015, arXiv:1512.00567, section 7)."""
    targets = tf.one_hot(labels, probabilities.shape[-1])
    losses = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=smoothing)
    return tf.reduce_mean(losses)


def _build_predict(model: keras.Model, size: int) -> Any:
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return _probabilities(model, pixels, training=False)

    return tf.function(predict, autograph=False, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])
