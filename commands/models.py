"""Models: trained, valued on the log, promoted where the gate allows it, and rolled back."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from commands.console import err, progress_bars, say
from commands.errors import in_words
from commands.options import data_argument, option_bundle, option_json, option_seed
from commands.project import find_bundle, home, read_settings
from commands.report import change_lines, report_lines, verdict_lines
from commands.rules_files import rules_in_force, rules_vocabulary, sound_rules

FOLLOWED = "Services that run without --bundle take it over in a moment, as GET /services tells."


@click.command()
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


@click.command()
@data_argument
@option_bundle
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


@click.command()
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


@click.command()
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
