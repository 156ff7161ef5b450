"""One update under a limit on this process' memory: what the real allocator says becomes `OutOfMemory`."""

from __future__ import annotations

import resource
from pathlib import Path

import torch
from training_workloads import Ragged, run_of

from tuner.training.memory import OutOfMemory


class Large(Ragged):
    """Takes 64 MB an example."""

    def loss_sum(self, model, batch):
        waste = torch.ones(len(batch["inputs"]), 16 * 2**20)
        return super().loss_sum(model, batch) + 0.0 * waste[0, 0]


def main() -> None:
    run = run_of(Large(), micro_batch_size=8)
    small = run_of(Large(), micro_batch_size=1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
    try:
        run.update()
    except OutOfMemory as error:
        print(error.doing, error.size, str(error))
    small.update()
    print("fits", small.global_step)


if __name__ == "__main__":
    main()
