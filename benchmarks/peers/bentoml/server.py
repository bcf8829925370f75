"""BentoML, set up as in its guide to adaptive batching, with images as files.

docs.bentoml.com/en/latest/get-started/adaptive-batching.html and
docs.bentoml.com/en/latest/build-with-bentoml/iotypes.html
"""

from pathlib import Path  # no future annotations: BentoML evaluates annotations itself
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.model import MAX_BATCH, PredictionBody, decoder, predictor


@bentoml.service(workers=1, traffic={"timeout": 120})
class Classifier:
    """The service, with one worker."""

    def __init__(self) -> None:
        self.decode, self.predict = decoder(), predictor()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)  # type: ignore[untyped-decorator]  # not installed for mypy
    def classify(self, images: list[Annotated[Path, ContentType("image/jpeg")]]) -> list[PredictionBody]:
        return self.predict(self.decode([image.read_bytes() for image in images]))
