from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models.errors import CorruptArtifact
from models.manifests import (
    MAX_MANIFEST_BYTES,
    Agreement,
    ClassifierManifest,
    ExtractorManifest,
    ExtractorReference,
    FileName,
    HeadReference,
    Manifest,
    Metrics,
    engine_files,
    max_file_bytes,
    parse,
    render,
)
from models.preprocess import PreprocessSpec
from tests.support.manifests import classifier_manifest, extractor_manifest

TEXT = st.text(max_size=8)
SHARE = st.floats(0, 1)
FILE_NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
DIGESTS = st.dictionaries(FILE_NAMES, TEXT, max_size=3)
ANYTHING = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
EXTRACTORS = st.builds(
    ExtractorManifest,
    name=TEXT,
    version=st.integers(1),
    created=TEXT,
    network=TEXT,
    input_size=st.integers(),
    outputs=st.dictionaries(TEXT, st.integers(), max_size=3),
    tops=st.dictionaries(TEXT, st.lists(TEXT, max_size=3).map(tuple), max_size=2),
    engines=st.dictionaries(TEXT, st.builds(Agreement, min_cosine=SHARE, min_top1=SHARE), max_size=2),
    fitted_on=ANYTHING,
    recipe=ANYTHING,
    seed=st.integers(),
    libraries=DIGESTS,
    files=DIGESTS,
)
CLASSIFIERS = st.builds(
    ClassifierManifest,
    name=TEXT,
    version=st.integers(1),
    created=TEXT,
    classes=st.lists(TEXT, max_size=4).map(tuple),
    preprocess=st.builds(PreprocessSpec, size=st.integers(32, 1024), source=st.none() | st.integers(8, 1024)),
    extractor=st.builds(ExtractorReference, name=TEXT, weights_sha256=TEXT, output=TEXT),
    head=st.builds(HeadReference, kind=TEXT, file=FILE_NAMES, sha256=TEXT, temperature=st.floats(0.01, 100)),
    metrics=st.dictionaries(
        TEXT,
        st.builds(
            Metrics,
            images=st.integers(),
            accuracy=SHARE,
            accuracy_interval=st.tuples(SHARE, SHARE),
            top5_accuracy=SHARE,
            log_loss=st.floats(0, 100),
            expected_calibration_error=SHARE,
            accuracy_by_class=st.dictionaries(TEXT, SHARE, max_size=3),
        ),
        max_size=2,
    ),
    recipe=ANYTHING,
    data=ANYTHING,
    seed=st.integers(),
    libraries=DIGESTS,
    files=DIGESTS,
)


def read_back(data: bytes, like: Manifest) -> Manifest:
    return parse(data, ExtractorManifest) if isinstance(like, ExtractorManifest) else parse(data, ClassifierManifest)


@settings(deadline=None, max_examples=40)
@given(EXTRACTORS | CLASSIFIERS)
def test_manifest_round_trips(manifest: Manifest) -> None:
    written = render(manifest)
    parsed = read_back(written, manifest)
    assert parsed == manifest
    assert render(parsed) == written


@pytest.mark.parametrize("manifest", [extractor_manifest({"a": b"1"}), classifier_manifest({"a": b"1"})])
def test_any_changed_byte_is_rejected(manifest: Manifest) -> None:
    written = render(manifest)
    for position in range(len(written)):
        for change in (0x01, 0x20, 0x80):
            damaged = bytearray(written)
            damaged[position] ^= change
            with pytest.raises(CorruptArtifact, match=r"its manifest\.json was changed or is damaged"):
                read_back(bytes(damaged), manifest)


def test_missing_or_additional_byte_is_rejected() -> None:
    written = render(classifier_manifest({}))
    for position in range(len(written)):
        for damaged in (written[:position], written[:position] + written[position + 1 :]):
            with pytest.raises(CorruptArtifact):
                parse(damaged, ClassifierManifest)
    for damaged in (written + b"\n", b" " + written, b"\xef\xbb\xbf" + written):
        with pytest.raises(CorruptArtifact):
            parse(damaged, ClassifierManifest)


