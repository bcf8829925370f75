"""What a classifier answered on labelled images, as a report tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.heads import Floats
from models.manifests import ClassifierManifest, ExtractorManifest
from training.data.dataset import Split

#: The set that a report is about, where there are several: the first of these.
_FOREMOST = ("test", "valid", "holdout")


@dataclass(frozen=True, eq=False)
class Predictions:
    """The images of a labelled set, and a classifier's probabilities for them, float32 [images, classes]."""

    split: Split
    probabilities: Floats


@dataclass(frozen=True, eq=False)
class ClassifierResults:
    """A classifier, what it stands on, and what it answered.

    Attributes:
        answers: by the name of the set; one at least.
        left_out: files that were not used, a line for each.
    """

    manifest: ClassifierManifest
    extractor: ExtractorManifest
    answers: Mapping[str, Predictions]
    left_out: Sequence[str] = ()

    @property
    def foremost(self) -> tuple[str, Predictions]:
        """The set that says most of unseen images: the test set where there is one."""
        name = next((name for name in _FOREMOST if name in self.answers), next(iter(self.answers)))
        return name, self.answers[name]


#: Is given what was found; writes a report, or does nothing.
Report = Callable[[ClassifierResults], None]


def unreported(findings: ClassifierResults) -> None:
    """A `Report` that writes nothing."""
