"""What a command says: one JSON object, or lines, tables and bars for a person."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from offers.types import Progress as ProgressCallback

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False)


def say(as_json: bool, answer: dict[str, Any], *lines: Any) -> None:
    """One JSON object on standard output, or what a person would rather read."""
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        for line in lines:
            out.print(line)


def table_of(title: str, headings: list[str], rows: list[list[Any]]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Bars on standard error where it is a terminal, one for each stage of the work."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        stages: dict[str, Any] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        yield step
