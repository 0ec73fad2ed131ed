"""The command line: every command in the order they run; each is written in a file of commands/.

Libraries that take seconds to import (MLflow, BentoML, LightGBM) are imported by the commands that need
them, so that `perkwise --help` answers at once.
"""

import os

import click

from commands import budgets, data_folders, decisions, demo, keys, models, rules, service, studies
from commands.errors import Commands

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

IN_ORDER = (
    data_folders.world,
    data_folders.import_,
    data_folders.validate,
    data_folders.profile,
    models.train,
    models.evaluate,
    models.promote,
    models.rollback,
    decisions.score,
    keys.keys,
    rules.rules,
    studies.simulate_loop,
    studies.portfolio,
    service.serve,
    decisions.replay,
    budgets.budget,
    decisions.export_log,
    service.package,
    demo.demo,
)


@click.group(cls=Commands, commands=IN_ORDER, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Which value-added services to offer to whom, how many, and when none.

    Start with `perkwise demo`; it runs every stage on simulated customers.
    """


if __name__ == "__main__":
    main()
