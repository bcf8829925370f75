"""The schema of a recipe: everything that determines the result of a training run, as data.

Recipes are TOML files. A recipe is stored whole in the manifest of each artifact that it makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from models.preprocess import PreprocessSpec
from training.errors import RecipeError
from training.estimators.kinds import FITTED_KINDS, AnyHead
from training.recipes.base import RecipePart, added_field
from training.recipes.data import Calibration, DatasetSpec, Probe
from training.recipes.network import Network


class ExtractorRef(RecipePart):
    """An extractor by its name in the store, and the output of it that the head reads."""

    name: str
    version: int | None = None
    output: str = "pooled"


class Tune(RecipePart):
    """Choose the head's parameters by cross-validation on the training images."""

    trials: int = Field(ge=1, description="sets of parameters to try, starting with the recipe's own")
    folds: int = Field(5, ge=2)


class Card(RecipePart):
    """The parts of the model card that cannot be derived from the run."""

    title: str
    about: str
    limits: tuple[str, ...] = ()
    notices: str = ""


class Recipe(RecipePart):
    """One training run."""

    name: str = Field(description="of the classifier, or of the recipe if there is no head")
    seed: int = 0
    card: Card
    network: Network | None = Field(None, description="if present, the run makes the extractor first")
    extractor: ExtractorRef
    data: DatasetSpec | None = None
    preprocess: PreprocessSpec | None = None
    head: Annotated[AnyHead, Field(discriminator="kind")] | None = None
    tune: Tune | None = Field(None, exclude_if=lambda tune: tune is None)
    probes: tuple[Probe, ...] = ()
    calibration: Calibration | None = added_field(
        None, description="photographs for the temperature of a network's own softmax, without a dataset"
    )
    parents: str = added_field(
        "",
        description="coarser classes above the classes: `imagenet`, or the path of a .tsv file with the columns label "
        "and parent",
    )
    calibrate: bool = Field(True, description="fit a temperature on the held-out images")
    refit: bool = Field(
        False, description="after evaluation, fit the head (or a network with a softmax head) again on all images"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Recipe:
        if self.head is not None and self.preprocess is None:
            raise ValueError("a recipe with a [head] needs a [preprocess]")
        if self.head is not None and self.head.kind != "softmax" and self.data is None:
            raise ValueError(
                f"a recipe with a {self.head.kind} head needs a [data] table, because the head is fitted on it"
            )
        if self.tune is not None and (self.head is None or self.head.kind == "softmax"):
            raise ValueError("[tune] needs a [head] that is fitted")
        if self.calibration is not None and (self.data is not None or self.head is None or self.head.kind != "softmax"):
            raise ValueError("[calibration] needs a softmax [head] and no [data], whose held-out images calibrate")
        if self.calibration is not None and not self.calibrate:
            raise ValueError("[calibration] contradicts calibrate = false")
        return self

    def as_record(self) -> dict[str, Any]:
        """Return the recipe as a manifest stores it; of files it keeps only the names, not the folders."""
        record = self.model_dump(mode="json")
        if self.parents:
            record["parents"] = Path(self.parents).name
        if record["network"]:
            record["network"]["weights"] = Path(record["network"]["weights"]).name
        return record

    def for_refit(self, passes: float) -> Recipe:
        """Return the recipe that fits its network on all images for `passes` passes."""
        assert self.network is not None
        assert self.network.fit is not None
        fit = self.network.fit.model_copy(update={"passes": passes, "stop": None, "everything": True})
        return self.model_copy(update={"network": self.network.model_copy(update={"fit": fit})})

    def with_overrides(
        self,
        name: str | None = None,
        weights: str | None = None,
        passes: float | None = None,
        refit: bool | None = None,
    ) -> Recipe:
        """Return the recipe with the values that the command line overrides; None keeps the recipe's value.

        Raises:
            RecipeError: `weights` or `passes` is given, but the recipe makes or fits no network.
        """
        overrides = {key: value for key, value in (("name", name), ("refit", refit)) if value is not None}
        recipe = self.model_copy(update=overrides)
        if weights is None and passes is None:
            return recipe
        if recipe.network is None:
            raise RecipeError(f"{self.name} makes no network: leave out --weights and --passes.")
        network = recipe.network if weights is None else recipe.network.model_copy(update={"weights": weights})
        if passes is not None:
            if network.fit is None:
                raise RecipeError(f"{self.name} does not fit its network: leave out --passes.")
            network = network.model_copy(update={"fit": network.fit.model_copy(update={"passes": passes})})
        return recipe.model_copy(update={"network": network})

    def with_head(self, kind: str | None = None, output: str | None = None, trials: int | None = None) -> Recipe:
        """Return the recipe with another kind of head, another extractor output, or tuned parameters.

        Raises:
            RecipeError: there is no such kind of head, or there is no fitted head to tune.
        """
        update: dict[str, Any] = {}
        if kind is not None and (self.head is None or self.head.kind != kind):
            if kind not in FITTED_KINDS:
                raise RecipeError(f"There is no head {kind!r}. Use one of: {', '.join(FITTED_KINDS)}.")
            update["head"] = FITTED_KINDS[kind]()
        if output is not None:
            update["extractor"] = self.extractor.model_copy(update={"output": output})
        if trials is not None:
            update["tune"] = (self.tune or Tune(trials=trials)).model_copy(update={"trials": trials})
        try:
            return Recipe.model_validate(dict(self) | update)
        except ValidationError as error:
            raise RecipeError(f"{self.name}: {error.errors()[0]['msg']}.") from error
