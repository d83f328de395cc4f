"""A YAML file as plain data plus the line of each key.

PyYAML's safe composer reads the text. Whatever a configuration has no use for is refused with its
line: duplicate keys (YAML silently keeps the last), tags, keys that are not text, tabs, a second
document, alias bombs, self-references, NUL characters. Numbers keep their text as written, because
0.10 read as a number is 0.1, which is not the same release.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchy.core import hashing
from benchy.core.errors import ConfigError, Mistake

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML without libyaml: five times slower, same result
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

# A config is a page of text. Aliases may repeat a part of it, but not multiply it.
MAX_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 50
MAX_BITS = 1024  # of an integer: Python prints none of more than 4,300 digits

Key = tuple[str | int, ...]


@dataclass
class Document:
    """One file.

    Attributes:
        file: its name in messages.
        data: its mapping, {} if it has none.
        lines: path of a key → 1-based line.
        written: path of a number → its text as written.
        sha256: hash of the file's bytes.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Key, int] = field(default_factory=dict)
    written: dict[Key, str] = field(default_factory=dict)
    sha256: str = ""

    def line(self, key: Key) -> int:
        """Return the line of a key, or of the nearest key above it that has one; 0 if none has."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)

    def mistake(self, key: Key, what: str, hint: str = "") -> Mistake:
        return Mistake(self.file, self.line(key), dotted(key), what, hint)


def dotted(key: Key) -> str:
    return ".".join(map(str, key))


def read(path: Path, name: str | None = None) -> Document:
    """Return the document in a file. Raise ConfigError with everything wrong with its form.

    name: the file's name in messages; its path by default.
    """
    name = name or str(path)
    try:
        if path.is_dir():
            raise ConfigError([Mistake(name, 0, "", "is a directory, not a YAML file")])
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError([Mistake(name, 0, "", f"has {size} bytes; the limit is {MAX_BYTES}")])
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Mistake(name, 0, "", error.strerror or str(error))]) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            [Mistake(name, line, "", "is not UTF-8", "save the file as UTF-8")]
        ) from None
    document = parse(text, name)
    document.sha256 = hashing.of_bytes(raw)
    return document


def parse(text: str, name: str) -> Document:
    """Return the document in a text. Raise ConfigError as `read` does."""
    try:
        _check_depth(text, name)
        root = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax(error, text, name)]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Mistake(name, 0, "", str(error).splitlines()[0])]) from None
    except UnicodeEncodeError:  # a knob with bytes that are not UTF-8
        raise ConfigError([Mistake(name, 0, "", "is not UTF-8")]) from None
    document = Document(name)
    if root is None:
        raise ConfigError(
            [Mistake(name, 0, "", "is empty", "configs/templates/ has commented examples")]
        )
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            [Mistake(name, 1, "", "is not a mapping", "write `key: value` lines at the top level")]
        )
    builder = _Builder(document)
    document.data = builder.value(root, ())
    if builder.mistakes:
        raise ConfigError(builder.mistakes)
    return document


def _check_depth(text: str, name: str) -> None:
    """Raise ConfigError if a text is nested deeper than MAX_DEPTH.

    libyaml's composer recurses without a limit and would crash the process. Each level needs one of
    five characters; counting these first saves parsing most files twice.
    """
    if sum(map(text.count, "[{-:?")) <= 4 * MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1
            raise ConfigError([Mistake(name, line, "", "is nested too deeply")])


def _syntax(error: yaml.MarkedYAMLError, text: str, name: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    lines = text.splitlines()
    what = error.problem or error.context or "is not YAML"
    if line and line <= len(lines) and "\t" in lines[line - 1].split("#")[0]:
        return Mistake(name, line, "", "has a tab", "indent with spaces")
    if "expected a single document" in str(error.context):
        return Mistake(
            name, line, "", "has a second document", "write each configuration to its own file"
        )
    hint = "check the indentation, quotes and brackets here and above"
    return Mistake(name, line, "", f"is not YAML: {what}", hint)


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.mistakes: list[Mistake] = []
        self.nodes = 0
        self.open: set[int] = set()  # nodes whose content is being read
        self.constructor = Loader("")

    def wrong(self, node: yaml.Node, key: Key, what: str, hint: str = "") -> None:
        line = node.start_mark.line + 1
        self.mistakes.append(Mistake(self.document.file, line, dotted(key), what, hint))

    def value(self, node: yaml.Node, key: Key) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or max(len(key), len(self.open)) > MAX_DEPTH:
            raise ConfigError(
                [
                    Mistake(
                        self.document.file,
                        node.start_mark.line + 1,
                        "",
                        "is too large after its aliases are expanded",
                    )
                ]
            )
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in (
            "map",
            "seq",
            "str",
            "int",
            "float",
            "bool",
            "null",
            "timestamp",
            "value",
        ):
            self.wrong(node, key, f"has the tag {node.tag}", "remove the tag")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, key)
        if id(node) in self.open:
            self.wrong(node, key, "contains an alias of itself", "write the value out")
            return None
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, key)
            return [self.value(child, (*key, i)) for i, child in enumerate(node.value)]
        finally:
            self.open.remove(id(node))

    def mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for name_node, child in node.value:
            if name_node.tag == "tag:yaml.org,2002:merge":  # `<<: *shared`
                for part in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    value = self.value(part, key)
                    if isinstance(value, dict):
                        merged = {**value, **merged}
                    else:
                        self.wrong(name_node, key, "merges a value that is not a mapping")
                continue
            if not isinstance(name_node, yaml.ScalarNode) or name_node.tag != (
                "tag:yaml.org,2002:str"
            ):
                self.wrong(name_node, key, "has a key that is not text", "put the key in quotes")
                continue
            name = name_node.value
            path = (*key, name)
            if name in out:
                first = self.document.lines[path]
                self.wrong(
                    name_node,
                    path,
                    f"is defined twice (first on line {first})",
                    "keep one of them; YAML silently uses the last",
                )
                continue
            self.document.lines[path] = name_node.start_mark.line + 1
            out[name] = self.value(child, path)
        return {**merged, **out}

    def scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        self.document.lines.setdefault(key, node.start_mark.line + 1)
        if "\0" in node.value:  # no path, argument or variable can contain one
            self.wrong(node, key, "contains a NUL character", "remove it")
            return None
        if node.tag.endswith((":timestamp", ":value")):
            return node.value  # a date such as 2026-09-05 stays text
        try:
            if node.tag.endswith((":map", ":seq")):
                raise KeyError  # `!!map a`: PyYAML would return an empty mapping
            value = self.constructor.construct_object(node)
        except (KeyError, IndexError):  # `!!bool x`, `!!int ''`
            kind = node.tag.rpartition(":")[2]
            self.wrong(
                node, key, f"has the tag !!{kind}, but is not valid as one", "remove the tag"
            )
            return None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            self.wrong(node, key, f"can't be read: {str(error).partition(chr(10))[0]}")
            return None
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            self.wrong(node, key, "is too large")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.wrong(node, key, f"is {node.value}, not a finite number")
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.document.written[key] = node.value
        return value
