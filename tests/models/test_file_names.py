"""Names of the metadata of file managers."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from models.file_names import has_metadata, has_metadata_part

PARTS = st.sampled_from(
    ["a", ".", "..", ".b", "c.d", "__MACOSX", "__macosxx", "x__macosx", "Thumbs.db", "thumbs.dbx", "desktop.ini"]
)


@given(st.lists(PARTS | st.text(st.characters(exclude_characters="/"), min_size=1), min_size=1).map("/".join))
@example("thumbsxdb")
@example("./a.jpg")
@example("a/./b/.")
@example(".\n")
@example("thumbs.db\n")
def test_parts_of_a_text_are_metadata_if_those_of_the_path_are(path: str) -> None:
    assert has_metadata_part(path) == has_metadata(PurePosixPath(path))
