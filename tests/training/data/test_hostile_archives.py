"""Archives that would fill the disk or the memory: they are rejected before they do, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.class_folders import contents, tarred, zipped
from tests.support.raw_zips import directory_entry, end_record, raw_zip, zip_of_empty_fields
from training.data.archives import locate_root, unpack
from training.errors import DatasetError, SettingError

FILES = {f"train/cat/{number}": bytes(1000) for number in range(3)}
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


def header(name: str = "x", size: int = 0, kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """Return the header blocks of a member."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(tarfile.GNU_FORMAT if size < 0 or size >= 8**11 else tarfile.PAX_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


DOG = header("train/dog/1", 3) + padded(b"dog")


def sparse(size: int) -> bytes:
    """Return a member whose file is nothing but a hole of this size (GNU tar, PAX format 1.0)."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)}
    return header("train/cat/hole", BLOCK, pax_headers=records) + padded(b"0\n")


def with_global_records(count: int, length: int) -> bytes:
    """Return members, before each of which is a record of its own that holds for all members after it."""
    records = (tarfile.TarInfo.create_pax_global_header({f"key{number}": "x" * length}) for number in range(count))
    return b"".join(record + header(f"x{number}") for number, record in enumerate(records))


def zipped_deflated(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a", content)
        assert archive.getinfo("a").compress_size * 1020 < len(content)
    return path


def assert_rejected(archive: Path, tmp_path: Path, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        locate_root(archive, "train", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name != "archives"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_too_many_bytes_are_rejected(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "pets.archive", FILES)
    monkeypatch.setenv("TRAINING_MAX_UNPACKED_GB", "0.000003")
    assert contents(locate_root(archive, "train", tmp_path / "cache")) == FILES
    archive.touch()
    monkeypatch.setenv("TRAINING_MAX_UNPACKED_GB", "0.0000029")
    with pytest.raises(DatasetError, match=r"more than 2\.9e-06 GB.*TRAINING_MAX_UNPACKED_GB"):
        locate_root(archive, "train", tmp_path / "other")
    assert not list((tmp_path / "other" / "archives").iterdir())


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("limit", [4, 5])
def test_too_many_files_and_folders_are_rejected(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "pets.archive", FILES)
    monkeypatch.setenv("TRAINING_MAX_UNPACKED_FILES", str(limit))
    if limit == 5:  # three files and two folders
        assert contents(locate_root(archive, "train", tmp_path / "cache")) == FILES
    else:
        assert_rejected(archive, tmp_path, "more than 4 files and folders.*TRAINING_MAX_UNPACKED_FILES")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_invalid_limit_is_an_error(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINING_MAX_UNPACKED_GB", "much")
    with pytest.raises(SettingError, match="TRAINING_MAX_UNPACKED_GB=much"):
        unpack(pack(tmp_path / "pets.archive", FILES), tmp_path / "out")


def test_members_without_files_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_MAX_UNPACKED_FILES", "99")
    folders = b"".join(header(f"f{number}", kind=tarfile.DIRTYPE) for number in range(100))
    (tmp_path / "a.tar").write_bytes(folders + END)
    assert_rejected(tmp_path / "a.tar", tmp_path, "more than 99 (files and folders|entries)")
    (tmp_path / "a.zip").write_bytes(raw_zip([directory_entry(b"f%d/" % number) for number in range(100)]))
    assert_rejected(tmp_path / "a.zip", tmp_path, "more than 99 (files and folders|entries)")
    assert_rejected(
        zipped(tmp_path / "b.zip", {"a/" * 99 + "x": b""}), tmp_path, "more than 99 (files and folders|entries)"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (sparse(200_000_000) + END, "sparse file"),
        (header(size=2**40) + END, "unpacks to more than 20 GB"),
        (header(size=-BLOCK) + END, "unpacks to more than 20 GB|negative size|cannot be unpacked"),
        (header(kind=tarfile.XHDTYPE, size=2**33) + END, "cannot be unpacked .*headers of a member"),
        (header(kind=tarfile.XGLTYPE, size=2**33) + END, "cannot be unpacked .*headers of a member"),
        (header(kind=tarfile.GNUTYPE_LONGNAME, size=2**40) + END, "cannot be unpacked .*headers of a member"),
        (header(kind=tarfile.XHDTYPE, size=-BLOCK) + END, "cannot be unpacked .*headers of a member"),
        (header(kind=tarfile.XHDTYPE, size=BLOCK) * 5_000 + END, "cannot be unpacked"),
        (tarfile.TarInfo.create_pax_global_header({"key": "x"}) * 1_000 + END, "cannot be unpacked"),
        (with_global_records(1_001, 10) + END, "cannot be unpacked .*global headers"),
        (with_global_records(3, 4_000) + END, "cannot be unpacked .*global headers"),
        (header(kind=tarfile.XHDTYPE, size=20_000) + padded(b"1" * 20_000) + END, "headers of a member"),
        (DOG + bytes(BLOCK) + padded(b"dog") + DOG + END, "one of its headers is damaged"),
        (DOG + END + DOG + END, "several archives were joined"),
    ],
    ids=[
        "sparse file",
        "large file",
        "negative file",
        "pax header",
        "global header",
        "long name",
        "negative pax header",
        "pax headers of pax headers",
        "global headers of global headers",
        "many global headers",
        "large global headers",
        "header of digits",
        "zeroed header",
        "joined archives",
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_crafted_tar_is_rejected(tmp_path: Path, content: bytes, message: str, is_first: bool) -> None:
    before = b"" if is_first else header("train/cat/1", 3) + padded(b"cat")
    (tmp_path / "a.tar").write_bytes(before + content)
    assert_rejected(tmp_path / "a.tar", tmp_path, message)


def with_long_header(size: int) -> bytes:
    """Return a file whose headers have this number of bytes: of the pax records, the records, and of the file."""
    length = size - 2 * BLOCK
    record = f"{length} comment=".encode()
    return (
        header("pax", length, tarfile.XHDTYPE)
        + record
        + b"x" * (length - len(record) - 1)
        + b"\n"
        + header("train/cat/long", 3)
        + padded(b"cat")
    )


@pytest.mark.parametrize(
    ("accepted", "rejected", "message"),
    [
        (with_global_records(1_000, 8), with_global_records(1_001, 8), "global headers are too long"),
        (with_global_records(2, 4_096), with_global_records(2, 4_097), "global headers are too long"),
        (with_long_header(8 * 1024), with_long_header(8 * 1024 + BLOCK), "headers of a member declare more than 8,192"),
    ],
    ids=["number of global records", "length of global records", "headers of a member"],
)
def test_headers_of_a_tar_up_to_the_limit_are_read(
    tmp_path: Path, accepted: bytes, rejected: bytes, message: str
) -> None:
    (tmp_path / "accepted.tar").write_bytes(accepted + DOG + END)
    unpack(tmp_path / "accepted.tar", tmp_path / "out")
    assert contents(tmp_path / "out")["train/dog/1"] == b"dog"
    (tmp_path / "rejected.tar").write_bytes(rejected + DOG + END)
    assert_rejected(tmp_path / "rejected.tar", tmp_path, message)


def test_second_archive_within_a_mebibyte_of_zeros_is_found(tmp_path: Path) -> None:
    """Programs pad archives with zeros; GNU tar by at most 10 KiB, unless another size is set."""
    (tmp_path / "padded.tar").write_bytes(DOG + END + bytes(2_000_000))
    unpack(tmp_path / "padded.tar", tmp_path / "out")
    assert contents(tmp_path / "out") == {"train/dog/1": b"dog"}
    (tmp_path / "joined.tar").write_bytes(DOG + END + bytes(1024 * 1024 - 2 * BLOCK) + DOG + END)
    assert_rejected(tmp_path / "joined.tar", tmp_path, "several archives were joined")


def test_directory_of_a_zip_has_a_limit_of_bytes(tmp_path: Path) -> None:
    """The file is sparse: it has a directory of zeros, which is rejected by its declared size, before it is read."""
    size = 256 * 1024 * 1024 + 1
    with (tmp_path / "a.zip").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(size)
        file.write(end_record(0, size, 0))
    assert_rejected(tmp_path / "a.zip", tmp_path, "a directory of more than 268,435,456 bytes")


def compressed_entry(method: int, packed: bytes, size: int, checksum: int) -> bytes:
    """Return a zip of one file that declares this unpacked size."""
    fields = struct.pack("<HHHHHLLLHH", 20, 0, method, 0, 0x21, checksum, len(packed), size, 1, 0)
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + b"a"
    start = b"PK\x03\x04" + fields + b"a" + packed
    return start + entry + end_record(1, len(entry), len(start))


@pytest.mark.parametrize(
    ("method", "packed", "size"), [(zipfile.ZIP_STORED, bytes(10), 10), (zipfile.ZIP_DEFLATED, b"\x03\0", 2 * 1032)]
)
def test_unpacked_size_that_packed_bytes_cannot_hold_takes_no_budget(
    tmp_path: Path, method: int, packed: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that declares more than deflate can hold is damaged; one that declares less counts for the limit."""
    monkeypatch.setenv("TRAINING_MAX_UNPACKED_GB", "0.000000001")  # one byte
    (tmp_path / "a.zip").write_bytes(compressed_entry(method, packed, size, 0))
    assert_rejected(tmp_path / "a.zip", tmp_path, "unpacks to more than 1e-09 GB")
    (tmp_path / "b.zip").write_bytes(compressed_entry(method, packed, size + 1, 0))
    assert_rejected(tmp_path / "b.zip", tmp_path, "'a' is damaged in the archive")


