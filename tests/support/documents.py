"""Markdown documents as sections of code examples and the responses shown for them."""

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
    """A code block, its line number (from 1), and the response shown for it."""

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
    """The text and examples between two headings."""

    title: str
    text: str = ""
    examples: list[Example] = field(default_factory=list)


def sections(document: Path) -> list[Section]:
    """Parse a document; a JSON block is the response to all examples above it in its section."""
    source = document.read_text()
    lines = source.splitlines()
    parsed = [Section("")]
    for node in SyntaxTreeNode(MarkdownIt().parse(source)).children:
        begin, end = node.map or (0, 0)
        section = parsed[-1]
        if node.type == "heading":
            parsed.append(Section(node.children[0].content))
            continue
        section.text += "\n".join(lines[begin:end]) + "\n\n"
        if node.type != "fence":
            continue
        if node.info == "json":
            assert section.examples, f"{document.name}:{begin + 1}: this response has no example"
            answer = json.loads(node.content)
            section.examples = [replace(example, answer=answer) for example in section.examples]
        elif node.info in LANGUAGES:
            section.examples.append(Example(document, section.title, begin + 2, node.info, node.content))
    return parsed


def differences(shown: Any, answer: Any, where: str = "the response") -> Iterator[str]:
    """Yield differences in form: missing keys, other types of values, and list items that are missing or different."""
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
    """Return the type of a value; JSON has only one type of number."""
    return float if type(value) is int else type(value)
