"""Inputs of a head: a dataset, and the features that an extractor computes of its images."""

from __future__ import annotations

from dataclasses import dataclass

from models.arrays import Floats
from models.artifacts import catalog
from models.artifacts.store import ExtractorArtifact
from models.classifier import Extractor
from models.console.tensorflow_logs import hide_startup_messages
from models.preprocess import PreprocessSpec
from training.data.dataset import Dataset, load_dataset
from training.data.split import Split
from training.errors import RecipeError
from training.estimators.kinds import Softmax
from training.heads import features
from training.recipes.schema import Recipe
from training.runtime.context import RunContext


@dataclass(frozen=True, eq=False)
class HeadInputs:
    """A dataset and the features of its images, which are extracted once and cached.

    Attributes:
        output: name of the extractor's output that is used as features.
    """

    dataset: Dataset
    extractor: Extractor
    output: str
    preprocess: PreprocessSpec
    ctx: RunContext

    def extract(self, split: Split, title: str) -> Floats:
        """Return the features of images, float32 [images, width]; the progress bar shows the title."""
        with self.ctx.track(f"features of {title}", len(split)) as advance:
            return features.extract_features(
                split, self.extractor, self.output, self.preprocess, self.ctx.cache, advance
            )

    def fill_cache(self) -> None:
        """Extract the features of all images into the cache."""
        dataset = self.dataset
        for title, split in (
            ("training images", dataset.train),
            ("validation set", dataset.valid),
            ("test set", dataset.test),
        ):
            if split is not None:
                with self.ctx.track(f"features of {title}", len(split)) as advance:
                    features.fill_cache(split, self.extractor, self.output, self.preprocess, self.ctx.cache, advance)


def open_with_stored_extractor(recipe: Recipe, ctx: RunContext) -> HeadInputs:
    """Open the recipe's dataset with its extractor from the store.

    Raises:
        ModelNotFound: the extractor is not in the store.
        RecipeError: the recipe has no [data] or [preprocess], or does not fit the extractor.
        DatasetError, ModelsError: the dataset or the extractor cannot be opened.
    """
    if recipe.data is None or recipe.preprocess is None:
        raise RecipeError(f"{recipe.name} has no images to extract features of: it needs [data] and [preprocess].")
    artifact = ctx.store.extractor(recipe.extractor.name, recipe.extractor.version)
    check_extractor(recipe, recipe.preprocess, artifact)
    dataset = load_dataset(recipe.data, ctx.data_path, cache=ctx.cache)
    ctx.log_left_out(dataset.left_out)
    return HeadInputs(dataset, load_extractor(artifact), recipe.extractor.output, recipe.preprocess, ctx)


def load_extractor(artifact: ExtractorArtifact) -> Extractor:
    """Load an extractor for inference, without TensorFlow's startup messages.

    Raises:
        ArtifactError: a file was changed, or no engine repeats the golden outputs.
    """
    with hide_startup_messages():
        return catalog.load_extractor(artifact)


def check_extractor(recipe: Recipe, preprocess: PreprocessSpec, artifact: ExtractorArtifact) -> None:
    """Raise RecipeError if the extractor lacks the recipe's output or top, or takes another image size."""
    manifest, output = artifact.manifest, recipe.extractor.output
    if output not in manifest.outputs:
        raise RecipeError(f"{artifact.label} has no output {output!r}; it has {', '.join(manifest.outputs)}.")
    if isinstance(recipe.head, Softmax) and output not in manifest.tops:
        tops = ", ".join(manifest.tops) or "none"
        raise RecipeError(
            f"A softmax head needs a softmax output of {artifact.label}; {output!r} is not one. It has: {tops}."
        )
    if preprocess.size != manifest.input_size:
        raise RecipeError(f"{artifact.label} takes {manifest.input_size} px, but preprocess.size is {preprocess.size}.")


def check_top_classes(recipe: Recipe, dataset: Dataset, tops: dict[str, tuple[str, ...]]) -> None:
    """Raise RecipeError if the top that a softmax head uses has other classes than the dataset."""
    if isinstance(recipe.head, Softmax) and set(dataset.class_ids) != set(tops.get(recipe.extractor.output, ())):
        raise RecipeError(
            f"The top {recipe.extractor.output!r} of {recipe.extractor.name} has other classes than "
            f"{dataset.root.name}. Use a top that was fitted on this dataset."
        )
