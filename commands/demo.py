"""The demo: every stage on simulated customers, up to one answered request."""

import json
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from commands.console import err, progress_bars, say
from commands.options import option_json, option_seed
from commands.project import home, read_settings
from commands.report import report_lines
from offers.settings import Settings

if TYPE_CHECKING:
    from training.train import Training

DEMO_TRIALS = 4
DEMO_NEXT = """
Next
  open the report in a browser               the path is above
  source .venv/bin/activate
  perkwise serve                             answers at http://127.0.0.1:3000, see /docs.json
  perkwise validate DATA                     your own tables; the README has the contract
  perkwise train DATA --name first           then: perkwise promote first"""


@click.command()
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
