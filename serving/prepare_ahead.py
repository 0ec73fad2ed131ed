"""The process of ``serving.ahead``: makes the prepared files of a data folder, and says nothing.

It needs no models, so it imports nothing that reads them.
"""

import os

from features.pipeline import Layout
from offers.settings import WindowSettings
from serving.child import end_with_parent
from serving.config import ServeConfig
from serving.prepared import Recipe, make, prepare, prepared_beside
from training.bundle_files import BundleError, check_seal
from training.champion import read_champion


def prepare_for(config: ServeConfig) -> None:
    """What a service of this kind will open, made where it is not there."""
    folder = config.bundle if config.champion is None else read_champion(config.champion)
    manifest = check_seal(folder.resolve())
    layout, windows = Layout.from_json(manifest["layout"]), WindowSettings(**manifest["settings"]["windows"])
    recipe = Recipe(config.data, layout, windows.uptake_days, config.settings.money)
    prepare(recipe, prepared_beside(config.state), make)


def main() -> None:
    """Prepare by the environment of the service."""
    end_with_parent()
    code = 0
    try:
        prepare_for(ServeConfig.from_environment(os.environ))
    except (BundleError, OSError, ValueError, LookupError, TypeError, AttributeError):
        code = 1  # the start of the service says what is wrong
    os._exit(code)  # a thread sits in a read that an orderly end would wait for


if __name__ == "__main__":
    main()
