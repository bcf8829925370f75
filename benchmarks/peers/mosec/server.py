"""mosec, set up as in its example of an image classifier: one process per core decodes, one classifies batches.

github.com/mosecorg/mosec, examples/resnet50_msgpack/server.py; the body is the image itself instead of msgpack.
"""

from __future__ import annotations

from mosec import Server, ValidationError, Worker

from benchmarks.peers.model import MAX_BATCH, PredictionBody, decoder, predictor
from models.arrays import Pixels
from models.cpu import available_cores
from models.decoding.errors import ImageError


class Preprocess(Worker):  # type: ignore[misc]  # not installed for mypy
    """Decode a single image."""

    def __init__(self) -> None:
        super().__init__()
        self.decode = decoder()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Pixels:
        try:
            return self.decode([data])[0]
        except ImageError as error:
            raise ValidationError(str(error)) from error


class Inference(Worker):  # type: ignore[misc]
    """Classify a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = predictor()

    def forward(self, data: list[Pixels]) -> list[PredictionBody]:
        return self.predict(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Preprocess, num=available_cores())
    server.append_worker(Inference, num=1, max_batch_size=MAX_BATCH)
    server.run()
