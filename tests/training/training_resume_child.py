"""Run in a new process: goes on from checkpoints to the end and prints the digests of the weights as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from training_workloads import advance, language_model, run_of


def main(folder: Path, precisions: list[str]) -> None:
    workload = language_model(folder)
    digests = {}
    for precision in precisions:
        run = run_of(workload, precision=precision, micro_batch_size=2)
        run.load(folder / f"{precision}.safetensors")
        digests[precision] = [advance(run, 100).weights_digest(), run.num_skipped_updates]
    print(json.dumps(digests))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
