"""Inputs of a head: a dataset, and the features that an extractor computes of its images."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.arrays import Floats
from models.artifacts import catalog
from models.artifacts.store import ExtractorArtifact
from models.classifier import Extractor
from models.console.tensorflow_logs import hide_startup_messages
from models.preprocess import PreprocessSpec
from training.data.dataset import Dataset
from training.data.split import Split
from training.errors import RecipeError
from training.estimators.kinds import Softmax
from training.evaluation.ledger import ledger_of
from training.evaluation.seen import SeenImages, seen_by_run, seen_of
from training.evaluation.set_records import Histories
from training.heads import features
from training.partition.partition import Partition
from training.partition.record import Record
from training.partition.run_partitions import RunPartitions
from training.recipes.schema import Recipe
from training.runtime.context import RunContext


@dataclass(frozen=True, eq=False)
class HeadInputs:
    """The partition of a dataset and the features of its images, which are extracted once and cached.

    Attributes:
        output: name of the extractor's output that is used as features.
        seen: images that the extractor was made with.
    """

    partition: Partition
    extractor: Extractor
    output: str
    preprocess: PreprocessSpec
    ctx: RunContext
    seen: SeenImages = field(default_factory=SeenImages)

    def extract(self, split: Split, title: str) -> Floats:
        """Return the features of images, float32 [images, width]; the progress bar shows the title."""
        with self.ctx.track(f"features of {title}", len(split)) as advance:
            return features.extract_features(
                split, self.extractor, self.output, self.preprocess, self.ctx.cache, advance
            )

    def fill_cache(self) -> None:
        """Extract the features of all images into the cache."""
        for title, split in self.partition.dataset.splits.items():
            with self.ctx.track(f"features of {title}", len(split)) as advance:
                features.fill_cache(split, self.extractor, self.output, self.preprocess, self.ctx.cache, advance)

    def histories(self, head: Record | None = None) -> Histories:
        """Return what is recorded of the images, with the record of a head."""
        return Histories(self.seen, seen_by_run(head or Record()), ledger_of(self.ctx))


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
    partition = RunPartitions(recipe, ctx, fits_network=False).of_recipe(Record())
    return make_inputs(recipe, partition, artifact, ctx)


def make_inputs(recipe: Recipe, partition: Partition, artifact: ExtractorArtifact, ctx: RunContext) -> HeadInputs:
    """Load an extractor for the recipe's head.

    Raises:
        ModelsError: the extractor cannot be loaded.
    """
    assert recipe.preprocess is not None
    extractor = load_extractor(artifact)
    seen = seen_of(artifact, partition, recipe.data.path if recipe.data else "")
    return HeadInputs(partition, extractor, recipe.extractor.output, recipe.preprocess, ctx, seen)


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
