"""The jobs of one decode worker, and the places of their pixels in shared memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.decoding.job import DecodeJob, RequestKey
from app.decoding.worker_jobs import WorkerJobs
from models.decoding.limits import DEFAULT_LIMITS
from models.decoding.protocol import INLINE, SLOT_BYTES, DecodeRequest, create_shared_memory
from models.decoding.resize import ResizeSpec

MAX_QUEUED_BYTES = 128 * 1024


class SizedRequest(DecodeRequest):
    """A request whose response has a given size."""

    response_bytes = 0


def job(response_bytes: int = 3, encoded_bytes: int = 1) -> DecodeJob:
    request = SizedRequest((ResizeSpec(1, 1, "none", "box", "box"),), DEFAULT_LIMITS)
    request.__dict__["response_bytes"] = response_bytes
    return DecodeJob(RequestKey(), request, bytes(encoded_bytes), lambda *_: None, lambda _: None)


@given(st.integers(1, 8), st.lists(st.tuples(st.booleans(), st.integers(1, SLOT_BYTES)), max_size=60))
def test_places_of_unread_results_never_overlap(max_jobs: int, steps: list[tuple[bool, int]]) -> None:
    jobs, unread = WorkerJobs(max_jobs), list[tuple[int, int]]()
    for is_added, size in steps:
        if is_added and jobs.has_room:
            offset = jobs.add(job(size)).offset
            assert 0 <= offset <= max_jobs * SLOT_BYTES - size, "within the memory"
            assert all(offset + size <= begin or end <= offset for begin, end in unread)
            unread.append((offset, offset + size))
        elif unread:
            jobs.remove_current()
            unread.pop(0)


def test_memory_has_a_slot_for_each_job() -> None:
    with create_shared_memory(3) as file:
        assert file.seek(0, 2) == 3 * SLOT_BYTES


@pytest.mark.parametrize(
    ("response_bytes", "is_shared"), [(0, False), (1, True), (SLOT_BYTES, True), (SLOT_BYTES + 1, False)]
)
def test_result_that_fits_into_a_slot_is_shared(response_bytes: int, is_shared: bool) -> None:
    assert (WorkerJobs(2).add(job(response_bytes)).offset != INLINE) == is_shared


def test_worker_has_room_up_to_its_limits_of_jobs_and_of_bytes() -> None:
    jobs = WorkerJobs(2)
    jobs.add(job(encoded_bytes=10 * MAX_QUEUED_BYTES))
    assert not jobs.has_room, "an idle worker takes a job of any size, and nothing beside it"
    jobs.remove_current()
    jobs.add(job(encoded_bytes=MAX_QUEUED_BYTES - 1))
    assert jobs.has_room
    jobs.remove_current()
    jobs.add(job(encoded_bytes=MAX_QUEUED_BYTES))
    assert not jobs.has_room
    jobs.remove_current()
    jobs.add(job())
    assert jobs.has_room
    jobs.add(job())
    assert not jobs.has_room
    assert (len(jobs), jobs.load) == (2, 2)
    assert len(jobs.take_all()) == 2
    assert (len(jobs), jobs.load) == (0, 0)
