"""Data folders: simulated or imported, checked against the contract, turned into profiles."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from commands.console import progress_bars, say, table_of
from commands.errors import Commands
from commands.options import data_argument, option_json, option_seed, parse_time
from commands.project import read_settings


@click.command()
@click.option("--users", default=20_000, show_default=True)
@click.option("--services", default=12, show_default=True)
@click.option("--days", default=180, show_default=True)
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@option_seed
@option_json
def world(users: int, services: int, days: int, folder: Path, seed: int, as_json: bool) -> None:
    """Write a data folder of simulated customers, and their truth beside it.

    Example: perkwise world --users 20000 --services 12 --days 180 --seed 1 var/shop
    """
    from features.world import make_world, write_world

    with progress_bars() as progress:
        made = make_world(users, services, days, np.random.default_rng(seed), progress)
        write_world(made, folder, seed)
    rows = {name: len(getattr(made, name)) for name in ("users", "services", "orders", "events", "exposures")}
    say(
        as_json,
        {"out": str(folder), "rows": rows, "truth": str(folder / "truth")},
        f"Wrote {', '.join(f'{n:,} {name}' for name, n in rows.items())} to {folder}.",
        f"The truth is in {folder / 'truth'}.",
    )


@click.group("import", cls=Commands)
def import_() -> None:
    """Turn a public data set into a data folder."""


@import_.command("hillstrom")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@option_json
def hillstrom(source: Path, folder: Path, as_json: bool) -> None:
    """The e-mail trial of Hillstrom (2008): 64,000 customers, two e-mails and a holdout.

    Example: perkwise import hillstrom hillstrom.parquet var/hillstrom
    """
    from features.importers.hillstrom import import_hillstrom

    import_hillstrom(source, folder)
    say(as_json, {"out": str(folder)}, f"Wrote the data folder {folder}.")


@import_.command("starbucks")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--window-days", type=int, help="Outcome window; by default it ends before the next wave.")
@option_json
def starbucks(source: Path, folder: Path, window_days: int | None, as_json: bool) -> None:
    """The rewards data: 17,000 users, ten offers in six randomised waves.

    SOURCE is the folder of portfolio.json, profile.json and transcript.json, gzip'ed or not.

    Example: perkwise import starbucks starbucks_rewards var/starbucks
    """
    from features.importers.starbucks import import_starbucks

    import_starbucks(source, folder, window_days)
    say(as_json, {"out": str(folder)}, f"Wrote the data folder {folder}.")


@click.command()
@data_argument
@option_json
def validate(data: Path, as_json: bool) -> None:
    """Check the tables of a data folder; rows that break the contract go to its quarantine/.

    Ends with an error only where a table cannot be used at all.

    Example: perkwise validate var/shop
    """
    from features.tables import load_tables, write_quarantine

    tables = load_tables(data, read_settings(data).money)
    files = write_quarantine(tables, data)
    rules = tables.quarantine.groupby(["table", "rule", "column"]).size().reset_index(name="rows")
    answer = {
        "tables": {
            count.table: {
                "read": count.read,
                "accepted": count.accepted,
                "quarantined": count.quarantined,
                "unknown_columns": list(count.unknown_columns),
            }
            for count in tables.counts
        },
        "rules": rules.to_dict("records"),
        "quarantine": [str(file) for file in files],
        "propensities_missing": int(tables.exposures["slate_propensity"].isna().sum()),
    }
    lines: list[Any] = [
        table_of(
            f"Tables of {data}",
            ["table", "read", "accepted", "quarantined", "further columns"],
            [
                [
                    count.table,
                    f"{count.read:,}",
                    f"{count.accepted:,}",
                    f"{count.quarantined:,}",
                    ", ".join(count.unknown_columns),
                ]
                for count in tables.counts
            ],
        )
    ]
    if len(rules):
        faults = [[rule.table, rule.rule, rule.column, f"{rule.rows:,}"] for rule in rules.itertuples()]
        lines.append(table_of("Quarantined, by rule", ["table", "rule", "column", "rows"], faults))
        lines.append(f"Each row with its remedy: {', '.join(str(file) for file in files)}")
    if answer["propensities_missing"]:
        lines.append(
            f"{answer['propensities_missing']:,} of {len(tables.exposures):,} exposures name no propensity: "
            "training estimates it from who was shown what, and the report says so. "
            "Log it where it is known."
        )
    say(as_json, answer, *lines)


@click.command()
@data_argument
@click.option(
    "--as-of", required=True, metavar="T", help="The moment at which knowledge ends, with its zone."
)
@click.option("--out", "file", required=True, type=click.Path(path_type=Path), help="A Parquet file.")
@option_json
def profile(data: Path, as_of: str, file: Path, as_json: bool) -> None:
    """What was known of every user strictly before a moment, as a Parquet file.

    Example: perkwise profile var/shop --as-of 2026-01-01T00:00:00Z --out var/profiles.parquet
    """
    from features.pipeline import Layout
    from features.profiles import build_profiles, write_profiles
    from features.tables import load_tables
    from features.tiers import TIER_COLUMN, Tiers

    moment = parse_time("--as-of", as_of)
    settings = read_settings(data)
    tables = load_tables(data, settings.money)
    layout = Layout.of(tables)
    with progress_bars() as progress:
        frame = build_profiles(tables, layout, moment, settings.windows.uptake_days, progress=progress)
    frame["tier"] = Tiers.learn(frame[TIER_COLUMN], settings.tiers.names).of(frame[TIER_COLUMN])
    write_profiles(frame, file, layout, moment)
    tiers = frame["tier"].value_counts().reindex(settings.tiers.names, fill_value=0).to_dict()
    say(
        as_json,
        {"users": len(frame), "columns": len(layout.columns), "tiers": tiers, "out": str(file)},
        f"Wrote {len(frame):,} profiles of {len(layout.columns)} columns to {file}; users by tier:",
        ", ".join(f"{name} {n:,}" for name, n in tiers.items()),
    )