def test_deflated_zeros_are_unpacked(tmp_path: Path) -> None:
    """They have the highest ratio that deflate can reach."""
    unpack(zipped_deflated(tmp_path / "a.zip", bytes(5_000_000)), tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": bytes(5_000_000)}


@pytest.mark.quiet
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_of_a_compressed_tar_take_little_memory(tmp_path: Path, kind: bytes) -> None:
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as file:
        file.write(header("train/cat/1", 3) + padded(b"cat") + header(kind=kind, size=100_000_000))
        for _ in range(100):
            file.write(bytes(1_000_000))
    assert peak_bytes(lambda: assert_rejected(tmp_path / "a.tar.gz", tmp_path, "headers of a member")) < 5_000_000


@pytest.mark.quiet
def test_memory_does_not_grow_with_the_members_of_a_tar(tmp_path: Path) -> None:
    block = header("folder", kind=tarfile.DIRTYPE)
    (tmp_path / "a.tar").write_bytes(block * 5_000 + END)
    assert peak_bytes(lambda: unpack(tmp_path / "a.tar", tmp_path / "out")) < 1_500_000


def peak_bytes(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_without_its_end_is_rejected(tmp_path: Path, mode: str) -> None:
    """`tarfile` takes the start of a damaged header as the end of the archive, and loses all later members."""
    content = tarred(tmp_path / "pets.tar", FILES, "w").read_bytes()
    member = 3 * BLOCK
    for damaged in (
        content[: 3 * member],
        content[:member] + b"\xff" + content[member + 1 :],
        content[: 2 * member] + bytes([content[2 * member] ^ 1]) + content[2 * member + 1 :],
    ):
        archive = tmp_path / "damaged.tar"
        archive.write_bytes(gzip.compress(damaged) if mode == "w:gz" else damaged)
        assert_rejected(archive, tmp_path, "cannot be unpacked .*cut off, or one of its headers is damaged")


def test_wrong_checksum_of_gzip_is_rejected(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "pets.tar.gz", FILES)
    content = bytearray(archive.read_bytes())
    content[-5] ^= 1
    archive.write_bytes(content)
    assert_rejected(archive, tmp_path, "CRC")


def test_compressed_file_that_is_not_a_tar_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"text" * 1000))
    assert_rejected(tmp_path / "a.gz", tmp_path, "cannot be unpacked")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_zipfile_decompresses_without_a_limit_are_not_read(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive, archive.open("a/b", "w") as entry:
        for _ in range(20):
            entry.write(bytes(1_000_000))
    assert peak_bytes(lambda: assert_rejected(tmp_path / "a.zip", tmp_path, "usual method")) < 3_000_000


@pytest.mark.quiet
def test_hostile_directory_of_a_zip_costs_little(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of_empty_fields())
    started = time.thread_time()
    assert_rejected(tmp_path / "a.zip", tmp_path, "extra field of more than 1,024 bytes")
    assert time.thread_time() - started < 0.3


def test_tar_of_any_usual_kind_is_unpacked(tmp_path: Path) -> None:
    """Long names, records for all members, folders and empty files are no attack."""
    files = {"a" * 90 + "/" + "ü" * 90 + ".png": b"x", "train/cat/empty": b""} | FILES
    for number, (kind, records) in enumerate(
        [(tarfile.GNU_FORMAT, {}), (tarfile.PAX_FORMAT, {"comment": "all"}), (tarfile.PAX_FORMAT, {})]
    ):
        archive, out = tmp_path / f"{number}.tar.xz", tmp_path / f"out{number}"
        with tarfile.open(archive, "w:xz", format=kind, pax_headers=records) as members:
            folder = tarfile.TarInfo("train")
            folder.type = tarfile.DIRTYPE
            members.addfile(folder)
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mtime = 1.5
                members.addfile(member, io.BytesIO(content))
        unpack(archive, out)
        assert contents(out) == files
