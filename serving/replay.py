"""Decisions of the log made again from what the log keeps, and compared with it to the byte."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from features.rule_facts import vocabulary_of
from features.rules_file import parse_yaml
from offers.rule_parsing import parse_rules
from offers.rules import RuleSet
from offers.settings import Settings
from offers.types import Estimates, Progress
from serving import kept
from serving.ladder import CONSTANT_LIST, TIER_LIST
from serving.recommender import Asked, estimates_of, recommend
from serving.records import (
    PACKED,
    Basis,
    Record,
    asked_of,
    from_text,
    is_replayable,
    numbers_of,
    record_of,
    to_text,
)
from serving.tables import decisions
from training.bundle import Bundle

_ROWS_AT_ONCE = 4096
_N_DIFFERENT = 100  # decisions that are told in detail

FindBundle = Callable[[str], Bundle]


@dataclass(frozen=True)
class Difference:
    """A key of the record for which the replay has another value; lists name the first place that differs."""

    field: str
    recorded: Any
    replayed: Any


@dataclass(frozen=True)
class Replayed:
    """One decision made again; ``differences`` is empty where the record has the same bytes."""

    decision_id: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Replay:
    """Many decisions made again."""

    n_replayed: int
    n_same: int
    n_older: int  # of the log's first format, which does not hold what a replay needs
    different: tuple[Replayed, ...]  # the first hundred
    missing: dict[str, str]  # why the decisions of a bundle, by its hash, could not be made again
    n_missing: int

    @property
    def is_same(self) -> bool:
        """Was every decision that could have been made again the same?"""
        return self.n_same == self.n_replayed and not self.missing


def replay_one(connection: sa.Connection, decision_id: str, find_bundle: FindBundle) -> Replayed:
    """Make one decision again.

    Parameters
    ----------
    find_bundle : callable
        The bundle of a hash; it raises ValueError where there is none.

    Raises
    ------
    LookupError
        Where the log has no decision of this id, or lacks what the decision names.
    ValueError
        Where its record is of the first format, or its bundle cannot be read.
    """
    text = connection.scalar(sa.select(decisions.c.record).where(decisions.c.decision_id == decision_id))
    if text is None:
        raise LookupError(
            f"the log must hold the decision {decision_id}, found none of this id. "
            "Check the id and --state; decisions of deleted users are removed."
        )
    if not is_replayable(from_text(text)):
        raise ValueError(
            f"the record of {decision_id} must hold the profile and the hash of the settings, found neither: "
            "it was written before the log kept them, and cannot be replayed."
        )
    (found,) = _replay_some(connection, [text], find_bundle(from_text(text)["bundle"]))
    return found


def replay_all(
    connection: sa.Connection, find_bundle: FindBundle, progress: Progress | None = None
) -> Replay:
    """Make every decision of the log again, bundle by bundle."""
    total = connection.scalar(sa.select(sa.func.count()).select_from(decisions)) or 0
    done = n_replayed = n_same = n_older = n_missing = 0
    different: list[Replayed] = []
    missing: dict[str, str] = {}
    for bundle_hash in _bundles(connection):
        bundle: Bundle | None = None
        for texts in _records(connection, bundle_hash):
            replayable = [text for text in texts if is_replayable(from_text(text))]
            n_older += len(texts) - len(replayable)
            if replayable and bundle is None and bundle_hash not in missing:
                bundle, fault = _try_bundle(find_bundle, bundle_hash)
                missing.update(fault)
            if bundle is None:
                n_missing += len(replayable)
            else:
                found = _replay_some(connection, replayable, bundle)
                n_replayed += len(found)
                n_same += sum(not one.differences for one in found)
                different += [one for one in found if one.differences]
                del different[_N_DIFFERENT:]
            done += len(texts)
            if progress:
                progress("replay", done, total)
    return Replay(n_replayed, n_same, n_older, tuple(different), missing, n_missing)


def _bundles(connection: sa.Connection) -> list[str]:
    return list(connection.scalars(sa.select(decisions.c.bundle).distinct().order_by(decisions.c.bundle)))


def _records(connection: sa.Connection, bundle_hash: str) -> Iterator[Sequence[str]]:
    """The records of a bundle's decisions, some thousand at a time, in the order of their ids."""
    last = ""
    while True:
        query = sa.select(decisions.c.decision_id, decisions.c.record).where(
            decisions.c.bundle == bundle_hash, decisions.c.decision_id > last
        )
        rows = connection.execute(query.order_by(decisions.c.decision_id).limit(_ROWS_AT_ONCE)).all()
        if not rows:
            return
        yield [row.record for row in rows]
        last = rows[-1].decision_id


