"""What many decisions share, such as settings, kept once under the hash of its content and never removed."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from offers.settings import Settings, parse_settings
from serving.tables import kept
from training.bundle import Bundle

SETTINGS, NAMES, RULES = "settings", "names", "rules"

_HASH_LENGTH = 16  # hexadecimal digits, as in a bundle's name


@dataclass(frozen=True)
class Kept:
    """A content and the hash that decisions name it by."""

    hash: str
    kind: str
    content: bytes

    @classmethod
    def of(cls, kind: str, content: bytes) -> "Kept":
        """The same kind and content have the same hash.

        >>> Kept.of("settings", b"{}").hash == Kept.of("settings", b"{}").hash
        True
        """
        digest = hashlib.sha256(kind.encode() + b"\0" + content).hexdigest()
        return cls(digest[:_HASH_LENGTH], kind, content)

    def write(self, connection: sa.Connection) -> None:
        """Keep it, where it is not kept already."""
        found = connection.scalar(sa.select(kept.c.kind).where(kept.c.hash == self.hash))
        if found is None:
            values = {"hash": self.hash, "kind": self.kind, "content": self.content}
            connection.execute(kept.insert().values(**values))


def read(connection: sa.Connection, content_hash: str) -> bytes:
    """The content of this hash.

    Raises
    ------
    LookupError
        Where it is not kept.
    """
    found = connection.scalar(sa.select(kept.c.content).where(kept.c.hash == content_hash))
    if found is None:
        raise LookupError(
            f"the log must hold what its decisions name, found nothing of the hash {content_hash}. "
            "Put a copy of the whole state file back."
        )
    return bytes(found)


@dataclass(frozen=True)
class Names:
    """What a bundle calls its services and the columns of a profile: a record holds positions alone."""

    service_id: tuple[str, ...]
    name: tuple[str, ...]
    cold: tuple[bool, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, bundle: Bundle) -> "Names":
        """Those of a bundle."""
        return cls(
            service_id=bundle.catalog.ids,
            name=tuple(service.name for service in bundle.catalog.services),
            cold=tuple(bundle.cold.tolist()),
            columns=bundle.layout.columns,
        )

    def to_kept(self) -> Kept:
        """The names as they are kept."""
        return Kept.of(NAMES, orjson.dumps(asdict(self)))

    @classmethod
    def from_kept(cls, content: bytes) -> "Names":
        """What ``to_kept`` kept."""
        return cls(**{key: tuple(values) for key, values in orjson.loads(content).items()})


def kept_settings(settings: Settings) -> Kept:
    """The settings that decide, as they are kept; where the service listens is no part of them."""
    sections: dict[str, Any] = asdict(settings)
    del sections["serving"]
    return Kept.of(SETTINGS, orjson.dumps(sections, option=orjson.OPT_SORT_KEYS))


def settings_of(content: bytes) -> Settings:
    """The settings that ``kept_settings`` kept."""
    return parse_settings(_without_null(orjson.loads(content)))


def _without_null(found: Any) -> Any:
    """JSON has null for inf, which is no limit and the default wherever it may stand."""
    if isinstance(found, list):
        return [_without_null(one) for one in found]
    if isinstance(found, dict):
        return {key: _without_null(value) for key, value in found.items() if value is not None}
    return found
