"""Studies that end in a page: the loop in a simulated world, and the services worth keeping."""

from datetime import UTC, datetime
from pathlib import Path

import click

from commands.console import progress_bars, say, table_of
from commands.options import data_argument, option_bundle, option_json, option_seed, parse_time
from commands.project import find_bundle, home, read_settings


@click.command("simulate-loop")
@click.option("--users", default=20_000, show_default=True)
@click.option("--services", default=12, show_default=True)
@click.option("--weeks", default=12, show_default=True)
@click.option(
    "--shift-week",
    type=click.IntRange(0),
    default=7,
    show_default=True,
    help="When the world changes; 0: never.",
)
@click.option("--out", "file", type=click.Path(path_type=Path), help="The page; else var/loop.html.")
@option_seed
@option_json
def simulate_loop(
    users: int, services: int, weeks: int, shift_week: int, file: Path | None, seed: int, as_json: bool
) -> None:
    """Decide, let a simulated world answer, retrain and promote, week by week, beside three other loops.

    Says what share of the oracle's value each loop reaches; the page shows the learning curves.

    Example: perkwise simulate-loop --users 2000 --weeks 4
    """
    from training.loop.report import render
    from training.loop.simulate import simulate
    from training.loop.summary import NAMES, curves, findings

    settings = read_settings()
    with progress_bars() as progress:
        run = simulate(users, services, weeks, seed, settings, shift_week, progress)
    command = (
        f"perkwise simulate-loop --users {users} --services {services} --weeks {weeks} "
        f"--shift-week {shift_week} --seed {seed}"
    )
    file = file or home() / "var" / "loop.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(render([run], command), encoding="utf-8")
    found = curves([run])
    rows = [
        [
            week.week,
            *(one.told(week.week) for one in found.values()),
            "promoted" if week.loops["perkwise"].notes.promoted else "",
        ]
        for week in run.weeks
    ]
    say(
        as_json,
        {**run.to_json(), "report": str(file)},
        *findings([run]),
        table_of("Share of the oracle's value", ["week", *(NAMES[name] for name in found), "gate"], rows),
        f"Report   {file}",
    )


@click.command()
@data_argument
@click.option("--core", type=click.IntRange(1), default=6, show_default=True, help="Services to keep.")
@option_bundle
@click.option("--as-of", metavar="T", help="The moment of the decisions; else now.")
@click.option("--users", type=click.IntRange(1), default=5_000, show_default=True, help="Drawn at random.")
@click.option("--out", "file", type=click.Path(path_type=Path), help="The page; else var/portfolio.html.")
@option_seed
@option_json
def portfolio(
    data: Path,
    core: int,
    bundle: str | None,
    as_of: str | None,
    users: int,
    file: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Which services to keep, fix or drop, and the few that serve all users best.

    Example: perkwise portfolio var/shop --core 6 --out var/portfolio.html
    """
    from training.bundle import read_bundle
    from training.evaluation.portfolio_page import render_portfolio
    from training.portfolio import portfolio_of

    settings = read_settings(data)
    now = parse_time("--as-of", as_of) if as_of else datetime.now(UTC)
    chosen, page = read_bundle(find_bundle(bundle)), file or home() / "var" / "portfolio.html"
    with progress_bars() as progress:
        found = portfolio_of(data, chosen, settings, int(now.timestamp() * 1e6), core, users, seed, progress)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render_portfolio(found), encoding="utf-8")
    lost = found.regret
    say(
        as_json,
        {"out": str(page), **found.to_json()},
        f"Keep {', '.join(found.core)}: of {found.worth.value:,.3f} {found.currency} a user they lose "
        f"{lost.value:,.3f} ({lost.low:,.3f} to {lost.high:,.3f}). Wrote {page}.",
    )
