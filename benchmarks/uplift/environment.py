"""An environment for the comparison: causalml, econml, scikit-uplift and what the engine needs."""

import subprocess
import sys
import venv
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")


def make_environment(folder: Path) -> Path:
    """The interpreter of an environment with the locked packages, made anew where the lock changed.

    Raises
    ------
    RuntimeError
        Where the packages cannot be installed.
    """
    python, current = folder / "bin" / "python", folder / "requirements.lock"
    lock = LOCK.read_text(encoding="utf-8")
    if python.exists() and current.is_file() and current.read_text(encoding="utf-8") == lock:
        return python
    print(f"making {folder} from {LOCK.name} (once; a minute or two)", file=sys.stderr)
    venv.create(folder, clear=True, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
    if subprocess.run(install, check=False).returncode != 0:
        raise RuntimeError(
            f"The packages of {LOCK} could not be installed in {folder}: see pip's message above. "
            "Or name an interpreter that has them with --python."
        )
    current.write_text(lock, encoding="utf-8")
    return python
