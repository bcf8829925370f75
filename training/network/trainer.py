"""A network while it is fitted: one step, and a look at how well it does.

All of its state is in variables, and a checkpoint holds every one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # has to be set before the first import

import keras
import tensorflow as tf

from models import networks
from models.arrays import Pixels
from models.heads import Integers
from models.networks import Tensors
from training.network.batch_norm import with_fused_normalization
from training.network.batches import Batch
from training.network.history import Figures
from training.network.optimizers import learning_rate, optimizer
from training.network.statistics import recompute_batch_norm
from training.recipes.schema import Fit, Network, Task
from training.runtime.threads import deterministic_threads


class Trainer:
    """A network and the optimizer that fits it."""

    def __init__(
        self, network: Network, fit: Fit, tops: Mapping[str, int], seed: int, start: Tensors | None, steps: int
    ) -> None:
        """Build the network and load its start weights.

        Args:
            network: architecture, input size and tasks.
            fit: how it is fitted.
            tops: name -> number of classes, in the order of the tasks.
            seed: of random weights and of dropout.
            start: weights to start from; tops that they lack start at random.
            steps: of the whole fit, over which the learning rate falls.

        Raises:
            WeightsError: there is no such network, or the weights are not of it.
        """
        deterministic_threads(fit.parts)
        keras.utils.set_random_seed(seed)
        any_size = fit.early is not None
        units = {task.top: 1 if task.sigmoid else tops[task.top] for task in network.tasks}
        self._sigmoids = [top for top, width in units.items() if width == 1]
        self._model = networks.build(network.architecture, network.size, units, dropout=fit.dropout, any_size=any_size)
        self._model = with_fused_normalization(self._model)
        if start is not None:
            networks.assign(self._model, start, skip_dense=True)
        _set_momentum(self._model, fit.batch_norm_momentum)
        _freeze(self._model, fit.frozen_layers)
        self._rate = learning_rate(fit, steps)
        self._optimizer = optimizer(fit, self._rate, self._model)
        self._kept = [tf.Variable(weight.value) for weight in self._model.weights] if fit.stop else []
        self._fit = _fit_step(self._model, self._optimizer, network.tasks, fit)
        self._predict = _predict(self._model, network.size)

    @property
    def variables(self) -> list[tf.Variable]:
        """The whole state: weights, kept ones, dropout's random state, the optimizer's moments and count of steps."""
        state = [variable.value for variable in (*self._model.variables, *self._optimizer.variables)]
        return state + self._kept

    @property
    def step(self) -> int:
        """Steps done so far."""
        return int(self._optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self._rate(self.step))

    def fit(self, batch: Batch) -> dict[str, float]:
        """Take one step; gives the loss of each top on the batch, as it was before it."""
        return {top: float(loss) for top, loss in self._fit(batch.pixels, batch.labels).items()}

    def recompute_batch_norm(self, batches: Iterable[Pixels]) -> None:
        """Take the statistics of batch normalisation anew, from images as they are."""
        recompute_batch_norm(self._model, batches)

    def measure(self, top: str, chunks: Iterable[tuple[Pixels, Integers]]) -> Figures:
        """Accuracy and mean log loss of a top on images as they are, in inference mode."""
        right, loss, count = 0, 0.0, 0
        for pixels, labels in chunks:
            probabilities = self._predict(pixels)[top].numpy()
            right += int((probabilities.argmax(axis=1) == labels).sum())
            loss -= float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).sum())
            count += len(labels)
        return Figures(images=count, accuracy=right / count, log_loss=loss / count)

    def keep(self) -> None:
        """Keep the weights as they are now, where the recipe has a `stop`."""
        for kept, weight in zip(self._kept, self._model.weights, strict=True):
            kept.assign(weight.value)

    def take_kept(self) -> None:
        """Go back to the weights that were kept last."""
        for kept, weight in zip(self._kept, self._model.weights, strict=True):
            weight.assign(kept)

    def tensors(self) -> Tensors:
        """The weights as a weights file holds them; a sigmoid unit as the softmax that answers the same."""
        tensors = networks.tensors(self._model)
        for top in self._sigmoids:
            tensors |= networks.as_softmax(tensors, top)
        return tensors


def _set_momentum(model: keras.Model, momentum: float) -> None:
    """Keras's own 0.99 follows a fit of a few thousand steps too slowly."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def _freeze(model: keras.Model, layers: int) -> None:
    """Keep weights; batch normalisation still takes its statistics from the batch."""
    for layer in model.layers[:layers]:
        for variable in layer.trainable_variables:
            variable.trainable = False


