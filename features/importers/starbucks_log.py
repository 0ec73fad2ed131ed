"""The three files of the Starbucks rewards data, and which offers their users took up."""

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from features.importers.folders import find_file

HOURS_A_DAY = 24
NEVER = -1
FIELDS = {
    "portfolio": {"id", "offer_type", "difficulty", "reward", "duration", "channels"},
    "profile": {"id", "gender", "age", "income", "became_member_on"},
    "transcript": {"person", "event", "value", "time"},
}
EVENTS = ("offer received", "offer viewed", "offer completed", "transaction")


@dataclass(frozen=True)
class RewardsLog:
    """The three files as frames; the transcript's have line (from 1), event, person, time, offer, amount."""

    portfolio: pd.DataFrame
    profile: pd.DataFrame
    transcript: pd.DataFrame  # in the order of time (hours), as the file is

    def rows(self, event: str) -> pd.DataFrame:
        """The transcript's rows of one event."""
        return self.transcript[self.transcript["event"] == event]


def read_rewards_log(folder: Path) -> RewardsLog:
    """Read portfolio, profile and transcript, each as JSON lines, plain or gzip'ed; blank lines are skipped.

    Raises
    ------
    ValueError
        When a file is absent, a line is no JSON object with the fields of its file, or an event is unknown.
    """
    portfolio, profile = (pd.DataFrame(_read_rows(folder, name)) for name in ("portfolio", "profile"))
    transcript = pd.DataFrame(_flat(row) for row in _read_rows(folder, "transcript"))
    strange = sorted(set(transcript["event"]) - set(EVENTS))
    if strange:
        raise ValueError(
            f"{folder} must have {', '.join(EVENTS)} as its transcript's events, found {', '.join(strange)}: "
            "use the file as published."
        )
    return RewardsLog(portfolio, profile, transcript.sort_values("time", kind="stable", ignore_index=True))


def used_rows(log: RewardsLog) -> pd.DataFrame:
    """Rows of the log with which an offer was taken up: seen first, and then completed while it was open.

    An offer that asks for no purchase (informational) is taken up when it is viewed while open. A
    completion belongs to the oldest receipt of this offer that is open and not completed yet, and
    counts if the user viewed the offer after that receipt; of one hour's rows, the order of the
    file decides. Offers held twice are at times completed twice by one purchase, which leaves two
    equal rows in the log: there are never more of them than open receipts, so all are kept.
    """
    return log.transcript[list(_is_use(log))]


def _is_use(log: RewardsLog) -> Iterator[bool]:
    """For each row of the transcript, whether an offer is taken up with it."""
    offers = log.portfolio.set_index("id")
    hours_open = (offers["duration"] * HOURS_A_DAY).to_dict()
    informational = set(offers.index[offers["offer_type"] == "informational"])
    received: dict[tuple[str, str], list[int]] = defaultdict(list)
    viewed: dict[tuple[str, str], int] = {}
    columns = log.transcript[["event", "person", "offer", "time"]]
    for event, person, offer, time in columns.itertuples(index=False, name=None):
        held = person, offer
        receipts = [hour for hour in received[held] if time <= hour + hours_open.get(offer, 0)]
        received[held] = receipts
        if event == "offer viewed":
            viewed[held] = time
            yield offer in informational and bool(receipts)
        elif event == "offer completed" and receipts:
            yield viewed.get(held, NEVER) >= receipts.pop(0)
        else:
            if event == "offer received":
                receipts.append(time)
            yield False


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A line of the transcript with its value's fields beside the others; "offer id" is spelt in two ways."""
    value = row.pop("value")
    offer = value.get("offer id", value.get("offer_id", ""))
    return {**row, "offer": offer, "amount": value.get("amount")}


def _read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    path = find_file(folder, name, (".json", ".json.gz"))
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} must be a gzip file, found {error}: it may be truncated, fetch it again."
        ) from error
    lines = enumerate(content.splitlines(), start=1)
    rows = [
        {"line": number, **_parse_line(path, number, line, FIELDS[name])}
        for number, line in lines
        if line.strip()
    ]
    if not rows:
        raise ValueError(f"{path} must hold a JSON object on each line, found none: fetch it again.")
    return rows


def _parse_line(path: Path, number: int, line: bytes, fields: set[str]) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(
            f"{path} must hold a JSON object on each line, line {number} is none ({error}): "
            "it may be truncated, fetch it again."
        ) from error
    if not isinstance(row, dict) or not fields <= set(row):
        raise ValueError(
            f"{path} must have the fields {', '.join(sorted(fields))} on each line, "
            f"line {number} has {line.decode(errors='replace').strip()[:80]!r}: is it another file?"
        )
    return row
