"""The command line: one command for each stage, in the order they run.

Libraries that take seconds to import (MLflow, BentoML, LightGBM) are imported by the commands that need
them, so that `perkwise --help` answers at once.
"""

import errno
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from offers.settings import Settings, parse_settings
from offers.types import Progress as ProgressCallback

if TYPE_CHECKING:
    from features.rules_file import RulesText
    from features.tables import Tables
    from offers.rules import Finding, RuleSet, Vocabulary
    from serving.replay import Replay, Replayed
    from serving.rule_trial import Trial
    from training.bundle import Bundle
    from training.evaluation.figures import Evaluation
    from training.evaluation.list_value import Change
    from training.gate import Verdict
    from training.rule_worth import WorthOnLog
    from training.train import Training

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False)


class Commands(click.Group):
    """Errors of the rooms become one line that says what to do; commands are listed in the order they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyError, BrokenPipeError):
            raise  # a fault of ours, not of the input; and a reader who has read enough
        except (ValueError, LookupError, OSError) as error:
            if os.environ.get("PERKWISE_DEBUG"):
                raise
            raise click.ClickException(in_words(error)) from error


def in_words(error: Exception) -> str:
    """What an error says; to the system's own is added what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    reason = f"{error.strerror}".rstrip(".")
    if error.filename is not None:
        reason = f"{error.filename} cannot be written or read ({reason})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}. Free some space on the disk, then run it again."
    return f"{reason}. Check the path, and that you may use it."


def home() -> Path:
    """The folder of perkwise.toml, var/ and mlruns/."""
    return Path(os.environ.get("PERKWISE_HOME", Path(__file__).parent)).resolve()


def audit_file() -> Path:
    """Where shifts of demand are declared, one a line."""
    return home() / "var" / "budget-audit.jsonl"


def read_settings(data: Path | None = None, further: Path | None = None) -> Settings:
    """The project's perkwise.toml, overridden key by key by the data folder's own, and by a further file."""
    files = [home() / "perkwise.toml"] + ([data / "perkwise.toml"] if data else [])
    files += [further] if further else []
    layers = []
    for file in files:
        if file.is_file():
            try:
                layers.append(tomllib.loads(file.read_text(encoding="utf-8-sig")))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{file} must be TOML, got: {error}.") from error
    return parse_settings(*layers)


def database_at(state: Path | None) -> Path | str:
    """The service's database: a file that is named, else what perkwise.toml names, else var/state.db."""
    return state or read_settings().serving.database or home() / "var" / "state.db"


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


FOLLOWED = "Services that run without --bundle take it over in a moment, as GET /services tells."


def find_bundle(name: str | None) -> Path:
    """A bundle by its folder, by the beginning of its hash, or the champion."""
    from training.champion import read_champion

    if name is None:
        return read_champion(home() / "var")
    if name and Path(name).is_dir():
        return Path(name)
    bundles = sorted((home() / "var" / "bundles").glob("[!.]*"))  # with a dot: not written to its end
    found = [path for path in bundles if path.name.startswith(name)]
    if len(found) != 1:
        known = ", ".join(path.name for path in bundles) or "none; train first"
        raise ValueError(
            f"--bundle must be a bundle's folder or begin one hash, got {name!r}; known are {known}."
        )
    return found[0]


def report_lines(evaluation: "Evaluation", file: Path) -> Iterator[Any]:
    """The report on a terminal: the verdict, then what each policy is worth."""
    from training.evaluation.wording import POLICY_NAMES, REFUSAL, headline, with_bounds, without_uplift

    if evaluation.refusal:
        yield f"{REFUSAL} Were the propensities of the log true, this would be said:"
    yield headline(evaluation).text
    rows = []
    for name, figures in evaluation.policies.items():
        gain = "" if name == "perkwise" else with_bounds(evaluation.gains[name])
        share = (evaluation.oracle_share or {}).get(name)
        rows.append(
            [
                POLICY_NAMES[name],
                with_bounds(figures.doubly_robust),
                gain,
                f"{share:.0%}" if share is not None else "",
            ]
        )
    headings = ["policy", f"{evaluation.unit} an exposure", "Perkwise gains"]
    if evaluation.oracle_share:
        headings.append("of oracle")
    else:
        rows = [row[:-1] for row in rows]
    for suspicion in evaluation.notes.suspicions:
        yield f"Suspicious: {suspicion}"
    yield table_of(f"Doubly robust value on {evaluation.n_test:,} held-out exposures", headings, rows)
    if evaluation.notes.propensities == "estimated":
        yield "Propensities are estimated: what decided but stands in no profile biases every figure."
    for finding in evaluation.alerts:
        said = f"Alert    {finding.name}: {finding.text}"
        yield without_uplift(said) if evaluation.refusal else said
    yield f"Report   {file}"


