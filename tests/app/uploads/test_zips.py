"""Zips that were tampered with."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import MalformedBody
from app.uploads.zips import check_directories, extract_images
from tests.support.batch_requests import zipped


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_corrupted_zip_is_extracted_within_limits_or_rejected(data: st.DataObject) -> None:
    archive = bytearray(zipped(**{"a/one.png": b"one" * 50, "two.png": b"two"}))
    for _ in range(data.draw(st.integers(1, 6))):
        offset = data.draw(st.integers(0, len(archive) - 1))
        archive[offset] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 20))
    with suppress(MalformedBody):
        damaged = bytes(archive[: len(archive) - cut])
        check_directories([damaged], 3)
        images = list(extract_images(damaged, 3, 1000, 1500, lambda _: None))
        assert len(images) <= 4
        assert all(len(content) <= 1001 for _, content in images if isinstance(content, bytes))