def _fit_step(model: keras.Model, optimizer: Any, tasks: Sequence[Task], fit: Fit) -> Any:
    """One graph from uint8 pixels to new weights; the tasks' images stand one after another in the batch.

    The parts of a batch depend on each other only where their gradients are averaged, so TensorFlow computes them side
    by side.
    """

    def step(pixels: tf.Tensor, labels: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        images = tf.split(pixels, [task.batch for task in tasks])
        parts = zip(_in_parts(images, fit.parts), _in_parts(labels, fit.parts), strict=True)
        losses, gradients = zip(*(_gradients(model, tasks, *part, fit) for part in parts), strict=True)
        optimizer.apply([_mean(same) for same in zip(*gradients, strict=True)], model.trainable_variables)
        return {task.top: _mean(same) for task, same in zip(tasks, zip(*losses, strict=True), strict=True)}

    return tf.function(step)


def _in_parts(tensors: Sequence[tf.Tensor], parts: int) -> list[tuple[tf.Tensor, ...]]:
    """The same share of every tensor, for each part."""
    return list(zip(*(tf.split(tensor, parts) for tensor in tensors), strict=True))


def _gradients(
    model: keras.Model,
    tasks: Sequence[Task],
    images: Sequence[tf.Tensor],
    labels: Sequence[tf.Tensor],
    fit: Fit,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The loss of each task, and the gradients of their weighted sum."""
    counts = [own.shape[0] for own in labels]
    with tf.GradientTape() as tape:
        outputs = _probabilities(model, tf.concat(images, 0), training=True)
        own_rows = [tf.split(outputs[task.top], counts)[number] for number, task in enumerate(tasks)]
        losses = [_cross_entropy(own, rows, fit.label_smoothing) for own, rows in zip(labels, own_rows, strict=True)]
        total = tf.add_n([task.loss_weight * loss for task, loss in zip(tasks, losses, strict=True)])
        if fit.l2:
            total += fit.l2 * tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in _dense_kernels(model, tasks)])
    return losses, tape.gradient(total, model.trainable_variables)


def _probabilities(model: keras.Model, pixels: tf.Tensor, *, training: bool) -> dict[str, tf.Tensor]:
    """uint8 pixels -> every output; of a sigmoid unit both classes, as of a softmax."""
    outputs = model(networks.scale(pixels, networks.scaling(model.name)), training=training)
    return {name: tf.concat([1 - value, value], 1) if value.shape[1] == 1 else value for name, value in outputs.items()}


def _dense_kernels(model: keras.Model, tasks: Sequence[Task]) -> list[tf.Variable]:
    """Of the dense layers below the tops."""
    below = [layer for layer in model.layers if layer.name not in {task.top for task in tasks}]
    return [layer.kernel.value for layer in below if isinstance(layer, keras.layers.Dense)]


def _mean(same: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(same) / len(same) if len(same) > 1 else same[0]


def _cross_entropy(labels: tf.Tensor, probabilities: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Mean cross-entropy with smoothed labels (Szegedy et al., 2015, arXiv:1512.00567, section 7)."""
    targets = tf.one_hot(labels, probabilities.shape[-1])
    losses = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=smoothing)
    return tf.reduce_mean(losses)


def _predict(model: keras.Model, size: int) -> Any:
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return _probabilities(model, pixels, training=False)

    return tf.function(predict, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])
