"""The losses of a fit: cross-entropy with the labels, and divergence from the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from models import networks
from training.recipes.network import Network

#: Losses by task, of each kind.
TaskLosses = dict[str, dict[str, tf.Tensor]]
LABELS, TEACHER = "labels", "teacher"


def output_logits(model: keras.Model, top: str) -> None:
    """Let a top output logits instead of probabilities.

    The logarithm of a probability that was rounded to 0 has no finite gradient.
    """
    model.get_layer(top).activation = keras.activations.linear


def forward(model: keras.Model, pixels: tf.Tensor, *, training: bool) -> dict[str, tf.Tensor]:
    """Return all outputs for uint8 pixels; a sigmoid unit as the probabilities of both classes."""
    outputs = model(networks.scale(pixels, networks.scaling_of(model.name)), training=training)
    return {name: tf.concat([1 - value, value], 1) if value.shape[1] == 1 else value for name, value in outputs.items()}


def task_losses(
    network: Network,
    smoothing: float,
    outputs: Mapping[str, tf.Tensor],
    labels: Sequence[tf.Tensor],
    taught: Sequence[tf.Tensor],
) -> TaskLosses:
    """Return the losses of each task, not weighted.

    Args:
        network: its tasks, and the temperature of its teacher.
        smoothing: of the labels.
        outputs: of the network for the images of all tasks in their order; those of the teacher's top are logits.
        labels: int64 [images] of each task.
        taught: probabilities by the teacher, float32 [images, classes], of each task that it teaches.
    """
    counts = [of_task.shape[0] for of_task in labels]

    def rows(top: str, number: int) -> tf.Tensor:
        return tf.split(outputs[top], counts)[number]

    losses: TaskLosses = {LABELS: {}, TEACHER: {}}
    targets = iter(taught)
    for number, task in enumerate(network.tasks):
        if task.is_labelled:
            losses[LABELS][task.top] = _cross_entropy(labels[number], rows(task.top, number), smoothing)
        if task.is_taught:
            assert network.teacher is not None
            logits = rows(network.teacher.top, number)
            losses[TEACHER][task.top] = distillation_loss(next(targets), logits, network.teacher.temperature)
    return losses


def weighted_sum(network: Network, losses: TaskLosses) -> tf.Tensor:
    """Return the sum of the losses by the weights of the recipe."""
    by_kind = {
        LABELS: {task.top: task.loss_weight for task in network.tasks},
        TEACHER: {task.top: task.teacher_weight for task in network.tasks},
    }
    return tf.add_n([by_kind[kind][top] * loss for kind, of_tops in losses.items() for top, loss in of_tops.items()])


def dense_penalty(model: keras.Model) -> tf.Tensor:
    """Return the sum of squares of the kernels of the dense layers below the tops."""
    below = [layer for layer in model.layers if layer.name not in model.output]
    kernels = [layer.kernel.value for layer in below if isinstance(layer, keras.layers.Dense)]
    return tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in kernels])


def distillation_loss(teacher: tf.Tensor, logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the mean Kullback-Leibler divergence (nats) of softened outputs, times the square of the temperature.

    The square keeps the size of the gradients independent of the temperature (Hinton et al., 2015, arXiv:1503.02531,
    section 2).

    Args:
        teacher: probabilities, float32 [n, classes].
        logits: of the network, float32 [n, classes].
        temperature: divides the logits of both.
    """
    softened = tf.pow(teacher, 1 / temperature)  # no gradient passes here, so a probability of 0 does no harm
    targets = softened / tf.reduce_sum(softened, axis=1, keepdims=True)
    entropy = -tf.reduce_sum(tf.math.xlogy(targets, targets), axis=1)
    # Automatic mixed precision leaves this operation in float32, but not a logarithm of a softmax.
    cross_entropy = tf.nn.softmax_cross_entropy_with_logits(targets, logits / temperature)
    return temperature**2 * tf.reduce_mean(cross_entropy - entropy)


def _cross_entropy(labels: tf.Tensor, outputs: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Return the mean cross-entropy with label smoothing (Szegedy et al., 2015, arXiv:1512.00567, section 7)."""
    targets = tf.one_hot(labels, outputs.shape[-1])
    losses = keras.losses.categorical_crossentropy(targets, outputs, label_smoothing=smoothing)
    return tf.reduce_mean(losses)
