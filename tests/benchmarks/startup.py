"""How long commands take to start, beside a Python that does nothing: medians of 9 interleaved runs.

Run with `python tests/benchmarks/startup.py`. The aim is `tuner --help` within 0.4 s on an idle machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "tuner --help": ["-m", "tuner", "--help"],
    "tuner check studies/quickstart.yaml": ["-m", "tuner", "check", "studies/quickstart.yaml"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(9):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - began)
    print("| command | seconds (median) | fastest |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {median(taken):.2f} | {min(taken):.2f} |")


if __name__ == "__main__":
    main()
