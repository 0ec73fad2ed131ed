"""What is shipped: the files that serving needs, and no others."""

import subprocess
import sys
from pathlib import Path

import pytest

from serving.package import COMMANDS, DEPLOYMENT, ROOMS, modules, package, runtime_lock

ROOT = Path(__file__).resolve().parents[2]
SHIPPED_BESIDE = {"pyproject.toml", "perkwise.toml", "perkwise.py", "requirements.lock"}
IMPORT = """
import importlib, pathlib, sys
here = sys.argv[1]
sys.path[:] = [here] + [one for one in sys.path if not (pathlib.Path(one or ".") / "perkwise.py").exists()]
for path in sorted(pathlib.Path(here).rglob("*.py")):
    name = ".".join(path.relative_to(here).with_suffix("").parts).removesuffix(".__init__")
    found = importlib.import_module(name)
    assert pathlib.Path(found.__file__).is_relative_to(here), found
heavy = {"mlflow", "optuna", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory, bundle):
    out = tmp_path_factory.mktemp("package") / "perkwise"
    return out, package(ROOT, out, bundle.path)


def test_the_package_holds_what_serving_imports_and_nothing_else(built, bundle):
    out, files = built
    code = {path.relative_to(ROOT).as_posix() for path in modules(ROOT)}
    commands = {path.relative_to(ROOT).as_posix() for path in (ROOT / COMMANDS).rglob("*.py")}
    shipped = {
        f"bundles/{bundle.hash}/{path.relative_to(bundle.path).as_posix()}"
        for path in bundle.path.rglob("*")
        if path.is_file()
    }
    assert set(files) == code | commands | SHIPPED_BESIDE | shipped
    assert {"commands/__init__.py", "commands/service.py"} < commands
    assert {name.split("/")[0] for name in code} == set(ROOMS)
    there = {path.relative_to(out / "src").as_posix() for path in (out / "src").rglob("*") if path.is_file()}
    assert there == set(files) | {"bentofile.yaml"}


def test_training_data_and_tests_are_left_out(built):
    _, files = built
    assert {"serving/service.py", "training/bundle.py", "offers/policy.py", "features/pipeline.py"} < set(
        files
    )
    for part in ("training/train.py", "training/tracking.py", "training/evaluation", "features/world.py"):
        assert not [name for name in files if name.startswith(part)]
    for part in ("var", "mlruns", "tests", ".git", ".venv", "notebooks", "benchmarks", "docs"):
        assert not [name for name in files if name.split("/")[0] == part]


def test_beside_it_stand_bentoml_s_files_and_the_deployment_s(built):
    out, _ = built
    beside = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    beside = {name for name in beside if not name.startswith("src/")}
    assert beside == {
        "bento.yaml",
        "README.md",
        "apis/openapi.yaml",
        "apis/schema.json",
        "env/docker/Dockerfile",
        "env/docker/entrypoint.sh",
        "env/python/requirements.in",
        "env/python/requirements.txt",
        *DEPLOYMENT,
    }


def test_no_path_of_the_machine_that_built_it_is_in_it(built):
    out, _ = built
    for path in out.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert str(ROOT) not in text and str(Path.home()) + "/" not in text and str(out) not in text, path


@pytest.mark.slow
def test_every_module_of_it_is_imported_from_it_alone(built):
    out, _ = built
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT, str(out / "src")], cwd=out, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_pins_are_those_of_the_libraries_that_serving_needs(built):
    lock = (built[0] / "src" / "requirements.lock").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in lock.splitlines() if line[:1].isalnum()}
    assert {"bentoml", "lightgbm", "numpy", "pandas", "uvicorn", "starlette", "orjson", "click"} < names
    assert {"psycopg", "psycopg-binary"} < names
    assert not {"mlflow", "optuna", "matplotlib", "pytest", "schemathesis", "mypy", "ruff"} & names
    assert all("--hash=sha256:" in block for block in lock.split("\n\n") if block.strip())


def test_a_pin_keeps_its_marker_and_its_hashes():
    lock = "click==8.1 ; python_version < '4' \\\n    --hash=sha256:0\npytest==9 \\\n    --hash=sha256:1\n"
    assert runtime_lock(lock, ["click>=8"]) == lock.split("pytest")[0]


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="must be a new or an empty folder: name another, or remove it"):
        package(ROOT, tmp_path)


def test_the_container_is_no_root_s_and_names_a_plain_image():
    lines = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8").splitlines()
    (image,) = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert image == "python:3.11-slim"
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert not [line for line in lines if "://" in line and "127.0.0.1" not in line]


def test_the_unit_restarts_always_and_gives_little_away():
    unit = (ROOT / "deploy" / "perkwise.service").read_text(encoding="utf-8").splitlines()
    for line in ("Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert line in unit