def change_lines(change: "Change", settings: Settings) -> Iterator[Any]:
    """What a change of lists is worth, on a terminal."""
    from training.evaluation.wording import with_bounds

    names = {
        "exact": "exact (doubly robust)",
        "snips": "SNIPS",
        "ips": "IPS",
        "any_order": "if order does not matter",
        "by_service": "supposed, from single offers",
    }
    rows = [
        [name, *(with_bounds(getattr(figures, key)) for figures in (change.old, change.new, change))]
        for key, name in names.items()
    ]
    unit = settings.money.currency
    title = f"{unit} a decision on {change.n:,} held-out decisions; the lists differ on {change.n_differ:,}"
    yield table_of(title, ["estimator", "old", "new", "new - old"], rows)
    yield (
        f"Effective decisions: old {change.old.effective_n:,.0f}, new {change.new.effective_n:,.0f}; "
        f"services a decision: {change.old.length:.2f}, {change.new.length:.2f}."
    )


def verdict_lines(verdict: "Verdict", settings: Settings) -> Iterator[Any]:
    """What the gate compared, on a terminal; nothing where there was nothing to compare."""
    from training.evaluation.wording import POLICY_NAMES

    if not verdict.comparisons:
        return
    rows = [
        [
            POLICY_NAMES[one.rival],
            f"{one.value:.3g}",
            "" if one.low is None else f"{one.low:.3g}",
            "" if one.high is None else f"{one.high:.3g}",
            f"{one.n_differ / one.n:.0%}",
            "no end" if one.n_more is None else f"{one.n_more:,}",
        ]
        for one in verdict.comparisons
    ]
    unit, level = settings.money.currency, settings.training.interval_level
    n = verdict.comparisons[0].n
    yield table_of(
        f"{unit} an exposure, of {n:,} held out; {level:.0%} bounds that hold at every look",
        ["gain over", unit, "at least", "at most", "differ on", "missing"],
        rows,
    )


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
    "--state", type=click.Path(path_type=Path), help="The service's SQLite file; else var/state.db."
)

