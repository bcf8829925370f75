"""An image -> rows in the lines of the batchers, made by the processes that decode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.batching.batcher import Batcher
from app.batching.request import Asked, Outcome, Place
from app.decoding.decoder import Decoders
from app.decoding.worker_process import Job, Sender
from models.arrays import Pixels
from models.classifier import Extractor, Reader, Row
from models.decoding.image import Limits
from models.decoding.protocol import Header, Wish
from models.decoding.resize import Steps
from models.errors import HeadFailed
from models.heads import Floats
from models.preprocess import PreprocessSpec, prepare_pixels, taken_apart

R = TypeVar("R", bound=Reader)
Picture = bytes | Pixels
"""An encoded image, or RGB, uint8 [height, width, 3]."""
Groups = Mapping[tuple[Extractor, PreprocessSpec], tuple[R, ...]]
Answers = tuple[Floats | HeadFailed, ...]
Batchers = dict[Extractor, Batcher[Row, Answers]]


@dataclass(frozen=True)
class _Want(Generic[R]):
    """A row that is wanted of the image: for whom, and from which batcher."""

    batcher: Batcher[Row, Answers]
    asked: Asked[Row, Answers]
    spec: PreprocessSpec
    readers: tuple[R, ...]


@dataclass
class Making(Generic[R]):
    """One image on its way. Lives on the event loop."""

    image: Picture | None
    limits: Limits
    decoders: Decoders
    on_decoded: Callable[[float], None]
    """Told how many seconds that took."""
    wants: list[_Want[R]] = field(default_factory=list)
    decode_s: float = 0.0
    _job: Job | None = None

    def start(self, sender: Sender, groups: Groups[R], batchers: Batchers, places: Mapping[Extractor, Place]) -> None:
        """Ask for a row of each group, and have them made; raises Closed. `give_up` must follow, whatever happens."""
        for (extractor, spec), readers in groups.items():
            batcher = batchers[extractor]
            self.wants.append(_Want(batcher, batcher.ask(places[extractor]), spec, readers))
        wanted = tuple({want.spec.steps for want in self.wants})
        if isinstance(self.image, bytes):
            self._job = Job(sender, Wish(wanted, self.limits), self.image, self._tell, self._fail)
            self.decoders.start(self._job)
        elif self.image is not None:
            self.decoders.in_thread(self._resize)

    async def outcomes(self) -> list[Outcome[Answers]]:
        """What each group's readers answered, in the order of the groups; raises what `Batcher.outcome` raises."""
        return [await want.batcher.outcome(want.asked) for want in self.wants]

    def give_up(self) -> None:
        """Nobody waits for what is not there yet."""
        if self._job:
            self.decoders.withdraw(self._job)
            self._job = None  # the two know each other
        self.image = None  # whoever still knows of this making, a timer at most, keeps no picture
        for want in self.wants:
            want.batcher.give_up(want.asked)
        self.wants = []  # an error knows, by its traceback, who made it: picture and error would keep each other

    def _tell(self, header: Header, body: bytes) -> None:
        self.decode_s = header["seconds"]
        self.on_decoded(self.decode_s)
        self._put(taken_apart(body, self._job.wish.steps if self._job else ()))

    def _resize(self) -> None:
        """What is decoded already: in a thread."""
        image, began = self.image, time.monotonic()
        if image is None or isinstance(image, bytes):  # nobody waits for it any more
            return
        try:
            prepared = prepare_pixels(image, [want.spec.steps for want in self.wants])
        except BaseException as error:  # whoever waits must hear of it, whatever it is
            self._fail(error)
        else:
            self.decode_s = time.monotonic() - began
            self.on_decoded(self.decode_s)
            self._put(prepared)

    def _put(self, prepared: Mapping[Steps, Pixels]) -> None:
        for want in self.wants:
            want.batcher.put(want.asked, Row(prepared[want.spec.steps], want.readers))

    def _fail(self, error: BaseException) -> None:
        """There will be no rows."""
        for want in self.wants:
            want.batcher.fail(want.asked, error)
