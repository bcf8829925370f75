"""A recipe: everything that decides what comes out of a training run, as data.

Recipes are TOML files. They are stored whole in the manifests of what they make.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.preprocess import PreprocessSpec
from training.errors import RecipeError
from training.estimators.heads import FITTED_KINDS, AnyHead
from training.network.augment import Warp
from training.network.early_stopping import EarlyStopping

RECIPES = Path(__file__).parent


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _later(default: Any, **description: Any) -> Any:
    """A field that recipes have not always had: one without it stays the same recipe, and finds its checkpoints."""
    return Field(default, exclude_if=lambda value: value == default, **description)


class Data(_Part):
    """A labelled set: a folder or archive with one folder for each split, and in it one for each class."""

    path: str = Field(description="below the data folder, unless --data says where it lies")
    train: str = "train"
    valid: str = _later(
        "", description="folder of the images on which a fit is measured after each pass; empty: the held-out 5 %"
    )
    test: str | None = Field("test", description="empty where there is none")
    test_once: bool = _later(
        False, description="a repeated run does not measure the test set again, but reads what the first run measured"
    )
    names: dict[str, str] = Field({}, description="class folder -> plain name, where classes.tsv has a worse one")


class Task(_Part):
    """One dataset in a joint fit: it has a softmax of its own (a top) on the shared network."""

    top: str
    data: Data
    preprocess: PreprocessSpec
    batch: int = Field(ge=1, description="images of this set in every step")
    loss_weight: float = Field(1.0, gt=0)
    crop_border: int = Field(0, ge=0, description="px of reflected border for random crops, at the source size")
    smallest_area: float = Field(1, gt=0, le=1, description="share of the image that a random crop keeps at least")
    warp: Warp | None = _later(None)
    sigmoid: bool = _later(False, description="of two classes, one unit: the probability of the second")
    classes: tuple[str, ...] = Field((), description="order of the top's columns; none: sorted")


class Early(_Part):
    """Smaller images at first (progressive resizing): most is learned from them, in less time."""

    size: int = Field(ge=32, description="side of the network's input in the early steps, px")
    share: float = Field(gt=0, lt=1, description="of all steps")


class Fit(_Part):
    """How a network is fitted on its tasks."""

    passes: float = Field(ge=0, description="over the largest of the datasets")
    optimizer: Literal["adamw", "adam", "sgd"] = _later("adamw")
    learning_rate: float = Field(gt=0)
    rate: Literal["cosine", "constant"] = _later("cosine", description="after the warm-up: down to 0, or as it is")
    weight_decay: float = Field(0.02, ge=0, description="of adamw")
    beta_2: float = Field(0.99, gt=0, lt=1, description="of adamw and adam")
    momentum: float = _later(0.9, ge=0, lt=1, description="of sgd")
    l2: float = _later(0.0, ge=0, description="penalty on the squares of the kernels of dense layers, tops apart")
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float = Field(1.0, ge=0, description="of the global gradient; 0: never clipped")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm_momentum: float = Field(0.97, gt=0, lt=1)
    statistics_batches: int = Field(
        0,
        ge=0,
        description="of images as they are, of which batch normalisation takes its statistics anew after the last step",
    )
    flip: bool = True
    parts: int = Field(
        1,
        ge=1,
        description="of a batch, computed beside each other and normalised apart; best as many as there are cores",
    )
    frozen_layers: int = Field(
        0, ge=0, description="of the first layers, counted as Keras does; they keep their weights"
    )
    everything: bool = _later(False, description="fit on the held-out and the validation images too, measuring none")
    early: Early | None = None
    stop: EarlyStopping | None = _later(None)
    checkpoint_steps: int = Field(500, ge=1)

    @model_validator(mode="after")
    def _stops_at_what_it_measures(self) -> Fit:
        if self.stop and (self.everything or self.statistics_batches):
            raise ValueError("stop goes with neither everything, which measures nothing, nor statistics_batches")
        return self


class Network(_Part):
    """The network that becomes an extractor. It starts from `weights` and is fitted if there is a `fit`."""

    architecture: str
    size: int = Field(ge=32, description="side of the input, px; inception_v3 needs 75")
    weights: str = Field(description="`imagenet`, `random`, or the path of a .safetensors or Keras .h5 file")
    tasks: tuple[Task, ...] = ()
    fit: Fit | None = None
    int8: Literal["harmless", "always", "never"] = _later(
        "harmless",
        description="whether the CPU gets it in 8 bits: where its tops lose at most 0.3 points of accuracy on held-out "
        "images, calibrated on the recipe's own images in any case, or not",
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> Network:
        if self.fit and self.fit.early and self.fit.early.size >= self.size:
            raise ValueError(f"early.size is {self.fit.early.size} px, which is not smaller than {self.size} px")
        for task in self.tasks:
            if task.preprocess.size != self.size:
                raise ValueError(f"task {task.top} gives {task.preprocess.size} px to a network of {self.size} px")
            if self.fit and task.batch % self.fit.parts:
                raise ValueError(
                    f"task {task.top} has a batch of {task.batch}, which is no multiple of {self.fit.parts} parts"
                )
        return self


class Extractor(_Part):
    """The extractor by its name in the store, and which of its outputs the head reads."""

    name: str
    version: int | None = None
    output: str = "pooled"


class Tune(_Part):
    """The head's parameters are chosen by cross-validation on the training images."""

    trials: int = Field(ge=1, description="sets of parameters that are tried, the recipe's own first")
    folds: int = Field(5, ge=2)


