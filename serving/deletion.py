"""Users who were removed on request: recognised ever after, though their ids are not kept."""

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from uuid import uuid4

import sqlalchemy as sa

from serving.database import Database
from serving.tables import deleted_users, facts


class DeletedUsers:
    """A set of user ids, kept as hashes under a key that the database made for itself.

    Examples
    --------
    >>> "u1" in DeletedUsers(b"key", {"5acc3f1b"})
    False
    """

    def __init__(self, key: bytes, hashes: set[str]) -> None:
        self._key, self._hashes = key, hashes

    @classmethod
    def load(cls, database: Database) -> "DeletedUsers":
        """Those that the database remembers."""
        key = database.run_now(_key)
        return cls(bytes.fromhex(key), set(database.run_now(hashes_in)))

    @classmethod
    def read(cls, connection: sa.Connection) -> "DeletedUsers":
        """The same over a connection that can only read."""
        key = connection.scalar(sa.select(facts.c.value).where(facts.c.name == "deletion_key"))
        return cls(bytes.fromhex(key or ""), set(hashes_in(connection)))

    def __contains__(self, user_id: str) -> bool:
        return bool(self._hashes) and self._hash(user_id) in self._hashes

    def add_hashes(self, hashes: Iterable[str]) -> None:
        """The same of users whom another worker removed; their ids are not told."""
        self._hashes.update(hashes)

    def among(self, connection: sa.Connection, user_ids: Iterable[str]) -> set[str]:
        """Those of these users whom the database remembers as deleted."""
        by_hash = {self._hash(one): one for one in user_ids}
        return {by_hash[one] for one in hashes_in(connection) if one in by_hash}

    def add(self, user_id: str) -> None:
        """From now on the user is in the set; ``write`` makes it last."""
        self._hashes.add(self._hash(user_id))

    def write(self, connection: sa.Connection, user_id: str) -> None:
        """Remember the user in the database."""
        user_hash = self._hash(user_id)
        found = connection.scalar(sa.select(deleted_users).where(deleted_users.c.user_hash == user_hash))
        if found is None:
            connection.execute(deleted_users.insert().values(user_hash=user_hash))

    def _hash(self, user_id: str) -> str:
        text = user_id.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Receipt:
    """That somebody was removed, when, and how much there was; it does not say who."""

    receipt_id: str
    deleted_at: str  # ISO 8601, UTC
    deleted: dict[str, int]  # rows by kind

    @classmethod
    def of(cls, deleted_at: str, deleted: dict[str, int]) -> "Receipt":
        return cls(uuid4().hex, deleted_at, deleted)

    def write(self, connection: sa.Connection) -> None:
        """Keep it in the database."""
        told = json.dumps(asdict(self))
        connection.execute(facts.insert().values(name=f"receipt {self.receipt_id}", value=told))


def _key(connection: sa.Connection) -> str:
    found = connection.scalar(sa.select(facts.c.value).where(facts.c.name == "deletion_key"))
    if found is None:
        found = secrets.token_hex(32)
        connection.execute(facts.insert().values(name="deletion_key", value=found))
    return found


def hashes_in(connection: sa.Connection) -> list[str]:
    return list(connection.scalars(sa.select(deleted_users.c.user_hash)))
