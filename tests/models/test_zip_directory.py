"""The check of a zip's directory agrees with `zipfile`, and costs little for any zip."""

from __future__ import annotations

import struct
import time
import zipfile
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.zip_directory import BadZipDirectory, DirectoryBudget, ZipDirectoryTooLarge, check_directory
from tests.support.batch_requests import zipped
from tests.support.raw_zips import (
    EMPTY_FIELDS,
    directory_entry,
    end_record,
    raw_zip,
    raw_zip64,
    zip_of_empty_fields,
    zip_of_folders,
)

ENTRIES = [directory_entry(name, EMPTY_FIELDS) for name in (b"a", b"b/", b"")]


def checked(data: bytes, entries: int = 100_000, size: int = 100_000_000) -> int:
    return check_directory(BytesIO(data), DirectoryBudget(entries, size))


@pytest.mark.parametrize(
    "data",
    [
        raw_zip(ENTRIES),
        raw_zip(ENTRIES, comment=b"holiday"),
        raw_zip([directory_entry(b"a", EMPTY_FIELDS * 16), directory_entry(b"b", b"\x01")]),
        raw_zip(ENTRIES) + b"\n",
        b"#!/bin/sh\n" + raw_zip(ENTRIES),
        raw_zip64(ENTRIES),
        raw_zip([]),
        zipped(a=b"a", b=b"b"),
        zip_of_folders(70_000),
    ],
    ids=[
        "plain",
        "comment",
        "extra fields",
        "garbage after it",
        "program before it",
        "zip64",
        "empty",
        "deflate",
        "old writer",
    ],
)
def test_zip_that_zipfile_reads_is_counted(data: bytes) -> None:
    assert checked(data) == len(zipfile.ZipFile(BytesIO(data)).infolist())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        raw_zip(ENTRIES)[:-1],
        raw_zip(ENTRIES)[30 + 5 :],
        raw_zip([*ENTRIES, b"PK\x01\x02"]),
        raw_zip(ENTRIES, count=2),
        raw_zip([ENTRIES[0], ENTRIES[1][:-1]]),
        raw_zip([b"PK\x01\x03" + ENTRIES[0][4:]]),
        raw_zip([directory_entry(b"a", EMPTY_FIELDS * 17)]),
        raw_zip([directory_entry(b"a", struct.pack("<HH", 0x9999, 1021) + bytes(1021))]),
        raw_zip64(ENTRIES, declared_start=0),
        raw_zip64(ENTRIES)[30:],
        raw_zip64(ENTRIES).replace(b"PK\x06\x06", b"PK\x06\x05"),
    ],
)
def test_damaged_or_crafted_directory_is_rejected(data: bytes) -> None:
    with pytest.raises(BadZipDirectory):
        checked(data)


def test_directory_of_the_last_end_record_is_checked() -> None:
    """The end record of a harmless directory in front does not hide the one that `zipfile` parses."""
    hostile = raw_zip([directory_entry(b"x", EMPTY_FIELDS * 16_000)])
    for data in (raw_zip(ENTRIES) + hostile, raw_zip(ENTRIES, comment=hostile)):
        with pytest.raises(BadZipDirectory, match="extra field"):
            checked(data)
    nested = end_record(0, 0, 30)
    assert checked(raw_zip(ENTRIES, comment=nested)) == 0
    assert zipfile.ZipFile(BytesIO(raw_zip(ENTRIES, comment=nested))).infolist() == []


def test_budget_holds_for_several_zips_together() -> None:
    budget = DirectoryBudget(entries=7, bytes=1000)
    for _ in range(2):
        assert check_directory(BytesIO(raw_zip(ENTRIES)), budget) == 3
    size = len(b"".join(ENTRIES))
    assert (budget.entries, budget.bytes) == (1, 1000 - 2 * size)
    with pytest.raises(ZipDirectoryTooLarge):
        check_directory(BytesIO(raw_zip(ENTRIES)), budget)
    with pytest.raises(ZipDirectoryTooLarge):
        check_directory(BytesIO(raw_zip(ENTRIES)), DirectoryBudget(7, size - 1))