def _try_bundle(find_bundle: FindBundle, bundle_hash: str) -> tuple[Bundle | None, dict[str, str]]:
    try:
        return find_bundle(bundle_hash), {}
    except ValueError as error:
        return None, {bundle_hash: str(error)}


def _replay_some(connection: sa.Connection, texts: Sequence[str], bundle: Bundle) -> list[Replayed]:
    """Decisions of one bundle made again; those of the same settings and rules together."""
    records = [from_text(text) for text in texts]
    found: dict[int, Replayed] = {}
    bases = [(record["settings"], record["rules"]) for record in records]
    for settings_hash, rules_hash in dict.fromkeys(bases):
        rows = [number for number, basis in enumerate(bases) if basis == (settings_hash, rules_hash)]
        settings = kept.settings_of(kept.read(connection, settings_hash))
        rules = _rules_of(connection, rules_hash, bundle, settings)
        again = _decide_again(bundle, settings, rules, [records[number] for number in rows])
        for number, record in zip(rows, again, strict=True):
            same = to_text(record) == texts[number]
            differences = () if same else _differences(records[number], from_text(to_text(record)))
            found[number] = Replayed(record["decision_id"], differences)
    return [found[number] for number in range(len(records))]


def _rules_of(connection: sa.Connection, rules_hash: str, bundle: Bundle, settings: Settings) -> RuleSet:
    if not rules_hash:
        return RuleSet()
    text = parse_yaml(kept.read(connection, rules_hash))
    vocabulary = vocabulary_of(bundle.layout, bundle.tiers.names, bundle.catalog, settings)
    return parse_rules(text.content, vocabulary, text.digest, is_lenient=True)[0]


def _decide_again(
    bundle: Bundle, settings: Settings, rules: RuleSet, records: Sequence[Record]
) -> list[Record]:
    moments = np.array([record["decided_at_us"] for record in records])
    asked = [asked_of(record) for record in records]
    made = recommend(bundle, settings, asked, moments, rules, _estimates(bundle, asked, records))
    names_hash = kept.Names.of(bundle).to_kept().hash
    return [
        record_of(
            record["decision_id"],
            record["user_id"],
            decision,
            Basis(bundle, settings, names_hash, record["settings"]),
        )
        for record, decision in zip(records, made, strict=True)
    ]


def _estimates(bundle: Bundle, asked: Sequence[Asked], records: Sequence[Record]) -> Estimates:
    """What the models say of the profiles; where they were not asked, what stood in their place."""
    found = estimates_of(bundle, asked)
    for place, record in enumerate(records):
        if record["rung"] in (TIER_LIST, CONSTANT_LIST):
            found.uptake[place] = numbers_of(record, "uptake")
            found.uplift_margin[place] = numbers_of(record, "uplift_margin")
    return found


def _differences(recorded: Record, replayed: Record) -> tuple[Difference, ...]:
    """What differs, key by key; where nothing does, the order or the spelling of the text."""
    keys = dict.fromkeys([*recorded, *replayed])
    found = [
        _difference(key, recorded.get(key), replayed.get(key))
        for key in keys
        if recorded.get(key) != replayed.get(key)
    ]
    return tuple(found) or (Difference("text", "the same keys and values", "spelled otherwise"),)


def _difference(key: str, recorded: Any, replayed: Any) -> Difference:
    if key in PACKED and isinstance(recorded, str) and isinstance(replayed, str):
        recorded, replayed = (numbers_of({key: text}, key).tolist() for text in (recorded, replayed))
    if isinstance(recorded, list) and isinstance(replayed, list) and len(recorded) == len(replayed):
        for place, (one, other) in enumerate(zip(recorded, replayed)):
            if one != other and not (one != one and other != other):  # NaN is the same unknown
                return Difference(f"{key}[{place}]", _plain(one), _plain(other))
    return Difference(key, recorded, replayed)


def _plain(found: Any) -> Any:
    """None for NaN, for which JSON has no word."""
    return None if found != found else found
