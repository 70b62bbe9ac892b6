"""The engine's tests on other versions of Python and transformers: python -m tests.versions [3.10 4.51.0] ...

Every pair gets a virtual environment of its own (in .versions/, git-ignored), the packages by pip, torch by the version
of constraints.txt. The table of README.md is what this printed last.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".versions"
TORCH = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)[0]  # type: ignore[index]
PAIRS = [("3.10", "5.20.2"), ("3.11", "4.51.0"), ("3.11", "5.23.0"), ("3.13", "5.23.0")]
PACKAGES = ["numpy", "anywidget", "ipywidgets>=7.7,<9", "traitlets", "accelerate", "peft", "jinja2", "protobuf"]
TOOLS = ["pytest", "hypothesis", "nbformat", "sentencepiece"]
TESTS = ["model", "run", "decomposition", "tape", "lens", "loading", "report", "tokens"]


def interpreter(python: str) -> str | None:
    """`python3.x` of the PATH that starts, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in (shutil.which(f"python{python}"), *sorted(map(str, pyenv.glob(f"{python}.*/bin/python")))):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    return None


def result(python: str, transformers: str) -> str:
    """The last line of the tests on a pair of versions, or why they could not run."""
    start = interpreter(python)
    if start is None:
        return f"no Python {python} was found"
    here = PLACE / f"{python}-{transformers}"
    run = str(here / "bin" / "python")
    if not (here / ".installed").exists():
        subprocess.run([start, "-m", "venv", str(here)], check=True)
        for packages in ([TORCH], [f"transformers=={transformers}", *PACKAGES, *TOOLS]):
            subprocess.run([run, "-m", "pip", "install", "-qq", *packages], check=True)
        (here / ".installed").touch()
    files = [f"tests/test_{name}.py" for name in TESTS]
    command = [run, "-m", "pytest", "-q", "--all", "-p", "no:cacheprovider", *files]
    told = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )
    (here / "log").write_text(told.stdout + told.stderr, "utf-8")
    return told.stdout.strip().rsplit("\n", 1)[-1].split(" in ")[0]


def main(pairs: list[tuple[str, str]]) -> None:
    print(f"| Python | transformers | {TORCH.replace('==', ' ')} on a CPU |\n|---|---|---|", flush=True)
    for python, transformers in pairs:
        print(f"| {python} | {transformers} | {result(python, transformers)} |", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(list(zip(words[::2], words[1::2], strict=True)) or PAIRS)