def test_budget_may_be_used_up() -> None:
    budget = DirectoryBudget(entries=3, bytes=len(b"".join(ENTRIES)))
    assert check_directory(BytesIO(raw_zip(ENTRIES)), budget) == 3
    assert (budget.entries, budget.bytes) == (0, 0)
    assert check_directory(BytesIO(raw_zip([])), budget) == 0


@pytest.mark.parametrize(("entries", "size"), [(2, 10_000), (3, len(b"".join(ENTRIES)) - 1)])
def test_directory_one_larger_than_the_budget_takes_no_entries(entries: int, size: int) -> None:
    budget = DirectoryBudget(entries, size)
    with pytest.raises(ZipDirectoryTooLarge, match=rf"more than ({entries}|{size}) (entries|bytes)"):
        check_directory(BytesIO(raw_zip(ENTRIES)), budget)
    assert budget.entries == entries


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (struct.pack("<HH", 0x9999, 1020) + bytes(1020), ""),
        (struct.pack("<HH", 0x9999, 1020) + bytes(1021), "extra field of more than 1,024 bytes"),
        (EMPTY_FIELDS * 16, ""),
        (EMPTY_FIELDS * 15 + struct.pack("<HH", 0x9999, 9) + bytes(9), ""),
        (EMPTY_FIELDS * 17, "extra field of more than 16 parts"),
    ],
)
def test_extra_fields_up_to_the_limits_are_accepted(extra: bytes, message: str) -> None:
    data = raw_zip([ENTRIES[0], directory_entry(b"name", extra), ENTRIES[1]])
    if not message:
        assert checked(data) == 3
        return
    with pytest.raises(BadZipDirectory, match=message):
        checked(data)


def test_zip_with_the_longest_comment_is_found() -> None:
    assert checked(raw_zip(ENTRIES, comment=b"x" * 0xFFFF)) == 3
    with pytest.raises(BadZipDirectory, match="the end of a zip is missing"):
        checked(raw_zip(ENTRIES) + b"x" * 0x1_0000)


@pytest.mark.quiet
@pytest.mark.parametrize("data", [zip_of_empty_fields(), zip_of_folders(9_900), b"PK\x05\x06" * 2_500_000])
def test_hostile_directory_costs_little(data: bytes) -> None:
    started = time.thread_time()
    with suppress(BadZipDirectory):
        checked(data)
    assert time.thread_time() - started < 0.1


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_check_and_zipfile_agree_on_corrupted_zips(data: st.DataObject) -> None:
    base = data.draw(
        st.sampled_from([raw_zip(ENTRIES), raw_zip(ENTRIES, comment=b"PK\x05\x06"), raw_zip64(ENTRIES), zipped(a=b"b")])
    )
    archive = bytearray(data.draw(st.binary(max_size=5)) + base + data.draw(st.binary(max_size=5)))
    for _ in range(data.draw(st.integers(0, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.sampled_from([0, 1, 2, 5, 6, 7, 30, 255]))
    try:
        count = checked(bytes(archive))
    except BadZipDirectory:
        return
    try:
        infolist = zipfile.ZipFile(BytesIO(archive)).infolist()
    except Exception:  # stricter than the check, such as about the encoding of names
        return
    assert count == len(infolist)


def test_signature_inside_the_end_record_is_no_end_record() -> None:
    """The numbers of disks, which `zipfile` ignores, may be anything."""
    data = raw_zip(ENTRIES)
    assert data[-18:-14] == bytes(4)
    data = data[:-18] + b"PK\x05\x06" + data[-14:]
    assert checked(data) == len(zipfile.ZipFile(BytesIO(data)).infolist()) == 3
