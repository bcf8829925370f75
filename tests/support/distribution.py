"""Distribution of the tests over the processes of pytest-xdist.

The tests of a file run in one process, because they share its fixtures; so do the tests of the groups in `_TOGETHER`.
`--dist loadgroup` would do that with markers, but pytest-xdist 3.8 ignores them with pytest 9.2 (its issue 1386).
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SLOWEST = (
    "tests/app/browser/",  # one Chromium
    "tests/training/test_train",  # the first run of the command
    "tests/training/network/",
    "tests/benchmarks/",
    "tests/models/test_main.py",
    "tests/training/",
    "tests/app/openapi/",
    "tests/models/engines/",
    "tests/app/decoding/",
)
"""Path prefixes of groups of files in the order in which they start: the slowest first, so that all processes finish at
about the same time."""
_TOGETHER = SLOWEST[:2]


def group_of(nodeid: str) -> str:
    """Return the name of the group whose tests run in one process."""
    path = nodeid.partition("::")[0]
    return next((prefix for prefix in _TOGETHER if path.startswith(prefix)), path)


def rank(nodeid: str) -> int:
    """Return the position of a test's group in the order in which groups start."""
    return next((index for index, prefix in enumerate(SLOWEST) if nodeid.startswith(prefix)), len(SLOWEST))


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Assigns whole groups to processes, in the order of `rank` and not of their numbers of tests."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
