"""What a head is fitted and measured on: a dataset, and the features that an extractor makes of its images."""

from __future__ import annotations

from dataclasses import dataclass

from models.artifacts.catalog import load_extractor
from models.artifacts.store import ExtractorArtifact
from models.classifier import Extractor
from models.console.tensorflow_logs import hide_startup_messages
from models.heads import Floats
from models.preprocess import PreprocessSpec
from training.data import dataset as datasets
from training.data.dataset import Dataset, Split
from training.errors import RecipeError
from training.estimators.heads import Softmax
from training.heads import features
from training.recipes.schema import Recipe
from training.runtime.context import RunContext


@dataclass(frozen=True, eq=False)
class Inputs:
    """A dataset and its features, extracted once and cached."""

    data: Dataset
    extractor: Extractor
    output: str
    spec: PreprocessSpec
    at: RunContext

    def features(self, split: Split, what: str) -> Floats:
        """Features of these images, float32 [images, width]; the bar says `what` they are."""
        with self.at.track(f"features of {what}", len(split)) as advance:
            return features.extract(split, self.extractor, self.output, self.spec, self.at.cache, advance)

    def fill_cache(self) -> None:
        """Extract the features of all images."""
        data = self.data
        for name, split in (("training images", data.train), ("validation set", data.valid), ("test set", data.test)):
            if split is not None:
                with self.at.track(f"features of {name}", len(split)) as advance:
                    features.fill(split, self.extractor, self.output, self.spec, self.at.cache, advance)


def stored(recipe: Recipe, at: RunContext) -> Inputs:
    """The recipe's dataset, on its extractor as it lies in the store; raises what `opened` does, and ModelNotFound."""
    return opened(recipe, at.store.extractor(recipe.extractor.name, recipe.extractor.version), at)


def opened(recipe: Recipe, made: ExtractorArtifact, at: RunContext) -> Inputs:
    """The recipe's dataset, on an extractor.

    Raises:
        RecipeError: the recipe has no [data] or [preprocess], or does not fit the extractor.
        DatasetError, ModelsError: one of them cannot be opened.
    """
    if recipe.data is None or recipe.preprocess is None:
        raise RecipeError(f"{recipe.name} has no images to make features of: it needs [data] and [preprocess].")
    check(recipe, recipe.preprocess, made)
    data = datasets.load(recipe.data, at.location, cache=at.cache)
    return Inputs(data, load(made), recipe.extractor.output, recipe.preprocess, at)


def load(made: ExtractorArtifact) -> Extractor:
    """The extractor, ready to run; its engine may be the first to import TensorFlow. Raises ArtifactError."""
    with hide_startup_messages():
        return load_extractor(made)


def check(recipe: Recipe, spec: PreprocessSpec, made: ExtractorArtifact) -> None:
    """Raise RecipeError where a recipe does not fit an extractor."""
    manifest, output = made.manifest, recipe.extractor.output
    if output not in manifest.outputs:
        raise RecipeError(f"{made.label} has no output {output!r}; it has {', '.join(manifest.outputs)}.")
    if isinstance(recipe.head, Softmax) and output not in manifest.tops:
        there = ", ".join(manifest.tops) or "none"
        raise RecipeError(f"A softmax head needs a top of {made.label}, which {output!r} is not; it has {there}.")
    if spec.size != manifest.input_size:
        raise RecipeError(f"{made.label} takes {manifest.input_size} px, but preprocess.size is {spec.size}.")
