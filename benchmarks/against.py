"""Every benchmark here and in another checkout, in turns: python -m benchmarks.against ../before engine memory wire"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks._measure import machine

ASKED = {
    "engine": ["--tokens", "128", "512", "--rounds", "3", "--threads", "1", "--kernels", "numba"],
    "memory": ["--tokens", "128", "1024"],
    "wire": ["--rounds", "3"],
    "detail": ["--rounds", "5"],
    "browser": ["--rounds", "3"],
}
HERE = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout of another version, its bundle built")
    parser.add_argument("benchmarks", nargs="*", metavar="benchmark", help=f"of {', '.join(ASKED)}; all if none")
    parser.add_argument("--times", type=int, default=5, help="how often each is run on either side")
    options = parser.parse_args()
    if unknown := {*options.benchmarks} - {*ASKED}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(ASKED)}")
    print(f"Medians of {options.times} runs in turns, before and here. {machine()}\n")
    print("| benchmark | row | figure | before | here | here / before |\n|---|---|---|---|---|---|")
    for name in options.benchmarks or ASKED:
        compare(name, options.other.resolve(), options.times)


def compare(name: str, other: Path, times: int) -> None:
    """Print a benchmark's rows that both versions have."""
    found: dict[Path, dict[tuple[str, str], list[float]]] = {other: defaultdict(list), HERE: defaultdict(list)}
    for k in range(times):
        for checkout in (other, HERE) if k % 2 else (HERE, other):
            for figure, value in figures(printed(name, checkout)):
                found[checkout][figure].append(value)
    for figure in [f for f in found[HERE] if f in found[other]]:
        before, here = (statistics.median(found[checkout][figure]) for checkout in (other, HERE))
        print(
            f"| {name} | {' | '.join(figure)} | {before:g} | {here:g} | {here / before if before else 1:.2f} |",
            flush=True,
        )


def printed(name: str, checkout: Path) -> str:
    """What a benchmark of a checkout prints."""
    env = os.environ | {"PYTHONPATH": str(checkout), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", f"benchmarks.{name}", *ASKED[name]]
    return subprocess.run(command, cwd=checkout, env=env, check=True, capture_output=True, text=True).stdout


def figures(text: str) -> list[tuple[tuple[str, str], float]]:
    """The figures of printed tables by row and column: rows of bars, or a name and figures with their units."""
    found: list[tuple[tuple[str, str], float]] = []
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            numbers = [re.match(r"-?[\d,.]+", c) for c in cells]
            if not any(numbers):
                columns = columns if cells[0].startswith("--") else apart(cells)
            elif len(cells) == len(columns):
                row = zip(columns[1:], numbers[1:], strict=True)
                found += [((cells[0], what), float(n[0].replace(",", ""))) for what, n in row if n]
        elif named := re.match(r"([a-z]\w*) {2,}", line):
            found += [((named[1], unit), float(n)) for n, unit in re.findall(r"([\d.]+) (ms|kB)", line)]
    return found


def apart(columns: list[str]) -> list[str]:
    """A name that several columns have, with the name of the column before it."""
    several = {c for c in columns if columns.count(c) > 1}
    return [f"{columns[k - 1]}, {c}" if c in several else c for k, c in enumerate(columns)]


if __name__ == "__main__":
    main()
