"""What goes wrong, told in one line that says what to do."""

import errno
import os
from typing import Any

import click


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
