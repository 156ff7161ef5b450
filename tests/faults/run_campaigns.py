"""`make faults`: every campaign in full, resumable by seed, with a table of what was reached.

    python tests/faults/run_campaigns.py [--only NAME ...] [--rows FILE] [--workers 2] [--minutes 60] [--list]

Each fault is one line in `--rows`; a second run does only what is missing there. A fault that breaks a promise prints
its seed, keeps its folder, and ends the command with 1. `--repeat NAME SEED` does one fault again.

Zero failures in N faults bound the rate of failures by 3 / N (95 %, the rule of three).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from campaign import Campaign, all_campaigns

Row = dict[str, Any]


def do(name: str, seed: int) -> Row:
    """One fault in a folder of its own, which stays only if a promise was broken."""
    campaign = next(campaign for campaign in all_campaigns() if campaign.name == name)
    folder = Path(tempfile.mkdtemp(prefix=f"tuner-fault-{name}-{seed}-"))
    began = time.perf_counter()
    row: Row = {"campaign": name, "seed": seed}
    try:
        campaign.run(seed, folder)
    except Exception:
        return {**row, "broken": traceback.format_exc(), "folder": str(folder)}
    shutil.rmtree(folder, ignore_errors=True)
    return {**row, "broken": None, "seconds": round(time.perf_counter() - began, 2)}


def missing(campaigns: tuple[Campaign, ...], rows: list[Row]) -> list[tuple[str, int]]:
    """What is still to be done, an equal share of each campaign at any time: a run that is cut has something of all."""
    done = {(row["campaign"], row["seed"]) for row in rows if not row["broken"]}
    wanted = [(seed / each.num_full, each.name, seed) for each in campaigns for seed in range(each.num_full)]
    return [(name, seed) for _, name, seed in sorted(wanted) if (name, seed) not in done]


def carry_out(items: list[tuple[str, int]], *, num_workers: int, minutes: float) -> Iterator[Row]:
    """The rows of faults as they end; none is begun after `minutes`."""
    deadline, left = time.monotonic() + 60 * minutes, iter(items)
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        running: set[Future[Row]] = {pool.submit(do, *item) for item in islice(left, num_workers)}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()
            if time.monotonic() < deadline:
                running |= {pool.submit(do, *item) for item in islice(left, num_workers - len(running))}


def table(campaigns: tuple[Campaign, ...], rows: list[Row]) -> list[str]:
    """What was reached, as Markdown. A fault that failed once counts as broken, whatever a later one did."""
    lines = [
        "| campaign | after each | faults | of | broken | rate below | seconds each |",
        "|---|---|---|---|---|---|---|",
    ]
    for campaign in campaigns:
        mine = [row for row in rows if row["campaign"] == campaign.name]
        seconds = [row["seconds"] for row in mine if not row["broken"]]
        seeds = {row["seed"] for row in mine}
        broken = {row["seed"] for row in mine if row["broken"]}
        bound = f"{3 / len(seeds):.1%}" if seeds and not broken else "-"
        each = f"{sum(seconds) / len(seconds):.1f}" if seconds else "-"
        cells = (
            campaign.name,
            campaign.promise,
            f"{len(seeds):,}",
            f"{campaign.num_full:,}",
            str(len(broken)),
            bound,
            each,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--rows", type=Path, default=Path("runs/faults.jsonl"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--list", action="store_true", help="print the campaigns and what --rows holds of them")
    parser.add_argument("--repeat", nargs=2, metavar=("NAME", "SEED"))
    arguments = parser.parse_args()
    campaigns = tuple(c for c in all_campaigns() if not arguments.only or c.name in arguments.only)
    if arguments.repeat:
        again = do(arguments.repeat[0], int(arguments.repeat[1]))
        print(again["broken"] or "no promise was broken")
        sys.exit(1 if again["broken"] else 0)
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()] if arguments.rows.exists() else []
    if not arguments.list:
        for row in carry_out(missing(campaigns, rows), num_workers=arguments.workers, minutes=arguments.minutes):
            rows.append(row)
            with arguments.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if row["broken"]:
                print(
                    f"{row['campaign']}, seed {row['seed']}: kept in {row['folder']}\n{row['broken']}", file=sys.stderr
                )
    print("\n".join(table(campaigns, rows)))
    sys.exit(1 if any(row["broken"] for row in rows) else 0)


if __name__ == "__main__":
    main()