class Card(_Part):
    """What the model card says that no program can know."""

    title: str
    about: str
    limits: tuple[str, ...] = ()
    notices: str = ""


class Probe(_Part):
    """A labelled set of another origin that is measured too and reported beside the test set."""

    name: str
    path: str = Field(description="below the folder in which the recipe's own dataset lies")
    split: str
    names: dict[str, str] = Field({}, description="class folder -> class of this classifier")


class Recipe(_Part):
    """One training run."""

    name: str = Field(description="of the classifier, or of the recipe where there is no head")
    seed: int = 0
    card: Card
    network: Network | None = Field(None, description="makes the extractor first")
    extractor: Extractor
    data: Data | None = None
    preprocess: PreprocessSpec | None = None
    head: Annotated[AnyHead, Field(discriminator="kind")] | None = None
    tune: Tune | None = Field(None, exclude_if=lambda tune: tune is None)
    probes: tuple[Probe, ...] = ()
    calibrate: bool = Field(True, description="fit a temperature on the held-out images")
    refit: bool = Field(
        False, description="at the end, fit the head again, or a network that is its own head, on all images"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Recipe:
        if self.head is not None and self.preprocess is None:
            raise ValueError("a recipe with a [head] needs a [preprocess]")
        if self.head is not None and self.head.kind != "softmax" and self.data is None:
            raise ValueError(f"a {self.head.kind} head is fitted and therefore needs [data]")
        if self.tune is not None and (self.head is None or self.head.kind == "softmax"):
            raise ValueError("[tune] needs a [head] that is fitted")
        return self

    def record(self) -> dict[str, Any]:
        """The recipe as a manifest keeps it; of a weights file its name, not where it lay."""
        record = self.model_dump(mode="json")
        if record["network"]:
            record["network"]["weights"] = Path(record["network"]["weights"]).name
        return record

    def refitting(self, passes: float) -> Recipe:
        """The recipe that fits its network on all images for so many passes."""
        assert self.network is not None
        assert self.network.fit is not None
        fit = self.network.fit.model_copy(update={"passes": passes, "stop": None, "everything": True})
        return self.model_copy(update={"network": self.network.model_copy(update={"fit": fit})})

    def changed(
        self,
        name: str | None = None,
        weights: str | None = None,
        passes: float | None = None,
        refit: bool | None = None,
    ) -> Recipe:
        """The recipe with what the command line says instead.

        Raises:
            RecipeError: it has no network that weights or passes could be of.
        """
        plain = {key: value for key, value in (("name", name), ("refit", refit)) if value is not None}
        recipe = self.model_copy(update=plain)
        if weights is None and passes is None:
            return recipe
        if recipe.network is None:
            raise RecipeError(f"{self.name} makes no network, so it takes neither --weights nor --passes.")
        network = recipe.network if weights is None else recipe.network.model_copy(update={"weights": weights})
        if passes is not None:
            if network.fit is None:
                raise RecipeError(f"{self.name} does not fit its network, so it takes no --passes.")
            network = network.model_copy(update={"fit": network.fit.model_copy(update={"passes": passes})})
        return recipe.model_copy(update={"network": network})

    def with_head(self, kind: str | None = None, output: str | None = None, trials: int | None = None) -> Recipe:
        """The recipe with another kind of head, on another output of the extractor, or with its parameters tuned.

        Raises:
            RecipeError: there is no such kind, or nothing to tune.
        """
        update: dict[str, Any] = {}
        if kind is not None and (self.head is None or self.head.kind != kind):
            if kind not in FITTED_KINDS:
                raise RecipeError(f"There is no head {kind!r} to fit. There is: {', '.join(FITTED_KINDS)}.")
            update["head"] = FITTED_KINDS[kind]()
        if output is not None:
            update["extractor"] = self.extractor.model_copy(update={"output": output})
        if trials is not None:
            update["tune"] = (self.tune or Tune(trials=trials)).model_copy(update={"trials": trials})
        try:
            return Recipe.model_validate(dict(self) | update)
        except ValidationError as error:
            raise RecipeError(f"{self.name}: {error.errors()[0]['msg']}.") from error


def load(recipe: str) -> Recipe:
    """Read a recipe by path or by the name of one that is shipped.

    Raises:
        RecipeError: there is none, or it is not valid; says which line of it.
    """
    path = find(recipe)
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no valid TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(": ".join((*map(str, item["loc"]), item["msg"])) for item in error.errors())
        raise RecipeError(f"{path} is no valid recipe: {problems}") from error


def find(recipe: str) -> Path:
    """The file of a recipe given by path or name; raises RecipeError, which lists the shipped ones."""
    for path in (Path(recipe), RECIPES / f"{recipe}.toml"):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    raise RecipeError(f"There is no recipe {recipe!r}. Give the path of a TOML file, or one of: {shipped}.")
