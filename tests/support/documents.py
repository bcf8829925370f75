"""A Markdown document as sections of examples: what it tells people to run, and the answers that it shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

LANGUAGES = ("bash", "python", "js")


@dataclass(frozen=True)
class Example:
    """A block to be run, where it stands (counting lines from 1), and the answer that is shown for it."""

    document: Path
    section: str
    line: int
    language: str
    code: str
    answer: Any = None

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line} {self.section}, {self.language}"


@dataclass
class Section:
    """What lies between two headings."""

    title: str
    text: str = ""
    examples: list[Example] = field(default_factory=list)


def sections(document: Path) -> list[Section]:
    """Read a document; a block of JSON is the answer to every example above it in its section."""
    source = document.read_text()
    lines = source.splitlines()
    found = [Section("")]
    for node in SyntaxTreeNode(MarkdownIt().parse(source)).children:
        begin, end = node.map or (0, 0)
        section = found[-1]
        if node.type == "heading":
            found.append(Section(node.children[0].content))
            continue
        section.text += "\n".join(lines[begin:end]) + "\n\n"
        if node.type != "fence":
            continue
        if node.info == "json":
            assert section.examples, f"{document.name}:{begin + 1}: this answers no example"
            answer = json.loads(node.content)
            section.examples = [replace(example, answer=answer) for example in section.examples]
        elif node.info in LANGUAGES:
            section.examples.append(Example(document, section.title, begin + 2, node.info, node.content))
    return found


def differences(shown: Any, answer: Any, where: str = "the answer") -> Iterator[str]:
    """What of the form that is shown an answer does not have: keys, kinds of values, and the first items of lists."""
    if _kind(shown) is not _kind(answer):
        yield f"{where} is {answer!r}, not like {shown!r}"
    elif isinstance(shown, dict):
        for key, value in shown.items():
            if key in answer:
                yield from differences(value, answer[key], f"{where}[{key!r}]")
            else:
                yield f"{where} has no {key!r}"
    elif isinstance(shown, list):
        if shown and not answer:
            yield f"{where} is empty"
        for index, pair in enumerate(zip(shown, answer, strict=False)):
            yield from differences(*pair, f"{where}[{index}]")


def _kind(value: Any) -> type:
    """JSON knows one kind of number."""
    return float if type(value) is int else type(value)
