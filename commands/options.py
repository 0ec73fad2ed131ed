"""Options and arguments that several commands take, and how a moment is read from one."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click


def option_json(command: Callable) -> Callable:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")(
        command
    )


def option_seed(command: Callable) -> Callable:
    whole = click.IntRange(0, 2**31 - 1)  # what LightGBM takes
    return click.option("--seed", type=whole, default=0, show_default=True, help="Same seed, same answer.")(
        command
    )


option_state = click.option(
    "--state", type=click.Path(path_type=Path), help="SQLite's file; else var/state.db."
)

option_bundle = click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion.")

data_argument = click.argument("data", type=click.Path(path_type=Path))


def parse_time(option: str, text: str) -> datetime:
    """The moment a text names; it must name its zone, so that nobody has to guess it."""
    try:
        moment = datetime.fromisoformat(text)
        is_told = moment.tzinfo is not None and moment.astimezone(UTC) is not None
    except (ValueError, OverflowError):  # the latter outside the years 1 to 9999
        is_told = False
    if not is_told:
        raise ValueError(
            f"{option} must be a time with its zone, such as 2026-01-01T00:00:00Z, got {text!r}."
        )
    return moment
