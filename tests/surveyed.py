"""Whether surveys whose workers and driver are killed lose nothing: files equal to those of one that was not.

python -m tests.surveyed FOLDER --n 10000        undisturbed, killed in this process, killed with Dask: 12 min each
python -m tests.surveyed FOLDER --only engine    one of them beside what lies in the folder
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WAYS = ("undisturbed", "embedded", "engine")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@contextlib.contextmanager
def surveying(folder: Path, way: str, n: int = 40, chunk: int = 4) -> Iterator[subprocess.Popen[str]]:
    """A survey in a process of its own, which is waited for unless it was killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [
        sys.executable,
        "-m",
        "tests.surveyed",
        str(folder),
        "--child",
        way,
        "--n",
        str(n),
        "--chunk",
        str(chunk),
    ]
    options: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **options) as process:
        yield process
        list(lines_until(process, "nothing"))


def lines_until(process: subprocess.Popen[str], wanted: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if line.startswith(wanted):
            return


def until_done(process: subprocess.Popen[str], n: int) -> list[str]:
    """What it said until at least n prompts were done."""
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if line.startswith("done ") and int(line.split()[1]) >= n:
            break
    return said


def survey_here(folder: Path, way: str, n: int, chunk: int) -> None:
    """What the process that may be killed does."""
    import torch

    import lmtt_widget as lmtt
    from tests.grammar_prompts import prompts

    def told(done: int, _total: int) -> None:
        print("done", done, flush=True)

    torch.set_num_threads(1)
    given: Any = {"prompts": list(prompts(n, 8)), "folder": folder, "chunk": chunk, "progress": told}
    if way != "engine":
        lmtt.survey(lmtt.bundled_model(), **given)
        return
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        print("workers", *client.run(os.getpid).values(), flush=True)
        lmtt.survey(lmtt.bundled_model, engine=client, **given)


def killed(folder: Path, way: str, n: int, chunk: int, times: int) -> int:
    """A survey whose driver is killed so often, and with an engine a worker before it; how many kills that were."""
    marks = [n * k // (2 * times + 2) for k in range(1, 2 * times + 1)]
    kills = 0
    for worker, driver in list(pairwise(marks))[::2]:
        with surveying(folder, way, n, chunk) as process:
            said = until_done(process, worker)
            if way == "engine":
                os.kill(int(next(line for line in said if line.startswith("workers")).split()[1]), signal.SIGKILL)
                kills += 1
            until_done(process, driver)
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
    return kills


def told_of(folder: Path, n: int) -> str:
    """How many prompts are lost, double and refused in a folder."""
    import lmtt_widget as lmtt

    many = lmtt.load_survey(folder)
    numbers = many.column("number").tolist()
    lost, double = len(set(range(n)) - set(numbers)), len(numbers) - len(set(numbers))
    return f"{lost} lost, {double} double, {many.n_refused} refused, {many.n_duplicates} given twice"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--chunk", type=int, default=50)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        survey_here(options.folder, options.child, options.n, options.chunk)
        return
    for way in [options.only] if options.only else WAYS:
        start, folder = time.perf_counter(), options.folder / way
        kills = 0 if way == "undisturbed" else killed(folder, way, options.n, options.chunk, options.kills)
        with surveying(folder, way, options.n, options.chunk) as process:
            pass
        said = f"{way}: {options.n} prompts, {kills} kills, {time.perf_counter() - start:.0f} s"
        print(f"{said}; ended with {process.returncode}; {told_of(folder, options.n)}", flush=True)
    there = {way: files(options.folder / way) for way in WAYS if (options.folder / way).exists()}
    first = next(iter(there.values()))
    same = all(one == first for one in there.values())
    print(f"{', '.join(there)}: {len(first)} files each, {'byte-identical' if same else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
