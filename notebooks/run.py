"""Run the notebooks from the first cell to the last: `python notebooks/run.py` keeps what they show."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))

_SECONDS_A_CELL = 300
_METADATA = {  # the same on every machine
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(file: Path) -> NotebookNode:
    """The notebook with its outputs, from this very Python and this checkout, in a temporary folder.

    Kernels that are installed elsewhere do not matter. The outputs carry no times.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        Where a cell fails.
    """
    notebook = nbformat.read(file, as_version=4)
    with TemporaryDirectory() as folder:
        kernels = Path(folder) / "kernels"
        write_kernel_spec(kernels / "python3")
        manager = AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(kernels)])
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=_SECONDS_A_CELL,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute(cleanup_kc=True, env=_environment())
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        cell.metadata.clear()  # times and folds that editors leave
    return notebook


def _environment() -> dict[str, str]:
    """This process's, with this checkout first on the path and plots shown in the notebook."""
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    return {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | {"PYTHONPATH": path}


def main() -> None:
    for file in NOTEBOOKS:
        sys.stderr.write(f"{file.name}\n")
        nbformat.write(execute(file), file)


if __name__ == "__main__":
    main()
