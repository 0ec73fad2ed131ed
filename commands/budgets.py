"""Budgets: what is spent of each, and the reserve that a declared shift of demand opens."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from commands.console import say, table_of
from commands.errors import Commands
from commands.options import option_json, option_state
from commands.project import audit_file, database_at, home, read_settings


@click.group(cls=Commands)
def budget() -> None:
    """What is spent of each budget, and the reserve kept for shifts of demand."""


@budget.command("status")
@click.option("--data", type=click.Path(path_type=Path), help="Else serving.data of perkwise.toml.")
@option_state
@option_json
def budget_status(data: Path | None, state: Path | None, as_json: bool) -> None:
    """Each budget's present period: spent, projected to its end, and warnings.

    Example: perkwise budget status --data var/shop
    """
    from features.tables import catalog_of, load_tables
    from serving.database import reading
    from serving.filed import Sales
    from serving.spending import read_shifts, spending_of

    data = data or home() / read_settings().serving.data
    settings = read_settings(data)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    shifts = read_shifts(audit_file())
    with reading(database_at(state)) as connection:
        tables = load_tables(data, settings.money)
        catalog = catalog_of(tables.services)
        found, revenue = spending_of(connection, Sales.of(tables), settings, shifts, now_us, catalog)
    forecasts = found.forecasts(now_us)
    rows = [
        [
            one.budget,
            kept.kind,
            f"{one.spent:,.2f}",
            f"{one.projected:,.2f}",
            f"{one.open_amount:,.2f}",
            "open" if one.is_reserve_open else f"{one.amount - one.open_amount:,.2f}",
        ]
        for kept, one in zip(found.budgets, forecasts)
    ]
    answer = [{"kind": kept.kind, **asdict(one)} for kept, one in zip(found.budgets, forecasts)]
    say(
        as_json,
        {"budgets": answer, "revenue_a_day": revenue},
        table_of("Budgets", ["budget", "of", "spent", "projected", "may be spent", "reserve"], rows)
        if rows
        else "There is no budget: name one in [[budgets]] of perkwise.toml.",
        *(warning for one in forecasts for warning in one.warnings),
    )


@budget.command("open-reserve")
@click.argument("name")
@click.option("--who", required=True, help="Who declares the shift.")
@click.option("--why", required=True, help="What shifted; it stays in the audit.")
@option_json
def budget_open_reserve(name: str, who: str, why: str, as_json: bool) -> None:
    """Declare a shift of demand, which opens a budget's reserve until its period ends.

    Example: perkwise budget open-reserve all --who Ada --why "the summer sale"
    """
    from offers.pacing import Shift
    from serving.spending import append_shift

    known = [one.name for one in read_settings().budgets]
    if name not in known:
        raise ValueError(f"NAME must be a budget of perkwise.toml, got {name!r}; known are {known}.")
    shift = Shift(name, int(datetime.now(UTC).timestamp() * 1e6), who, why)
    file = audit_file()
    append_shift(file, shift)
    say(
        as_json, {**asdict(shift), "audit": str(file)}, f"Opened the reserve of {name}: {why} ({who}). {file}"
    )
