"""How long a running study takes from Ctrl-C until it has saved its state and ended.

    python tests/benchmarks/interrupt.py [--times 5]

The tests' small workload with two workers, interrupted after 30 evaluations. Aim: within 10 seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "trials"))

from study_processes import Home


def seconds_to_stop(folder: Path) -> float:
    home = Home(folder)
    process = home.start("run", "tiny.yaml", "--workers", "2")
    assert home.wait_for_evals(process, 30), "it ended before it was interrupted"
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130, f"exit {process.returncode}"
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    found = []
    for _ in range(parser.parse_args().times):
        with tempfile.TemporaryDirectory() as folder:
            found.append(seconds_to_stop(Path(folder)))
    print("| from Ctrl-C to exit 130 | seconds |\n|---|---|")
    for name, value in (("median", median(found)), ("longest", max(found))):
        print(f"| {name} of {len(found)} | {value:.1f} |")


if __name__ == "__main__":
    main()
