"""The shop that is served: simulated customers and a bundle trained on them, made where they are missing."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.serving.processes import ROOT

_DAYS = 180
_COPIED_IDS = ("user_id", "order_id", "event_id", "slate_id")


@dataclass(frozen=True)
class Shop:
    """A data folder, and the bundle that was trained on it."""

    home: Path  # what the service keeps is below it
    data: Path
    bundle: Path

    @property
    def state(self) -> Path:
        """Where the service keeps its database, and what it makes beforehand."""
        return self.home / "served"

    def user_ids(self) -> list[str]:
        users = pd.read_parquet(self.data / "users.parquet", columns=["user_id"])
        return users["user_id"].astype(str).tolist()


def with_workers(shop: Shop, n_workers: int) -> Shop:
    """The same shop, served by so many processes."""
    data = shop.home / f"shop-{n_workers}-workers"
    data.mkdir(exist_ok=True)
    for file in shop.data.glob("*.parquet"):
        (data / file.name).unlink(missing_ok=True)
        (data / file.name).symlink_to(file)
    settings = (shop.data / "perkwise.toml").read_text()
    (data / "perkwise.toml").write_text(f"{settings}\n[serving]\nworkers = {n_workers}\n")
    return replace(shop, data=data)


def enlarged(shop: Shop, times: int) -> Shop:
    """A shop of so many times the customers, each of whom did what one of the first did; the same bundle.

    To simulate as many anew would take hours and all memory; what serving has to hold is as large either way.
    """
    home = shop.home.with_name(f"{shop.home.name}-times-{times}")
    data = home / "shop"
    data.mkdir(parents=True, exist_ok=True)
    for file in sorted(shop.data.glob("*.parquet")):
        if not (data / file.name).exists():
            _enlarge(file, data / file.name, 1 if file.stem == "services" else times)
    shutil.copy(shop.data / "perkwise.toml", data)
    return Shop(home, data, shop.bundle)


def _enlarge(file: Path, to: Path, times: int) -> None:
    beside = to.with_suffix(".new")
    whole = pq.ParquetFile(file)
    with pq.ParquetWriter(beside, whole.schema_arrow, compression="zstd") as writer:
        for copy in range(times):
            for batch in whole.iter_batches(1 << 20):
                writer.write_batch(_numbered(batch, copy))
    beside.rename(to)


def _numbered(rows: pa.RecordBatch, copy: int) -> pa.RecordBatch:
    """Rows whose users, orders, events and lists are others than those of the first copy."""
    for place, name in enumerate(rows.schema.names):
        if copy and name in _COPIED_IDS:
            before, nothing = (pa.scalar(text, rows[name].type) for text in (str(copy), ""))
            ids = pc.binary_join_element_wise(before, rows[name], nothing)
            rows = rows.set_column(place, rows.schema.field(place), ids)
    return rows


def make_shop(work: Path, n_users: int, n_services: int) -> Shop:
    """The shop of that size below ``work``; made in minutes to half an hour where it is not there."""
    home = work / f"{n_users}x{n_services}"
    data, trained = home / "shop", home / "trained.json"
    home.mkdir(parents=True, exist_ok=True)
    if not (data / "users.parquet").is_file():
        size = ["--users", str(n_users), "--services", str(n_services), "--days", str(_DAYS), "--seed", "1"]
        perkwise(home, "world", *size, str(data))
    if not trained.is_file():
        answer = perkwise(home, "train", str(data), "--trials", "0", "--json")
        trained.write_text(answer)
    return Shop(home, data, Path(json.loads(trained.read_text())["path"]))


def perkwise(home: Path, *arguments: str) -> str:
    """What a command of Perkwise writes to standard output; all it keeps is below ``home``."""
    ran = subprocess.run(
        [sys.executable, "-m", "perkwise", *arguments],
        cwd=ROOT,
        env={**os.environ, "PERKWISE_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ran.stdout
