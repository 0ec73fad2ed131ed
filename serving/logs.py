"""What the service writes to standard error: our own lines, as text or as one JSON object each."""

import json
import logging
from datetime import UTC, datetime

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


def start_logging(log_format: str, level: str) -> None:
    """Our lines to standard error; of libraries nothing, for what goes wrong is raised or answered.

    Raises
    ------
    ValueError
        Where there is no such format or level.
    """
    for name, found, known in (("log_format", log_format, FORMATS), ("log_level", level, LEVELS)):
        if found not in known:
            raise ValueError(f"serving.{name} must be one of {', '.join(known)}, got {found!r}.")
    told = logging.StreamHandler()
    told.setFormatter(JsonLines() if log_format == "json" else TextLines())
    told.addFilter(logging.Filter("perkwise"))
    root = logging.getLogger()
    others = [one for one in root.handlers if type(one) is not logging.StreamHandler]  # a library's, or ours
    root.handlers = [*others, told]
    logging.getLogger("perkwise").setLevel(level.upper())
    logging.getLogger("bentoml").setLevel(logging.CRITICAL)


class TextLines(logging.Formatter):
    """Time, level and message; fields as name=value behind them."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        return " ".join([super().format(record), *(f"{name}={found}" for name, found in fields.items())])


class JsonLines(logging.Formatter):
    """One JSON object a line, fields beside time, level and message."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps({**line, **getattr(record, "fields", {})}, default=str)