def test_digest_covers_the_content() -> None:
    content = json.loads(render(classifier_manifest({})))
    assert next(iter(content)) == "digest", "the digest is the first key"
    content["classes"][0] = "purple"
    with pytest.raises(CorruptArtifact, match="its digest does not match"):
        parse((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(), ClassifierManifest)


@pytest.mark.parametrize("manifest", [extractor_manifest({}), classifier_manifest({})])
def test_manifest_of_another_kind_is_rejected(manifest: Manifest) -> None:
    other = classifier_manifest({}) if isinstance(manifest, ExtractorManifest) else extractor_manifest({})
    with pytest.raises(CorruptArtifact):
        read_back(render(manifest), like=other)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"null", b"[]", b"{}", b'"text"', b"1", b"\xff", b"[" * 100_000, b'{"digest": 1}', b"9" * 5_000],
    ids=lambda damaged: repr(damaged[:20]),
)
def test_other_json_is_rejected(damaged: bytes) -> None:
    with pytest.raises(CorruptArtifact) as caught:
        parse(damaged, ClassifierManifest)
    assert "\n" not in str(caught.value), "an error is one line"


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_rejected(damaged: bytes) -> None:
    with pytest.raises(CorruptArtifact):
        parse(damaged, ExtractorManifest)


def test_manifest_is_frozen_and_rejects_unknown_fields() -> None:
    manifest = classifier_manifest({})
    with pytest.raises(ValueError, match="frozen"):
        manifest.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="extra"):
        classifier_manifest({}, extra=1)
    with pytest.raises(ValueError, match="version"):
        classifier_manifest({}, version=0)


def test_manifest_without_coarser_classes_is_written_as_before_there_were_any() -> None:
    manifest = classifier_manifest({})
    assert b"parents" not in render(manifest)
    assert parse(render(manifest), ClassifierManifest).parents == {}


def test_coarser_classes_are_written_and_have_to_fit_the_classes() -> None:
    parents = {"red": "warm", "warm": "colour"}
    assert parse(render(classifier_manifest({}, parents=parents)), ClassifierManifest).parents == parents
    for wrong in ({"red": "warm", "warm": "red"}, {"red": "blue"}, {"pink": "warm"}):
        with pytest.raises(ValidationError, match=r"is above itself|is a class|is neither a class"):
            classifier_manifest({}, parents=wrong)
        broken = classifier_manifest({}).model_copy(update={"parents": wrong})
        with pytest.raises(CorruptArtifact):
            parse(render(broken), ClassifierManifest)


def test_files_of_an_artifact_have_limits() -> None:
    assert MAX_MANIFEST_BYTES == 16_000_000
    limits = {file: max_file_bytes(file) for file in ("head.pkl", "golden.npz", "holdout.npy", "README.md", "int8.bin")}
    assert limits == {
        "head.pkl": 256_000_000,
        "golden.npz": 256_000_000,
        "holdout.npy": 256_000_000,
        "README.md": 4_000_000,
        "int8.bin": 4_000_000_000,
    }


@pytest.mark.parametrize("engine", ["openvino:int8", "openvino:float32", "openvino:bfloat16", "tensorflow:float16"])
def test_engine_reads_the_files_of_its_precision(engine: str) -> None:
    expected = {"openvino:int8": ("int8.xml", "int8.bin"), "tensorflow:float16": ("weights.safetensors",)}
    assert engine_files(engine) == expected.get(engine, ("float16.xml", "float16.bin"))


@pytest.mark.parametrize("name", ["a", "A_0.b-c", "a" * 100, "0"])
def test_file_names_are_accepted(name: str) -> None:
    assert TypeAdapter(FileName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "a" * 101, ".a", "-a", "a/b", "..", "a\\b", "a b", "ä", "a\n", "a\0"])
def test_file_names_that_could_be_paths_are_rejected(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(FileName).validate_python(name)
