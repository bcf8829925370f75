"""A classifier's predictions on labelled images, as input of its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models.arrays import Floats
from models.manifests import ClassifierManifest, ExtractorManifest, SetRecord
from training.data.split import Split
from training.set_notes import set_notes

#: A report is about the first of these sets that was measured.
_SETS_BY_PRIORITY = ("test", "valid", "holdout")


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """The images of a labelled set, and a classifier's probabilities for them, float32 [images, classes]."""

    split: Split
    probabilities: Floats


@dataclass(frozen=True, eq=False)
class ClassifierResults:
    """A classifier, its extractor, and its predictions.

    Attributes:
        predictions: by name of the labelled set; at least one.
        sets: what had been done with sets that the manifest does not describe.
        excluded_files: one line for each file that was not used.
    """

    manifest: ClassifierManifest
    extractor: ExtractorManifest
    predictions: Mapping[str, LabelledPredictions]
    excluded_files: Sequence[str] = ()
    sets: Mapping[str, SetRecord] = field(default_factory=dict)

    def notes(self, name: str) -> list[str]:
        """Return what else a set was used for, in sentences."""
        return set_notes(self.sets.get(name) or self.manifest.sets.get(name))

    @property
    def primary_set(self) -> tuple[str, LabelledPredictions]:
        """Name and predictions of the set that the report is about: the test set if there is one."""
        name = next((name for name in _SETS_BY_PRIORITY if name in self.predictions), next(iter(self.predictions)))
        return name, self.predictions[name]


#: Receives the results of a run, for example to write a report.
Report = Callable[[ClassifierResults], None]


def do_not_report(results: ClassifierResults) -> None:
    """Do nothing: a `Report` for runs without one."""
