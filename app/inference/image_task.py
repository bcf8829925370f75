"""An image -> rows in the lines of the batchers, made by the processes that decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.batching.batcher import Batcher
from app.batching.request import BatchResult, PendingItem, Reservation
from app.decoding.decoder import ImageDecoder
from app.decoding.worker_process import DecodeJob, RequestKey
from models.arrays import Pixels
from models.classifier import BatchItem, Extractor, OutputConsumer
from models.decoding.image import Limits
from models.decoding.protocol import DecodeRequest, Header
from models.decoding.resize import ResizeSpec
from models.errors import HeadFailed
from models.heads import Floats
from models.preprocess import PreprocessSpec, prepare_pixels, split_buffer

R = TypeVar("R", bound=OutputConsumer)
Image = bytes | Pixels
"""An encoded image, or RGB, uint8 [height, width, 3]."""
Groups = Mapping[tuple[Extractor, PreprocessSpec], tuple[R, ...]]
RowResult = tuple[Floats | HeadFailed, ...]
Batchers = dict[Extractor, Batcher[BatchItem, RowResult]]


@dataclass(frozen=True)
class _Row(Generic[R]):
    """A row that is wanted of the image: for whom, and from which batcher."""

    batcher: Batcher[BatchItem, RowResult]
    pending: PendingItem[BatchItem, RowResult]
    spec: PreprocessSpec
    readers: tuple[R, ...]


@dataclass
class ImageTask(Generic[R]):
    """One image on its way. Lives on the event loop."""

    image: Image | None
    limits: Limits
    decoders: ImageDecoder
    on_decoded: Callable[[float], None]
    """Told how many seconds that took."""
    rows: list[_Row[R]] = field(default_factory=list)
    decode_s: float = 0.0
    _job: DecodeJob | None = None

    def start(
        self, sender: RequestKey, groups: Groups[R], batchers: Batchers, places: Mapping[Extractor, Reservation]
    ) -> None:
        """Ask for a row of each group, and have them made; raises Closed. `give_up` must follow, whatever happens."""
        for (extractor, spec), readers in groups.items():
            batcher = batchers[extractor]
            self.rows.append(_Row(batcher, batcher.submit(places[extractor]), spec, readers))
        wanted = tuple({want.spec.resize_spec for want in self.rows})
        if isinstance(self.image, bytes):
            self._job = DecodeJob(sender, DecodeRequest(wanted, self.limits), self.image, self._tell, self._fail)
            self.decoders.submit(self._job)
        elif self.image is not None:
            self.decoders.run_in_thread(self._resize)

    async def results(self) -> list[BatchResult[RowResult]]:
        """What each group's readers answered, in the order of the groups; raises what `Batcher.outcome` raises."""
        return [await want.batcher.result(want.pending) for want in self.rows]

    def cancel(self) -> None:
        """Nobody waits for what is not there yet."""
        if self._job:
            self.decoders.cancel(self._job)
            self._job = None  # the two know each other
        self.image = None  # whoever still knows of this making, a timer at most, keeps no picture
        for want in self.rows:
            want.batcher.cancel(want.pending)
        self.rows = []  # an error knows, by its traceback, who made it: picture and error would keep each other

    def _tell(self, header: Header, body: bytes) -> None:
        self.decode_s = header["seconds"]
        self.on_decoded(self.decode_s)
        self._put(split_buffer(body, self._job.options.steps if self._job else ()))

    def _resize(self) -> None:
        """What is decoded already: in a thread."""
        image, began = self.image, time.monotonic()
        if image is None or isinstance(image, bytes):  # nobody waits for it any more
            return
        try:
            prepared = prepare_pixels(image, [want.spec.resize_spec for want in self.rows])
        except BaseException as error:  # whoever waits must hear of it, whatever it is
            self._fail(error)
        else:
            self.decode_s = time.monotonic() - began
            self.on_decoded(self.decode_s)
            self._put(prepared)

    def _put(self, prepared: Mapping[ResizeSpec, Pixels]) -> None:
        for want in self.rows:
            want.batcher.enqueue(want.pending, BatchItem(prepared[want.spec.resize_spec], want.readers))

    def _fail(self, error: BaseException) -> None:
        """There will be no rows."""
        for want in self.rows:
            want.batcher.fail(want.pending, error)
