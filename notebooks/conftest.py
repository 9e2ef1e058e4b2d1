"""Run the notebooks as tests: ``pytest --nbval notebooks/`` executes every cell and compares what it prints."""

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

# The kernels inherit these: this package, also where it is not installed, and a fixed number of threads.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH"))))
os.environ.setdefault("OMP_NUM_THREADS", "2")


def pytest_configure(config):
    if config.getoption("nbval_sanitize_with", None) is None:
        config.option.nbval_sanitize_with = str(FOLDER / "sanitize.cfg")


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # a notebook
        collector.skip_compare += ("stderr",)  # warnings differ between versions
