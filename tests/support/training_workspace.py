"""The folders of a training run in a test: dataset, store, cache and recipe."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from models.artifacts.store import ClassifierArtifact, Store
from models.console.progress import silent
from tests.support import colour_dataset
from tests.support.paths import ROOT
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.train import run

#: The folder of a workspace in which the command has run once, and the finished process.
FirstRun = tuple[Path, subprocess.CompletedProcess[str]]


class Workspace:
    """Store, cache and recipe of one test."""

    def __init__(self, folder: Path, data: Path, extractor: Path | None = None) -> None:
        """Create an empty workspace, or one with a copy of the extractor of another one."""
        self.data, self.store, self.cache = data, Store(folder / "store"), folder / "cache"
        self.lines: list[str] = []
        self.recipe = folder / "colours.toml"
        self.recipe.write_text(colour_dataset.RECIPE)
        if extractor:
            shutil.copytree(extractor / "store" / "extractors", folder / "store" / "extractors")

    @property
    def options(self) -> list[str]:
        """Return the options of the command line."""
        return ["--data", str(self.data), "--store", str(self.store.root), "--cache", str(self.cache)]

    def run(self, recipe: Recipe) -> ClassifierArtifact:
        """Run a recipe in this process."""
        ctx = RunContext(self.store, silent, self.lines.append, self.data, self.cache)
        artifact = run(recipe, ctx)
        assert artifact.manifest.kind == "classifier"
        return self.store.classifier(artifact.manifest.name, artifact.manifest.version)

    def run_process(self, *modules: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULES run RECIPE OPTIONS`."""
        report = ["--report", str(self.cache.with_name("report"))]
        arguments = [sys.executable, "-m", *modules, "run", str(self.recipe), *self.options, *report]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
