"""How long commands take to start, beside a Python that does nothing: medians of 9 interleaved runs.

Run with `python tests/benchmarks/startup.py`. Aims, on an idle machine: `tuner --help` within 0.4 s, `tuner check`
within 1 s. Modules are compiled beforehand, as pip does when it installs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "tuner --help": ["-m", "tuner", "--help"],
    "tuner check studies/quickstart.yaml": ["-m", "tuner", "check", "studies/quickstart.yaml"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for arguments in COMMANDS.values():
            run(arguments, environment)
        for _ in range(9):
            for name, arguments in COMMANDS.items():
                seconds[name].append(run(arguments, environment))
    print("| command | seconds (median) | fastest |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {median(taken):.2f} | {min(taken):.2f} |")


def run(arguments: list[str], environment: dict[str, str]) -> float:
    """Seconds of one command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, env=environment)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
