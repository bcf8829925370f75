"""BentoML, as its guide to adaptive batching shows, with pictures as files.

docs.bentoml.com/en/latest/get-started/adaptive-batching.html and
docs.bentoml.com/en/latest/build-with-bentoml/iotypes.html
"""

from pathlib import Path  # no future annotations: BentoML reads them itself
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.model import MAX_BATCH, Answer, decoder, predictor


@bentoml.service(workers=1, traffic={"timeout": 120})
class Classifier:
    """One worker."""

    def __init__(self) -> None:
        self.decode, self.predict = decoder(), predictor()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)  # type: ignore[untyped-decorator]  # as in the others
    def classify(self, images: list[Annotated[Path, ContentType("image/jpeg")]]) -> list[Answer]:
        return self.predict(self.decode([image.read_bytes() for image in images]))
