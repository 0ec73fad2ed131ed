"""The service: run here, or built as what is shipped."""

from pathlib import Path

import click

from commands.console import say
from commands.options import option_json, option_state
from commands.project import ROOT, audit_file, find_bundle, home, read_settings


@click.command()
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


@click.command()
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
    files = build(ROOT.resolve(), folder, shipped)
    shipped_name = shipped.resolve().name if shipped else None
    say(
        as_json,
        {"out": str(folder), "files": files, "bundle": shipped_name},
        f"Wrote {len(files)} files to {folder}, " + (f"bundle {shipped_name}." if shipped else "no bundle."),
        f"docker build -f {folder}/Containerfile -t perkwise {folder}",
    )
