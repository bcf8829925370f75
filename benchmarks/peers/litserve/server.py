"""LitServe, set up as in its own benchmark of an image classifier: a batch is decoded on one thread per core.

github.com/Lightning-AI/LitServe, tests/parity_fastapi/ls-server.py (fast queue, 10 ms to gather a batch) and
lightning.ai/docs/litserve/features/batching; the image is an upload instead of base64 in JSON.
"""

import sys  # no future annotations: LitServe evaluates annotations itself

import litserve
from fastapi import UploadFile

from benchmarks.peers.model import MAX_BATCH, PredictionBody, decoder, predictor
from models.arrays import Pixels


class Api(litserve.LitAPI):  # type: ignore[misc]  # not installed for mypy
    """The model in LitServe's single worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 -- always the CPU
        self.decode, self.classify = decoder(), predictor()

    def decode_request(self, request: UploadFile) -> bytes:
        return request.file.read()

    def batch(self, images: list[bytes]) -> list[Pixels]:
        return self.decode(images)

    def predict(self, batch: list[Pixels]) -> list[PredictionBody]:
        return self.classify(batch)

    def unbatch(self, output: list[PredictionBody]) -> list[PredictionBody]:
        return output

    def encode_response(self, output: PredictionBody) -> PredictionBody:
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
