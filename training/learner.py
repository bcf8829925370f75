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
from models.heads import Integers
from models.image import Pixels
from models.networks import Tensors
from training.batches import Batch
from training.history import Figures
from training.normalization import with_fused_normalization
from training.recipe import Fit, Network, Task
from training.threads import one_operation_at_a_time


class Learner:
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
        one_operation_at_a_time()
        keras.utils.set_random_seed(seed)
        any_size = fit.early is not None
        self._model = networks.build(network.architecture, network.size, tops, dropout=fit.dropout, any_size=any_size)
        self._model = with_fused_normalization(self._model)
        if start is not None:
            networks.assign(self._model, start, skip_tops=True)
        _set_momentum(self._model, fit.batch_norm_momentum)
        _freeze(self._model, fit.frozen_layers)
        self._rate = _warm_up_then_cosine(fit, steps)
        self._optimizer = _adamw(fit, self._rate, self._model)
        self._fit = _fit_step(self._model, self._optimizer, network.tasks, fit.label_smoothing)
        self._predict = _predict(self._model, network.size)

    @property
    def variables(self) -> list[tf.Variable]:
        """The whole state: weights, dropout's random state, the optimizer's moments and its count of steps."""
        return [variable.value for variable in (*self._model.variables, *self._optimizer.variables)]

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

    def measure(self, top: str, chunks: Iterable[tuple[Pixels, Integers]]) -> Figures:
        """Accuracy and mean log loss of a top on images as they are, in inference mode."""
        right, loss, count = 0, 0.0, 0
        for pixels, labels in chunks:
            probabilities = self._predict(pixels)[top].numpy()
            right += int((probabilities.argmax(axis=1) == labels).sum())
            loss -= float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).sum())
            count += len(labels)
        return Figures(images=count, accuracy=right / count, log_loss=loss / count)

    def tensors(self) -> Tensors:
        """The weights as a weights file holds them."""
        return networks.tensors(self._model)


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


def _warm_up_then_cosine(fit: Fit, steps: int) -> Any:
    """In a line up to the learning rate, then down to 0 on a cosine (Loshchilov, Hutter, 2017, arXiv:1608.03983).

    A fit that is shorter than the recipe thought warms up for half of its steps.
    """
    warmup = min(fit.warmup_steps, steps // 2)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(fit.learning_rate, max(1, steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=fit.learning_rate, warmup_steps=warmup
    )


def _adamw(fit: Fit, rate: Any, model: keras.Model) -> Any:
    """AdamW (Loshchilov, Hutter, 2019, arXiv:1711.05101); biases and batch normalisation do not decay."""
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=fit.weight_decay, beta_2=fit.beta_2, global_clipnorm=fit.clip_norm
    )
    vectors = [variable for variable in model.trainable_variables if len(variable.shape) == 1]
    optimizer.exclude_from_weight_decay(vectors)
    optimizer.build(model.trainable_variables)
    return optimizer


def _fit_step(model: keras.Model, optimizer: Any, tasks: Sequence[Task], label_smoothing: float) -> Any:
    """One graph from uint8 pixels to new weights; the tasks' images stand one after another in the batch."""

    def step(pixels: tf.Tensor, labels: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        losses, total, begin = {}, 0.0, 0
        with tf.GradientTape() as tape:
            outputs = model(networks.scale(pixels), training=True)
            for task, own in zip(tasks, labels, strict=True):
                probabilities = outputs[task.top][begin : begin + task.batch]
                losses[task.top] = _cross_entropy(own, probabilities, label_smoothing)
                total += task.loss_weight * losses[task.top]
                begin += task.batch
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return losses

    return tf.function(step)


def _cross_entropy(labels: tf.Tensor, probabilities: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Mean cross-entropy with smoothed labels (Szegedy et al., 2015, arXiv:1512.00567, section 7)."""
    targets = tf.one_hot(labels, probabilities.shape[-1])
    losses = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=smoothing)
    return tf.reduce_mean(losses)


def _predict(model: keras.Model, size: int) -> Any:
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs: dict[str, tf.Tensor] = model(networks.scale(pixels), training=False)
        return outputs

    return tf.function(predict, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])
