"""What is shipped: a bento with the modules that serving needs, the pins of their libraries, nothing else.

The modules are found by following the imports of `serving/` through the rooms; the commands go along whole.
All is copied to a folder of its own and built there: BentoML walks its whole build folder, and would else
read data, runs and environments.
"""

import ast
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOMS = ("offers", "features", "training", "serving")
COMMANDS = "commands"
SETTINGS = ("pyproject.toml", "perkwise.toml", "perkwise.py")
DEPLOYMENT = ("Containerfile", "perkwise.service")
LOCK = "requirements.lock"
NOT_SERVED = ("mlflow", "optuna", "matplotlib")  # libraries of training alone

_BUILD = """
import sys, bentoml
bentoml.build("serving.service:Perkwise", include=sys.argv[1:], version="packaged",
              python={"requirements_txt": "requirements.lock", "lock_packages": False})
"""


def package(project: Path, out: Path, bundle: Path | None = None) -> list[str]:
    """Build the bento as the folder `out`; returns the files of its `src/`, in order.

    Parameters
    ----------
    project : Path
        The folder of perkwise.py.
    out : Path
        Made; must not be there, or be empty.
    bundle : Path, optional
        A bundle's folder to ship: it comes to `src/bundles/`.

    Raises
    ------
    ValueError
        Where `out` holds something, or BentoML cannot build.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} must be a new or an empty folder: name another, or remove it first.")
    with tempfile.TemporaryDirectory() as temporary:
        staged, store = Path(temporary) / "src", Path(temporary) / "store"
        _stage(project, staged, bundle)
        files = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        built = _build(staged, store, files)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(built, out, dirs_exist_ok=True)
    for name in DEPLOYMENT:
        shutil.copy(project / "deploy" / name, out / name)
    return files


def modules(project: Path) -> list[Path]:
    """The modules that serving needs, in order: those of `serving/`, and all that they import."""
    found: set[Path] = set()
    todo = [*(project / "serving").rglob("*.py"), project / "training" / "champion.py"]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        todo += _imported(path, project)
    return sorted(found | {init for path in found for init in _inits(path, project)})


def runtime_lock(lock: str, requirements: Iterable[str]) -> str:
    """The pins of the lock that these requirements need, directly or not, on this machine.

    >>> runtime_lock("a==1 \\\\\\n    --hash=sha256:0\\nb==2 \\\\\\n    --hash=sha256:1\\n", ["a"])
    'a==1 \\\\\\n    --hash=sha256:0\\n'
    """
    needed = _closure(requirements)
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.M)
    kept = [block for block in blocks if block and _name(block) in needed]
    return "".join(kept)


def _stage(project: Path, staged: Path, bundle: Path | None) -> None:
    for path in (*modules(project), *(project / COMMANDS).rglob("*.py")):
        to = staged / path.relative_to(project)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    for name in SETTINGS:
        shutil.copy(project / name, staged / name)
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    served = [one for one in declared["dependencies"] if _name(one) not in NOT_SERVED]
    served += declared["optional-dependencies"]["postgresql"]
    lock = (project / LOCK).read_text(encoding="utf-8")
    (staged / LOCK).write_text(runtime_lock(lock, served), encoding="utf-8")
    if bundle is not None:
        shutil.copytree(bundle, staged / "bundles" / bundle.resolve().name)


def _build(staged: Path, store: Path, files: list[str]) -> Path:
    store.mkdir()
    environment = {"BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(staged)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-c", _BUILD, *files]
    ran = subprocess.run(command, cwd=staged, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        told = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"BentoML could not build the package: {told}")
    return store / "bentos" / "perkwise" / "packaged"


def _imported(path: Path, project: Path) -> Iterator[Path]:
    """The modules of the rooms that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in ROOMS:
                yield from _files_of(project.joinpath(*name.split(".")))


def _files_of(module: Path) -> Iterator[Path]:
    for path in (module.with_suffix(".py"), module / "__init__.py"):
        if path.is_file():
            yield path


def _inits(path: Path, project: Path) -> Iterator[Path]:
    for parent in path.parents:
        if parent == project:
            return
        yield parent / "__init__.py"


def _closure(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that are needed, as they are installed here."""
    found: set[tuple[str, str]] = set()
    todo = [Requirement(one) for one in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            todo += (one for one in _requirements_of(name) if _applies(one, extra))
    return {name for name, _ in found}


def _requirements_of(name: str) -> list[Requirement]:
    try:
        return [Requirement(one) for one in requires(name) or []]
    except ModuleNotFoundError:  # of another platform
        return []


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _name(text: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", text)
    return canonicalize_name(found[0]) if found else ""
