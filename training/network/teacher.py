"""The teacher of a fit (knowledge distillation): class probabilities of an extractor in the store.

Source: Hinton et al., 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.arrays import Floats, Pixels
from models.artifacts.catalog import load_extractor
from models.artifacts.store import ExtractorArtifact, Store
from models.engines.base import Engine
from models.manifests import WEIGHTS_FILE, ExtractorManifest, engine_files
from training.errors import RecipeError
from training.recipes import network as recipes


@dataclass(frozen=True, eq=False)
class Teacher:
    """A loaded extractor, and the top of it that teaches."""

    artifact: ExtractorArtifact
    engine: Engine
    output: str

    @property
    def manifest(self) -> ExtractorManifest:
        """The manifest of its extractor."""
        return self.artifact.manifest

    @property
    def size(self) -> int:
        """Side of its input, px."""
        return self.manifest.input_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes, in the order of its outputs."""
        return self.manifest.tops[self.output]

    @property
    def identity(self) -> str:
        """A text that identifies what it computes: digests of its weights and of the files of its engine."""
        files = (WEIGHTS_FILE, *engine_files(self.engine.name))
        return f"{self.engine.name} {[self.manifest.files[file] for file in files]}"

    def probabilities(self, pixels: Pixels) -> Floats:
        """uint8 [n, size, size, 3] -> float32 [n, classes]."""
        return self.engine.run(pixels)[self.output]


def load_teacher(teacher: recipes.Teacher, store: Store) -> Teacher:
    """Load the teacher of a recipe with the engine that serves it: on a CPU usually OpenVINO, in 8 bits if it has them.

    Raises:
        ModelNotFound: the store does not have it.
        ArtifactError: the extractor cannot be loaded.
        RecipeError: it has no such top.
    """
    artifact = store.extractor(teacher.name, teacher.version)
    if teacher.output not in artifact.manifest.tops:
        tops = ", ".join(artifact.manifest.tops) or "none"
        raise RecipeError(f"The teacher {artifact.label} has no top {teacher.output!r}. Its tops: {tops}.")
    return Teacher(artifact, load_extractor(artifact).engine, teacher.output)
