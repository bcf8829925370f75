"""An image -> rows, in a thread, and from there straight into the lines of the batchers.

The event loop is not asked in between: each change of threads costs about as much as all that is done for a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.asked import Asked, Outcome, Place
from app.batcher import Batcher
from app.decoders import Before, Decoders, Job, Sender, slowness
from models.apart import is_for_apart
from models.classifier import Extractor, Reader, Row, prepare, prepare_pixels
from models.errors import HeadFailed
from models.heads import Floats
from models.image import Limits, Pixels
from models.preprocess import PreprocessSpec

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
    """One image on its way. Made and awaited on the event loop; `run` is for a thread."""

    image: Picture | None
    limits: Limits
    decoders: Decoders
    on_decoded: Callable[[float], None]
    """Told how many seconds that took, from the thread."""
    wants: list[_Want[R]] = field(default_factory=list)
    decode_s: float = 0.0
    _job: Job | None = None

    def start(self, sender: Sender, groups: Groups[R], batchers: Batchers, places: Mapping[Extractor, Place]) -> None:
        """Ask for a row of each group, and have them made; raises Closed. `give_up` must follow, whatever happens."""
        for (extractor, spec), readers in groups.items():
            batcher = batchers[extractor]
            self.wants.append(_Want(batcher, batcher.ask(places[extractor]), spec, readers))
        slow = slowness(self.image) if isinstance(self.image, bytes) else 1
        self._job = Job(sender, slow, self.run, self.fail)
        self.decoders.start(self._job)

    def run(self, before: Before) -> None:
        """Decode the image and put its rows into the lines; raises what `before` raises, and ImageError."""
        image = self.image
        if image is None or not any(want.batcher.wants(want.asked) for want in self.wants):
            return
        pixels = self._prepared(image, before)
        for want in self.wants:
            want.batcher.put(want.asked, Row(pixels[want.spec], want.readers))

    def fail(self, error: BaseException) -> None:
        """There will be no rows. From any thread."""
        for want in self.wants:
            want.batcher.fail(want.asked, error)

    async def outcomes(self) -> list[Outcome[Answers]]:
        """What each group's readers answered, in the order of the groups; raises what `Batcher.outcome` raises."""
        return [await want.batcher.outcome(want.asked) for want in self.wants]

    def give_up(self) -> None:
        """Nobody waits for what is not there yet."""
        if self._job:
            self.decoders.withdraw(self._job)
        self.image = None  # whoever still knows of this making, a timer at most, keeps no picture
        for want in self.wants:
            want.batcher.give_up(want.asked)
        self.wants = []  # an error knows, by its traceback, who made it: picture and error would keep each other

    def _prepared(self, image: Picture, before: Before) -> dict[PreprocessSpec, Pixels]:
        specs = {want.spec for want in self.wants}
        began = time.monotonic()

        def timed(pixels: int) -> None:
            nonlocal began
            before(pixels)
            began = time.monotonic()

        if isinstance(image, bytes):
            prepared = self.decoders.apart.prepare if is_for_apart(image) else prepare
            pixels = prepared(image, specs, self.limits, timed)
        else:
            pixels = prepare_pixels(image, specs)
        self.decode_s = time.monotonic() - began
        self.on_decoded(self.decode_s)
        return pixels
