"""rules.yaml as plain values with their lines; what the values mean is not known here."""

import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from offers.rules import Finding, Lined

FILE_NAME = "rules.yaml"
MAX_BYTES = 512 * 1024
_MAX_DEPTH = 12
_MAX_PARTS = 50_000
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class RulesText(NamedTuple):
    """What a file holds; faults, and nothing else, where it is not whole."""

    content: Lined
    digest: str  # of the file's bytes
    faults: tuple[Finding, ...]


class _Fault(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def find_rules(home: Path, data: Path | None = None) -> Path | None:
    """The data folder's rules.yaml, else the project's; None where there is neither."""
    for folder in (data, home):
        if folder is not None and (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def read_rules(file: Path) -> RulesText:
    """The file's values with their lines.

    Raises
    ------
    OSError
        Where the file cannot be read.
    """
    with file.open("rb") as opened:
        return parse_yaml(opened.read(MAX_BYTES + 1))


def rules_hash(content: bytes) -> str:
    """What decisions name the rules of a file by: a hash of its bytes."""
    return hashlib.sha256(b"rules\0" + content).hexdigest()[:16]


def parse_yaml(content: bytes) -> RulesText:
    """YAML's mappings, lists and plain values; a text is one unless it is a number, true, false or null.

    Aliases, tags and keys that stand twice are faults: a small file stays small and says what it says.

    >>> parse_yaml(b"rules:\\n- name: no\\n").content.value["rules"].value[0].value["name"]
    Lined(value='no', line=2)
    """
    digest = rules_hash(content)
    nothing = Lined(None, 1)
    try:
        if len(content) > MAX_BYTES:
            raise _Fault(
                1, f"the file must have at most {MAX_BYTES:,} bytes: make it several groups or fewer rules."
            )
        if not content.strip():
            raise _Fault(1, "the file is empty: write `rules: []` where there are to be none.")
        _check_events(content)
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        found = nothing if node is None else _lined(node)
        return RulesText(found, digest, ())
    except _Fault as fault:
        return RulesText(nothing, digest, (Finding(fault.line, "fault", str(fault)),))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        said = (
            f"this is not whole YAML ({error.problem}). Look at the spaces, colons and quotes here and above."
        )
        return RulesText(nothing, digest, (Finding(line, "fault", said),))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = (
            f"the file must be text in UTF-8 ({' '.join(str(error).split())[:120]}). Save it as plain text."
        )
        return RulesText(nothing, digest, (Finding(1, "fault", said),))


def _check_events(content: bytes) -> None:
    """Faults that must be found before anything is built: aliases, tags, depth and number of parts."""
    depth = n_parts = n_documents = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Fault(line, "anchors (&) and aliases (*) are not understood: write the value out.")
        if getattr(event, "tag", None):
            raise _Fault(line, f"the tag {event.tag} is not understood: write the value without it.")
        n_documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        n_parts += isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent))
        if n_documents > 1:
            raise _Fault(line, "the file must hold one document: remove the line ---.")
        if depth > _MAX_DEPTH or n_parts > _MAX_PARTS:
            raise _Fault(
                line, f"at most {_MAX_DEPTH} levels and {_MAX_PARTS:,} values are read: make it simpler."
            )


def _lined(node: Any, line: int | None = None) -> Lined:
    line = node.start_mark.line + 1 if line is None else line
    if isinstance(node, yaml.ScalarNode):
        return Lined(_scalar(node), line)
    if isinstance(node, yaml.SequenceNode):
        return Lined([_lined(part) for part in node.value], line)
    found: dict[str, Lined] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _Fault(key_line, "a key must be one word: look at the brackets here.")
        if key.value in found:
            raise _Fault(
                key_line, f"`{key.value}` stands twice, first in line {found[key.value].line}: keep one."
            )
        found[key.value] = _lined(value, key_line)
    return Lined(found, line)


def _scalar(node: Any) -> object:
    text: str = node.value
    if node.style is not None:  # quoted, or a block of text
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            number = kind(text) if "_" not in text and len(text) < 40 else math.nan
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text
