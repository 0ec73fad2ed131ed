"""API keys: added, listed, revoked."""

from datetime import UTC, datetime
from pathlib import Path

import click

from commands.console import say, table_of
from commands.options import option_json, option_state
from commands.project import home


@click.group()
def keys() -> None:
    """Who may ask the service: API keys, kept as hashes beside the state database."""


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
