"""Classification of image files, in batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.offline.predict import classify_files, find_images
from models.preprocess import PreprocessSpec
from tests.support.colour_engine import ColourEngine
from tests.support.fake_classifiers import fake_classifier, fake_extractor
from tests.support.images import encode, noise
from tests.support.undecodable_names import write_file


@pytest.mark.parametrize(("side", "batch_sizes"), [(32, [128, 128, 4]), (298, [32] * 8 + [4])])
def test_batch_size_depends_on_the_image_size(tmp_path: Path, side: int, batch_sizes: list[int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(8, 8), "PNG"))
    engine = ColourEngine()
    classifier = fake_classifier(fake_extractor(engine=engine))
    manifest = classifier.manifest.model_copy(update={"preprocess": PreprocessSpec(size=side)})
    paths = {str(number): path for number in range(260)}
    broken: dict[str, str] = {}
    results = classify_files(replace(classifier, manifest=manifest), paths, broken.__setitem__)
    assert [name for name, _ in results] == list(paths)
    assert (engine.batch_sizes, broken) == (batch_sizes, {})


# --- images in folders

METADATA = (
    ".hidden.jpg",
    ".thumbnails/t.jpg",
    "__MACOSX/._a.jpg",
    "__MACOSX/t.jpg",
    "sub/__macosx/t.jpg",
    "sub/.picasaoriginals/deep/t.jpg",
    "Thumbs.db",
    "sub/THUMBS.DB",
    "sub/ehthumbs.db",
    "desktop.ini",
    "sub/Desktop.ini",
    ".DS_Store",
)
IMAGES = ("a.jpg", "notes.txt", "sub/Thumbs.db.jpg", "sub/t.jpg")


def write_tree(folder: Path) -> Path:
    for name in (*METADATA, *IMAGES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(*patterns: Path | str) -> list[str]:
    return list(find_images(map(str, patterns)))


def below(folder: Path, *names: str) -> list[str]:
    return [str(folder / name) for name in names]


def test_folder_is_read_without_metadata_of_file_managers(tmp_path: Path) -> None:
    assert found(write_tree(tmp_path)) == below(tmp_path, *IMAGES)


def test_folder_inside_a_hidden_one_is_read(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / ".cache" / "__MACOSX")
    assert found(folder) == below(folder, *IMAGES)
    assert found(folder / ".thumbnails") == below(folder, ".thumbnails/t.jpg")


@pytest.mark.parametrize("name", METADATA)
def test_named_file_is_always_used(tmp_path: Path, name: str) -> None:
    write_tree(tmp_path)
    assert found(tmp_path / name) == below(tmp_path, name)
    assert found(tmp_path, tmp_path / name) == below(tmp_path, *IMAGES, name)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", IMAGES),
        ("**/*.jpg", ("a.jpg", "sub/Thumbs.db.jpg", "sub/t.jpg")),
        ("*/*", ("sub/Thumbs.db.jpg", "sub/t.jpg")),
        ("*.db", ()),
        ("__MACOSX/*.jpg", ("__MACOSX/t.jpg",)),
        (".thumb*/*", (".thumbnails/t.jpg",)),
        (".hidden.*", (".hidden.jpg",)),
        ("*/THUMBS.DB", ("sub/THUMBS.DB",)),
    ],
)
def test_wildcards_match_no_metadata_that_the_pattern_does_not_name(
    tmp_path: Path, pattern: str, expected: tuple[str, ...]
) -> None:
    assert found(write_tree(tmp_path) / pattern) == below(tmp_path, *expected)


def test_names_that_are_not_utf8_are_found_and_stay_different(tmp_path: Path) -> None:
    paths = [write_file(tmp_path, name, b"") for name in (b"caf\xe8.jpg", b"caf\xe9.jpg")]
    assert sorted(found(tmp_path)) == sorted(map(str, paths))
