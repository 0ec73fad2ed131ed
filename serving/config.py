"""What the service process is told by its environment, written and read side by side."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from offers.settings import Settings, parse_settings


@dataclass(frozen=True)
class ServeConfig:
    """Where the service finds what it serves."""

    data: Path  # the data folder
    bundle: Path  # the bundle's folder
    state: Path  # SQLite's file
    settings: Settings
    host: str = "127.0.0.1"  # where the service listens: beyond loopback it wants API keys
    rules: tuple[Path, ...] = ()  # where the benefit rules may stand
    audit: Path | None = None  # where shifts of demand are declared
    champion: Path | None = None  # the folder whose link `champion` is followed; None: the bundle stays

    def to_environment(self) -> dict[str, str]:
        """The environment variables that say the same."""
        return {
            "PERKWISE_DATA": str(self.data.resolve()),
            "PERKWISE_BUNDLE": str(self.bundle.resolve()),
            "PERKWISE_STATE": str(self.state.resolve()),
            "PERKWISE_SETTINGS": json.dumps(asdict(self.settings)),
            "PERKWISE_HOST": self.host,
            "PERKWISE_RULES": json.dumps([str(file.resolve()) for file in self.rules]),
            "PERKWISE_AUDIT": "" if self.audit is None else str(self.audit.resolve()),
            "PERKWISE_CHAMPION": "" if self.champion is None else str(self.champion.resolve()),
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ServeConfig":
        """What ``to_environment`` wrote; without PERKWISE_SETTINGS the defaults.

        An address that is not named counts as one that others can reach.

        Raises
        ------
        ValueError
            Where a variable is missing, or the settings have faults.
        """
        names = ("PERKWISE_DATA", "PERKWISE_BUNDLE", "PERKWISE_STATE")
        missing = [name for name in names if not environment.get(name)]
        if missing:
            raise ValueError(
                f"The environment must name the data folder, the bundle and the state file, "
                f"{', '.join(missing)} is not set. Start the service with: perkwise serve."
            )
        try:
            settings = json.loads(environment.get("PERKWISE_SETTINGS") or "{}")
        except json.JSONDecodeError as error:
            raise ValueError(f"PERKWISE_SETTINGS must be JSON, got: {error}.") from error
        data, bundle, state = (Path(environment[name]) for name in names)
        rules = tuple(map(Path, json.loads(environment.get("PERKWISE_RULES") or "[]")))
        host, audit = environment.get("PERKWISE_HOST", ""), environment.get("PERKWISE_AUDIT")
        champion = environment.get("PERKWISE_CHAMPION")
        return cls(
            data,
            bundle,
            state,
            parse_settings(settings),
            host,
            rules,
            Path(audit) if audit else None,
            Path(champion) if champion else None,
        )
