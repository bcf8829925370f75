"""Ray Serve, set up as in its guide to dynamic request batching and its TensorFlow tutorial.

docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html, doc/source/serve/doc_code/tutorial_tensorflow.py and
tutorial_pytorch.py (the image as the body) in github.com/ray-project/ray. `max_ongoing_requests` is raised as the guide
says, since its default of 5 would limit the batch size.
"""

from __future__ import annotations

import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request

from benchmarks.peers.model import MAX_BATCH, PredictionBody, decoder, predictor
from models.cpu import available_cores

_MAX_ONGOING_REQUESTS = 1024


# num_cpus is all cores: otherwise Ray limits the libraries to one thread.
@serve.deployment(max_ongoing_requests=_MAX_ONGOING_REQUESTS, ray_actor_options={"num_cpus": available_cores()})
class Classifier:
    """The deployment, with one replica."""

    def __init__(self) -> None:
        self.decode, self.predict = decoder(), predictor()

    @serve.batch(max_batch_size=MAX_BATCH)  # type: ignore[untyped-decorator]  # not installed for mypy
    async def classify(self, images: list[bytes]) -> list[PredictionBody]:
        return self.predict(self.decode(images))

    async def __call__(self, request: Request) -> PredictionBody:
        body: PredictionBody = await self.classify(await request.body())
        return body


if __name__ == "__main__":
    ray.init(num_cpus=available_cores(), include_dashboard=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[1])))
    serve.run(Classifier.bind(), blocking=True)  # type: ignore[attr-defined]
