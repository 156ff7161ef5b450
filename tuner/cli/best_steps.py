"""`tuner best-steps`: the distribution of best steps, drawn in the terminal with the bands that decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption, StudyName

if TYPE_CHECKING:
    from tuner.report.distribution import BestSteps
    from tuner.report.wording import Lengths

COLUMN = 3
MAX_HEIGHT = 8
LEADING, OTHER = "█", "▒"


def best_steps_command(
    name: StudyName,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw where the best checkpoints of each phase fell.

    A column is a twentieth of the phase's budget. Best steps in the last 25 % hint at a budget that is too short; first
    good steps in the first 10 % at one that is too long.

    \b
    tuner best-steps quickstart
    tuner best-steps quickstart --json
    """
    from tuner.cli.plain import plain
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.config.canonical import config_from_json
    from tuner.report.distribution import best_steps, best_steps_payload
    from tuner.report.payloads import as_text
    from tuner.report.wording import Lengths

    with opened_store(home, storage) as store:
        study = load_study_record(store, name, with_curves=True)
        config = config_from_json(store.study(name).config)
    found = best_steps(config, study)
    if as_json:
        print(as_text(best_steps_payload(study.name, found)))
        return
    if not found:
        print("no round has a feasible trial yet; the budget sweep is judged by steps to fit, see tuner report")
    lengths = Lengths.of(study)
    for distribution in found:
        for line in drawn(distribution, lengths):
            print(plain(line))
        print()


def drawn(found: BestSteps, lengths: Lengths) -> list[str]:
    """The lines of one phase: a title, the columns, the bands, the counts, the verdict."""
    check = found.check
    everyone, leaders = check.everyone, check.leaders
    return [
        f"{found.phase}: {lengths.text(check.max_train_steps)}, {check.num_feasible} feasible trials "
        f"({LEADING} the best {leaders.num_trials}, {OTHER} others)",
        "",
        *_columns(found),
        *_axis(check.max_train_steps),
        f"best step in the last 25 %:         {everyone.best_late} of all, {leaders.best_late} of the best",
        f"best step in the first 10 %:        {everyone.best_early} of all, {leaders.best_early} of the best",
        f"first good step in the first 10 %:  {everyone.good_early} of all, {leaders.good_early} of the best",
        *_averaged(found),
        f"known to one evaluation interval:   {check.eval_every_steps:,} updates",
        f"verdict: {found.verdict or 'not judged yet'}" + (f"; {found.reason}" if found.reason else ""),
    ]


def _averaged(found: BestSteps) -> list[str]:
    if found.averaged is None:
        return []
    everyone, leaders = found.averaged.good_in_time
    return [
        f"averaged weights good before {3 * found.averaged.decay_start // 4:,}: ".ljust(36)
        + f"{everyone} of all, {leaders} of the best"
    ]


def _columns(found: BestSteps) -> list[str]:
    from tuner.report.distribution import NUM_BINS, histogram

    budget = found.check.max_train_steps
    leading = histogram([mark.best_step for mark in found.marks if mark.in_best_group], budget)
    others = histogram([mark.best_step for mark in found.marks if not mark.in_best_group], budget)
    tallest = max(a + b for a, b in zip(leading, others, strict=True))
    per_row = max(1, -(-tallest // MAX_HEIGHT))
    lines = []
    for row in range(-(-tallest // per_row), 0, -1):
        cells = []
        for column in range(NUM_BINS):
            # A row is drawn where the column reaches into it: a single trial is never rounded away.
            reached = leading[column] + others[column] > (row - 1) * per_row
            mark = LEADING if leading[column] > (row - 1) * per_row else OTHER
            cells.append(f"{mark * (COLUMN - 1)} " if reached else " " * COLUMN)
        lines.append(f"{row * per_row:>6} |{''.join(cells)}".rstrip())
    return lines


def _axis(budget: int) -> list[str]:
    from tuner.report.distribution import FIRST_BAND_BINS, LAST_BAND_BINS, NUM_BINS

    first, last = FIRST_BAND_BINS * COLUMN, LAST_BAND_BINS * COLUMN
    between = (NUM_BINS - FIRST_BAND_BINS - LAST_BAND_BINS) * COLUMN
    bands = f"{'=' * (first - 1)} {' ' * between}{'=' * (last - 1)}"
    names = f"{'first 10 %':<{first + between}}last 25 %"
    ticks = f"{'0':<{first}}{budget // 10:<{between},}{3 * budget // 4:<{last - 4},}{budget:>6,}"
    return [f"       +{'-' * NUM_BINS * COLUMN}", f"        {bands}", f"        {names}", f"        {ticks}", ""]
