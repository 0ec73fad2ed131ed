"""Decisions: made for every user at once, made again from the log, and exported with it."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.console import progress_bars, say, table_of
from commands.options import data_argument, option_bundle, option_json, option_seed, option_state, parse_time
from commands.project import database_at, find_bundle, home, read_settings
from commands.rules_files import names_in, sound_rules

if TYPE_CHECKING:
    from serving.replay import Replay, Replayed
    from training.bundle import Bundle

TOLD_DECISIONS = 5  # that differ, on a terminal


@click.command()
@data_argument
@click.option("--out", "file", required=True, type=click.Path(path_type=Path), help="A Parquet file.")
@option_bundle
@click.option("--as-of", metavar="T", help="The moment of the decisions; else now.")
@click.option("--budget", type=float, help="Money the lists may be expected to cost together.")
@option_seed
@option_json
def score(
    data: Path,
    file: Path,
    bundle: str | None,
    as_of: str | None,
    budget: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Decide for every user at once: rows of the table exposures, with what each is expected to bring.

    Example: perkwise score var/shop --budget 5000 --out var/slates.parquet
    """
    from features.rules_file import find_rules
    from features.tables import load_tables
    from serving.scoring import score as score_all
    from training.bundle import read_bundle

    settings = read_settings(data)
    now = parse_time("--as-of", as_of) if as_of else datetime.now(UTC)
    folder = find_bundle(bundle)
    file.parent.mkdir(parents=True, exist_ok=True)
    chosen = read_bundle(folder)
    tables = load_tables(data, settings.money)
    in_force = sound_rules(find_rules(home(), data), names_in(tables, settings), settings)
    with progress_bars() as progress:
        scores = score_all(
            tables, chosen, settings, int(now.timestamp() * 1e6), seed, budget, in_force, progress
        )
    scores.rows.to_parquet(file, index=False)
    arms = scores.rows.drop_duplicates("slate_id")["arm"].value_counts().to_dict()
    currency = settings.money.currency
    say(
        as_json,
        {
            "out": str(file),
            "rows": len(scores.rows),
            "users_by_arm": arms,
            "expected_cost": scores.expected_cost,
            "money_price": scores.money_price,
        },
        f"Wrote {len(scores.rows):,} rows to {file}; users by arm: "
        + ", ".join(f"{arm} {n:,}" for arm, n in arms.items()),
        f"Expected cost {scores.expected_cost:,.2f} {currency}, "
        f"where a cost of 1 had to earn {1 + scores.money_price:.2f}.",
    )


@click.command()
@click.argument("decision_id", required=False)
@option_state
@click.option("--all", "every", is_flag=True, help="Every decision of the log.")
@option_json
def replay(decision_id: str | None, state: Path | None, every: bool, as_json: bool) -> None:
    """Make a decision of the log again with the bundle of that day; it must be the same to the byte.

    Says what differs, field by field, and then ends with the exit code 1.

    Example: perkwise replay --all
    """
    from serving.database import reading
    from serving.replay import replay_all, replay_one
    from training.bundle import read_bundle

    if (decision_id is None) != every:
        raise click.UsageError("Use just one of DECISION_ID and --all.")

    def find(bundle_hash: str) -> "Bundle":
        return read_bundle(home() / "var" / "bundles" / bundle_hash)

    with reading(database_at(state)) as connection:
        if decision_id is not None:
            one = replay_one(connection, decision_id, find)
            say(as_json, replayed_json(one), *replayed_lines(one))
            sys.exit(1 if one.differences else 0)
        with progress_bars() as progress:
            found = replay_all(connection, find, progress)
    say(as_json, replay_json(found), *replay_lines(found))
    sys.exit(0 if found.is_same else 1)


def replayed_json(one: "Replayed") -> dict[str, Any]:
    """One replayed decision as JSON."""
    differences = [asdict(difference) for difference in one.differences]
    return {"decision_id": one.decision_id, "same": not differences, "differences": differences}


def replayed_lines(one: "Replayed") -> Iterator[Any]:
    """One replayed decision on a terminal."""
    if not one.differences:
        yield f"{one.decision_id}: the same bytes."
        return
    rows = [[difference.field, difference.recorded, difference.replayed] for difference in one.differences]
    yield table_of(f"{one.decision_id} differs", ["field", "recorded", "replayed"], rows)


def replay_json(found: "Replay") -> dict[str, Any]:
    """A replayed log as JSON."""
    return {
        "replayed": found.n_replayed,
        "same": found.n_same,
        "older": found.n_older,
        "missing": found.n_missing,
        "missing_bundles": found.missing,
        "different": [replayed_json(one) for one in found.different],
    }


def replay_lines(found: "Replay") -> Iterator[Any]:
    """A replayed log on a terminal."""
    for one in found.different[:TOLD_DECISIONS]:
        yield from replayed_lines(one)
    for bundle, reason in found.missing.items():
        yield f"Decisions of the bundle {bundle} could not be made again: {reason}"
    if found.n_missing:
        yield f"Without their bundle: {found.n_missing:,} decisions."
    if found.n_older:
        yield f"Passed over, for they hold less than a replay needs: {found.n_older:,} older decisions."
    yield f"{found.n_same:,} of {found.n_replayed:,} decisions have the same bytes."


@click.command("export-log")
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), help="The shop's; else serving.data of perkwise.toml."
)
@option_state
@click.option("--since", metavar="T", help="Only rows from this moment on, with its zone.")
@click.option("--until", metavar="T", help="Only rows before this moment, with its zone.")
@option_json
def export_log(
    folder: Path, data: Path | None, state: Path | None, since: str | None, until: str | None, as_json: bool
) -> None:
    """Write the service's log and the shop's tables as one data folder, to validate and to train on.

    OUT holds the shop's tables, and what was shown, happened and was answered since. Exporting again replaces
    it; deleted users are not in it.

    Example: perkwise export-log var/log --data var/shop
    """
    from features.tables import load_tables
    from serving.database import reading
    from serving.export import export_log as export

    from_us, to_us = (
        None if text is None else int(parse_time(option, text).timestamp() * 1e6)
        for option, text in (("--since", since), ("--until", until))
    )
    data = data or home() / read_settings().serving.data
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    with reading(database_at(state)) as connection, progress_bars() as progress:
        tables = load_tables(data, read_settings(data).money)
        found = export(connection, tables, data, folder, now_us, from_us, to_us, progress)
    say(
        as_json,
        {"out": str(folder), **asdict(found)},
        f"Wrote {', '.join(f'{n:,} {name}' for name, n in found.rows.items())} of the log to {folder}, "
        f"beside the tables of {data}; {found.new_users:,} users are new.",
        *(f"Left out, {reason}: {n:,}" for reason, n in found.left_out.items()),
    )