data_argument = click.argument("data", type=click.Path(path_type=Path))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Which value-added services to offer to whom, how many, and when none.

    Start with `perkwise demo`; it runs every stage on simulated customers.
    """


@main.command()
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


@main.group("import", cls=Commands)
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


@main.command()
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


@main.command()
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


@main.command()
@data_argument
@click.option(
    "--trials",
    type=click.IntRange(0, 1000),
    help="Settings of the models to try; else as perkwise.toml says.",
)
@click.option("--name", help="What to call the run; else the data folder and the time.")
@option_seed
@option_json
def train(data: Path, trials: int | None, name: str | None, seed: int, as_json: bool) -> None:
    """Tune, train and value the models; write the bundle and the report, log the run to MLflow.

    Nothing that is served changes: `perkwise promote RUN` asks the gate.

    Example: perkwise train var/shop --trials 8 --name first
    """
    from training.train import train as run_training

    settings = read_settings(data)
    if trials is not None:
        settings = replace(settings, training=replace(settings.training, trials=trials))
    name = name or f"{data.resolve().name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    in_force = rules_in_force(data, settings)
    with progress_bars() as progress:
        trained = run_training(data, home(), settings, name, seed, progress, in_force)
    answer = {
        "run_id": trained.run_id,
        "bundle": trained.bundle.name,
        "path": str(trained.bundle),
        "rows": trained.rows,
        "services": trained.services,
        "seconds": trained.seconds,
        "suspicions": [suspicion.to_json() for suspicion in trained.suspicions],
    }
    say(
        as_json,
        answer,
        *report_lines(trained.evaluation, trained.report),
        f"Bundle   {trained.bundle}",
        f"Run      {name} ({trained.run_id}); let it be served with: perkwise promote {name}",
    )


@main.command()
@data_argument
@click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion.")
@click.option("--out", "file", type=click.Path(path_type=Path), help="The page; else var/report.html.")
@click.option("--against", metavar="B", help="Price the change from this bundle to the other one instead.")
@click.option(
    "--settings",
    "changed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Price the change to the settings of this TOML file, laid over those of today, instead.",
)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    help="Price the change from the rules in force to those of this file instead.",
)
@option_seed
@option_json
def evaluate(
    data: Path,
    bundle: str | None,
    file: Path | None,
    against: str | None,
    changed: Path | None,
    rules_file: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """The offline uplift report: what a bundle is worth on exposures that were kept from it.

    The benefit rules in force hold. With --against, --settings or --rules it writes no page, but prices a
    change on the log before it ships: the lists of both sides on the same exposures.

    Example: perkwise evaluate var/shop --out report.html

    Example: perkwise evaluate var/shop --settings longer.toml
    """
    from training.bundle import read_bundle
    from training.evaluation.report import render
    from training.source import read_source
    from training.valuation import Served, value_bundle, value_change

    settings = read_settings(data)
    chosen = read_bundle(find_bundle(bundle))
    in_force = rules_in_force(data, settings)
    if against is not None or changed is not None or rules_file is not None:
        old = chosen if against is None else read_bundle(find_bundle(against))
        new_settings = settings if changed is None else read_settings(data, changed)
        new_rules = in_force
        if rules_file is not None:
            new_rules = sound_rules(rules_file, rules_vocabulary(data, new_settings), new_settings)
        with progress_bars() as progress:
            source = read_source(data, new_settings, chosen.layout, progress)
        change = value_change(
            Served(old, settings, in_force), Served(chosen, new_settings, new_rules), source
        )
        answer = {
            "bundles": [old.hash, chosen.hash],
            "rules": [in_force.digest, new_rules.digest],
            "unit": settings.money.currency,
            **change.to_json(),
        }
        say(as_json, answer, *change_lines(change, settings), change.verdict)
        return
    file = file or home() / "var" / "report.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        source = read_source(data, settings, chosen.layout, progress)
        command = f"perkwise evaluate {data} --bundle {chosen.hash} --seed {seed}"
        evaluation = value_bundle(chosen, source, settings, command, seed, in_force)
    file.write_text(render(evaluation), encoding="utf-8")
    say(as_json, evaluation.to_json(str(file)), *report_lines(evaluation, file))


@main.command()
@click.argument("run")
@click.option("--data", type=click.Path(path_type=Path), help="Else the folder that the run was trained on.")
@option_json
def promote(run: str, data: Path | None, as_json: bool) -> None:
    """Let the gate judge a run; where it beats all its rivals, it is served from now on.

    The rivals are the champion, the best single offer for everybody, and the offer likeliest to be used. Ask
    as often as exposures come in: the bounds of this run hold at every look. Each further run has its own.

    Example: perkwise promote first
    """
    from training import tracking
    from training.bundle import read_bundle
    from training.promotion import promote as ask_gate
    from training.source import read_source

    tracked = tracking.find_run(home(), run)
    data = data or home() / tracked.tags["data"]
    settings = read_settings(data)
    challenger = read_bundle(tracked.bundle)
    with progress_bars() as progress:
        source = read_source(data, settings, challenger.layout, progress)
    verdict = ask_gate(challenger, source, home(), settings, rules_in_force(data, settings))
    answer = {
        "promoted": verdict.promote,
        "reason": verdict.reason,
        "bundle": tracked.bundle.name,
        "n_more": verdict.n_more,
        "level": settings.training.interval_level,
        "unit": settings.money.currency,
        "comparisons": [asdict(one) for one in verdict.comparisons],
    }
    then = [FOLLOWED] if verdict.promote else []
    say(as_json, answer, *verdict_lines(verdict, settings), verdict.reason, *then)


@main.command()
@option_json
def rollback(as_json: bool) -> None:
    """Serve the champion before this one again, byte for byte.

    Example: perkwise rollback
    """
    from training import tracking
    from training.champion import rollback_champion

    bundle = rollback_champion(home() / "var")
    try:
        tracking.set_champion_alias(home(), bundle.name)
    except (ValueError, LookupError, OSError) as error:  # what is served is right; a second try would go on
        err.print(f"The alias `champion` in MLflow stays where it was: {in_words(error)}")
    say(
        as_json,
        {"bundle": bundle.name, "path": str(bundle)},
        f"The champion is {bundle.name} again. {FOLLOWED}",
    )


@main.command()
@data_argument
@click.option("--out", "file", required=True, type=click.Path(path_type=Path), help="A Parquet file.")
@click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion.")
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


@main.group()
def keys() -> None:
    """Who may ask the service: API keys, kept as hashes beside the state database."""


option_state = click.option(
    "--state", type=click.Path(path_type=Path), help="SQLite's file; else var/state.db."
)


@keys.command("add")
@click.argument("name")
@click.option("--read-only", is_flag=True, help="It may only read: GET.")
@option_state
@option_json
def add_key(name: str, read_only: bool, state: Path | None, as_json: bool) -> None:
    """Make a key and tell it, this once; a running service takes it within a second.

    Example: perkwise keys add checkout
    """
    from serving.keys import beside

    key = beside(state or home() / "var" / "state.db").add(name, read_only, datetime.now(UTC))
    say(
        as_json,
        {"name": name, "read_only": read_only, "key": key},
        key,
        f"It is kept nowhere. Send it as Authorization: Bearer {key[:8]}…; it may "
        + ("read." if read_only else "read and write."),
    )


@keys.command("list")
@option_state
@option_json
def list_keys(state: Path | None, as_json: bool) -> None:
    """The names of the keys, what they may do, and since when.

    Example: perkwise keys list
    """
    from serving.keys import beside

    _, known = beside(state or home() / "var" / "state.db").read()
    rows = [
        {"name": key.name, "read_only": key.read_only, "added_at": key.added_at} for key in known.values()
    ]
    told = [[row["name"], "read" if row["read_only"] else "read and write", row["added_at"]] for row in rows]
    say(as_json, {"keys": rows}, table_of(f"{len(rows)} keys", ["name", "may", "since"], told))


@keys.command("revoke")
@click.argument("name")
@option_state
@option_json
def revoke_key(name: str, state: Path | None, as_json: bool) -> None:
    """Close what a key opened; a running service learns it within a second.

    Example: perkwise keys revoke checkout
    """
    from serving.keys import beside

    beside(state or home() / "var" / "state.db").revoke(name)
    say(as_json, {"revoked": name}, f"Revoked {name}.")


@main.group(cls=Commands)
def rules() -> None:
    """The benefit rules: check them, compare them, try them on all users."""


def read_rules_text(file: Path) -> "RulesText":
    """What a rules file holds, or its faults."""
    from features.rules_file import read_rules

    if not file.is_file():
        raise ValueError(
            f"there is no rules file {file}: check the path, or write one; docs/rules.md shows how."
        )
    return read_rules(file)


def rules_vocabulary(data: Path, settings: Settings) -> "Vocabulary":
    """The names that a data folder knows."""
    from features.tables import load_tables

    return names_in(load_tables(data, settings.money), settings)


def names_in(tables: "Tables", settings: Settings) -> "Vocabulary":
    """The names that tables know."""
    from features.pipeline import Layout
    from features.rule_facts import vocabulary_of
    from features.tables import catalog_of

    channels = tables.exposures["channel"].unique().tolist()
    return vocabulary_of(
        Layout.of(tables), settings.tiers.names, catalog_of(tables.services), settings, channels
    )


def parse_rules_file(
    file: Path, vocabulary: "Vocabulary", settings: Settings
) -> "tuple[RuleSet, tuple[Finding, ...]]":
    """The rules of a file and all that a check finds."""
    from offers.rule_checks import check_rules
    from offers.rule_parsing import parse_rules
    from offers.rules import FAULT, RuleSet

    text = read_rules_text(file)
    if text.faults:
        return RuleSet(), text.faults
    found, findings = parse_rules(text.content, vocabulary, text.digest)
    if not any(finding.severity == FAULT for finding in findings):
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        findings += check_rules(found, vocabulary, settings.decision.max_services, now_us)
    return found, tuple(sorted(findings))


def sound_rules(file: Path | None, vocabulary: "Vocabulary", settings: Settings) -> "RuleSet":
    """The rules of a file without faults; none where there is no file."""
    from offers.rules import FAULT, RuleSet

    if file is None:
        return RuleSet()
    found, findings = parse_rules_file(file, vocabulary, settings)
    faults = [str(finding) for finding in findings if finding.severity == FAULT]
    if faults:
        raise ValueError(f"{file} has faults:\n" + "\n".join(f"- {fault}" for fault in faults))
    return found


def rules_in_force(data: Path, settings: Settings) -> "RuleSet":
    """The rules of the data folder, else of the project; none where there is no file."""
    from features.rules_file import find_rules
    from offers.rules import RuleSet

    file = find_rules(home(), data)
    text = None if file is None else read_rules_text(file)
    if text is None or (text.content.value is None and not text.faults):  # as the file that is shipped
        return RuleSet()
    return sound_rules(file, rules_vocabulary(data, settings), settings)


@rules.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Whose names count; else serving.data.")
@option_json
def rules_check(file: Path | None, data: Path | None, as_json: bool) -> None:
    """Check the benefit rules whole: every fault with its line and what to do.

    Ends with an error where there is a fault.

    Example: perkwise rules check rules.yaml --data var/shop
    """
    from features.rules_file import find_rules
    from offers.rule_checks import switches_of
    from offers.rules import FAULT

    data = data or home() / read_settings().serving.data
    settings = read_settings(data)
    file = file or find_rules(home(), data)
    if file is None:
        raise ValueError(f"there is no rules.yaml in {home()} or {data}: write one; docs/rules.md shows how.")
    vocabulary = rules_vocabulary(data, settings)
    found, findings = parse_rules_file(file, vocabulary, settings)
    is_sound = not any(finding.severity == FAULT for finding in findings)
    switches = switches_of(found, vocabulary) if is_sound else None
    answer = {
        "file": str(file),
        "hash": found.digest,
        "sound": is_sound,
        "rules": [rule.name for rule in found.rules],
        "findings": [asdict(finding) for finding in findings],
        "switches": asdict(switches) if switches else None,
    }
    lines = [f"{finding.severity:<8} {finding}" for finding in findings]
    n_combinations = f", {switches.n_combinations} combinations of switches checked" if switches else ""
    verdict = f"sound: {len(found.rules)} rules{n_combinations}" if is_sound else "not sound"
    say(as_json, answer, *lines, f"{file} is {verdict}.")
    if not is_sound:
        raise click.exceptions.Exit(1)


@rules.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion.")
@option_json
def rules_diff(old: Path, new: Path, data: Path | None, bundle: str | None, as_json: bool) -> None:
    """What differs between two rules files; with DATA also how many users it concerns.

    Example: perkwise rules diff rules.yaml rules-next.yaml var/shop
    """
    from offers.rule_diff import changes

    names_of = data or home() / read_settings().serving.data
    settings = read_settings(names_of)
    vocabulary = rules_vocabulary(names_of, settings)
    before, after = (sound_rules(file, vocabulary, settings) for file in (old, new))
    told = changes(before, after)
    answer: dict[str, Any] = {"old": before.digest, "new": after.digest, "changes": told}
    lines = told or ["The rules are the same."]
    if data:
        trial, _ = try_on_all(data, bundle, settings, before, after, 0, ask_log=False)
        answer.update(
            {key: trial.to_json()[key] for key in ("users", "refused_more", "allowed_more", "other_list")}
        )
        lines.append(
            f"Of {trial.n_users:,} users {trial.n_refused_more:,} are refused something more, "
            f"{trial.n_allowed_more:,} allowed something more, {trial.n_other_list:,} would get another list."
        )
    say(as_json, answer, *lines)


@rules.command("dry-run")
@data_argument
@click.option("--rules", "file", type=click.Path(path_type=Path), help="Instead of those in force.")
@click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion.")
@option_seed
@option_json
def rules_dry_run(data: Path, file: Path | None, bundle: str | None, seed: int, as_json: bool) -> None:
    """Who would get something else by new rules than by those in force, and what that is worth.

    Without --rules, the rules in force are compared with none.

    Example: perkwise rules dry-run var/shop --rules rules-next.yaml
    """
    from features.rules_file import find_rules
    from offers.rules import RuleSet

    settings = read_settings(data)
    vocabulary = rules_vocabulary(data, settings)
    in_force = sound_rules(find_rules(home(), data), vocabulary, settings)
    before, after = (
        (RuleSet(), in_force) if file is None else (in_force, sound_rules(file, vocabulary, settings))
    )
    trial, on_log = try_on_all(data, bundle, settings, before, after, seed, ask_log=True)
    assert on_log is not None
    gain, low, high = trial.worth
    services = [
        [name, f"{a:,}", f"{b:,}", f"{b - a:+,}"] for name, (a, b) in trial.by_service.items() if a or b
    ]
    tiers = [[name, f"{users:,}", f"{other:,}"] for name, (users, other) in trial.by_tier.items()]
    say(
        as_json,
        {**trial.to_json(), "worth_on_log": on_log.to_json()},
        f"{trial.n_other_list:,} of {trial.n_users:,} users would get something else.",
        table_of("Users shown each service", ["service", "before", "after", "change"], services),
        table_of("By tier", ["tier", "users", "something else"], tiers),
        *(
            f"{one['user_id']}: {', '.join(one['before']) or 'nothing'}"
            f" -> {', '.join(one['after']) or 'nothing'}"
            + "".join(f"; not {name}: {reason}" for name, reason in one["why_not"].items())
            for one in trial.examples
        ),
        f"On the log: {on_log.verdict}",
        f"{trial.worth_kind.capitalize()}: {gain:+.4g} {settings.money.currency} a user "
        f"({low:+.4g} to {high:+.4g}).",
    )


def try_on_all(
    data: Path,
    bundle: str | None,
    settings: Settings,
    before: "RuleSet",
    after: "RuleSet",
    seed: int,
    ask_log: bool,
) -> "tuple[Trial, WorthOnLog | None]":
    """Both sets of rules on all users, now; and, where it is asked, on the log."""
    from features.tables import load_tables
    from serving.rule_trial import try_rules
    from training.bundle import read_bundle
    from training.rule_worth import worth_of_rules

    chosen = read_bundle(find_bundle(bundle))
    tables = load_tables(data, settings.money)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    with progress_bars() as progress:
        trial = try_rules(tables, chosen, settings, before, after, now_us, seed, progress)
        if not ask_log:
            return trial, None
        return trial, worth_of_rules(data, tables, chosen, settings, before, after, seed, progress)


@main.command("simulate-loop")
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


@main.command()
@data_argument
@click.option("--core", type=click.IntRange(1), default=6, show_default=True, help="Services to keep.")
@click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion.")
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


@main.command()
@click.option("--data", type=click.Path(path_type=Path), help="Else serving.data of perkwise.toml.")
@click.option("--bundle", metavar="B", help="A bundle's folder or hash; else the champion, also the next.")
@option_state
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), help="Else serving.port of perkwise.toml.")
def serve(data: Path | None, bundle: str | None, state: Path | None, host: str, port: int | None) -> None:
    """Answer over HTTP until ctrl-C; the interface is described at /docs.json.

    Example: perkwise serve --port 3000
    """
    from serving.ahead import begun_ahead
    from serving.config import ServeConfig
    from training.champion import keep_bundle

    data = data or home() / read_settings().serving.data
    settings = read_settings(data)
    state = state or home() / "var" / "state.db"
    state.parent.mkdir(parents=True, exist_ok=True)
    files = (data / "rules.yaml", home() / "rules.yaml")
    chosen = keep_bundle(find_bundle(bundle), home() / "var")
    followed = home() / "var" if bundle is None else None
    with begun_ahead(ServeConfig(data, chosen, state, settings, champion=followed)) as ahead:
        from serving.launch import serve as run_service  # takes seconds, in which tables are read

        run_service(data, chosen, state, settings, host, port, files, audit_file(), followed, ahead.close)


@main.command()
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


@main.group("budget", cls=Commands)
def budget_() -> None:
    """What is spent of each budget, and the reserve kept for shifts of demand."""


@budget_.command("status")
@click.option("--data", type=click.Path(path_type=Path), help="Else serving.data of perkwise.toml.")
@click.option("--state", type=click.Path(path_type=Path), help="SQLite's file; else var/state.db.")
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


@budget_.command("open-reserve")
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


@main.command("export-log")
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


TOLD_DECISIONS = 5  # that differ, on a terminal


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help="A new folder; else dist/perkwise.")
@click.option("--bundle", metavar="B", help='Ship it too: a folder, a hash, or "champion".')
@option_json
def package(out: Path | None, bundle: str | None, as_json: bool) -> None:
    """Build the bento that is shipped, with its Containerfile and systemd unit.

    Example: perkwise package --out dist/perkwise --bundle champion
    """
    from serving.package import package as build

    shipped = find_bundle(None if bundle == "champion" else bundle) if bundle else None
    folder = out or home() / "dist" / "perkwise"
    files = build(Path(__file__).parent.resolve(), folder, shipped)
    shipped_name = shipped.resolve().name if shipped else None
    say(
        as_json,
        {"out": str(folder), "files": files, "bundle": shipped_name},
        f"Wrote {len(files)} files to {folder}, " + (f"bundle {shipped_name}." if shipped else "no bundle."),
        f"docker build -f {folder}/Containerfile -t perkwise {folder}",
    )


@main.command()
@click.option("--users", default=20_000, show_default=True)
@click.option("--services", default=12, show_default=True)
@option_seed
@option_json
def demo(users: int, services: int, seed: int, as_json: bool) -> None:
    """The main job on simulated customers: tables, profiles, training, report, one answered request.

    Example: perkwise demo
    """
    from serving.demonstration import ask_once
    from training.train import train as run_training

    data = home() / "var" / "demo"
    err.print(f"[bold]1 Customers[/bold]  {users:,} simulated users, {services} services")
    write_demo_world(data, users, services, seed)
    err.print("[bold]2 Training[/bold]   profiles, tuning, models of uptake and uplift, report")
    settings = read_settings(data)
    settings = replace(settings, training=replace(settings.training, trials=DEMO_TRIALS))
    with progress_bars() as progress:
        trained = run_training(data, home(), settings, "demo", seed, progress)
    err.print("[bold]3 Gate[/bold]       may these models be served?")
    reason = ask_gate_in_demo(trained, settings)
    err.print("[bold]4 Service[/bold]    one request over HTTP")
    request = {"user_id": demo_user(data), "n": 3, "explain": True}
    answer = ask_once(data, trained.bundle, home() / "var" / "demo-state.db", request)
    say(
        as_json,
        {
            "report": str(trained.report),
            "run_id": trained.run_id,
            "bundle": trained.bundle.name,
            "oracle_share": trained.evaluation.oracle_share,
            "gate": reason,
            "answer": answer,
        },
        *report_lines(trained.evaluation, trained.report),
        f"Gate     {reason}",
        f"POST /recommend {json.dumps(request)}",
        json.dumps(answer, indent=2, ensure_ascii=False),
        DEMO_NEXT,
    )


def write_demo_world(data: Path, users: int, services: int, seed: int) -> None:
    """Customers up to last midnight, so that the service finds their profiles fresh."""
    import pandas as pd

    from features.world import make_world, write_world

    midnight = pd.Timestamp.now(UTC).normalize()
    with progress_bars() as progress:
        made = make_world(users, services, 180, np.random.default_rng(seed), progress, ends_at=midnight)
    write_world(made, data, seed)


def ask_gate_in_demo(trained: "Training", settings: Settings) -> str:
    """The gate's answer; a champion of other services than the demo's stays untouched."""
    from training import tracking
    from training.bundle import read_bundle
    from training.champion import read_champion
    from training.promotion import promote as ask_gate

    if (home() / "var" / "champion").is_symlink():
        champion = read_bundle(read_champion(home() / "var"))
        if champion.catalog.ids != trained.source.catalog.ids:
            return "not asked: the champion is of other services than the demo's, and stays."
    challenger = read_bundle(tracking.find_run(home(), trained.run_id).bundle)
    return ask_gate(challenger, trained.source, home(), settings).reason


def demo_user(data: Path) -> str:
    """The first user who is not in the holdout, so that the answer shows something."""
    import pandas as pd

    from offers.exploration import in_holdout

    exploration = read_settings(data).exploration
    users = pd.read_parquet(data / "users.parquet", columns=["user_id"])["user_id"]
    return next(str(user_id) for user_id in users if not in_holdout(user_id, exploration))


DEMO_TRIALS = 4
DEMO_NEXT = """
Next
  open the report in a browser               the path is above
  source .venv/bin/activate
  perkwise serve                             answers at http://127.0.0.1:3000, see /docs.json
  perkwise validate DATA                     your own tables; the README has the contract
  perkwise train DATA --name first           then: perkwise promote first"""


if __name__ == "__main__":
    main()
