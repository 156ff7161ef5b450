"""`tuner frontier`: opens a finished study again for its last phase, the metric against the step budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption, StudyName
from tuner.cli.run import WorkersOption

if TYPE_CHECKING:
    from tuner.config.schema import Frontier, StudyConfig
    from tuner.records import StudyRecord
    from tuner.storage.store import Store

COLUMNS = ("max_train_steps", "epochs", "value", "gain per 1,000 steps", "rate", "seeds", "hours for one run", "")
PROXY_COLUMNS = ("max_train_steps", "epochs", "proxy", "+-", "real cooldown", *COLUMNS[3:])


def frontier_command(
    name: StudyName,
    num_budgets: Annotated[
        int, typer.Option("--num-budgets", min=2, help="Budgets from half of the answer's to all of it.")
    ] = 8,
    budgets: Annotated[
        str | None, typer.Option("--budgets", metavar="N,N,...", help="These budgets instead.", show_default=False)
    ] = None,
    decay_share: Annotated[
        float | None,
        typer.Option("--decay-share", help="Length of each cooldown; default: the answer's.", show_default=False),
    ] = None,
    decay_shape: Annotated[str, typer.Option("--decay-shape", help="auto, linear, 1-sqrt or cosine.")] = "auto",
    num_seeds: Annotated[int, typer.Option("--num-seeds", min=1, help="Trunks of the answer's rate.")] = 1,
    half_rate: Annotated[bool, typer.Option(help="A trunk at half the rate beside it.")] = True,
    proxy: Annotated[
        bool, typer.Option("--proxy", help="Every evaluation is a budget: averaged weights stand in for cooldowns.")
    ] = False,
    num_calibrations: Annotated[
        int, typer.Option("--num-calibrations", min=2, help="With --proxy: real cooldowns of each trunk.")
    ] = 2,
    hours: Annotated[
        float | None, typer.Option("--hours", help="Say what so many hours for one run buy.", show_default=False)
    ] = None,
    workers: WorkersOption = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> int:
    """Measure what other budgets reach, by cooldowns from one trunk.

    The trunk is that of the answer, and another at half its rate.
    With --proxy averaged weights on the trunk stand in for most cooldowns; refused where real ones contradict them.
    A frontier that stands is printed again; other settings measure another one, which shares what agrees. Ctrl-C saves
    all work; the same command, or `tuner resume NAME`, goes on.

    \b
    tuner frontier quickstart
    tuner frontier quickstart --num-seeds 2 --hours 1.5
    """
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.cli.run import RunOptions, refuse_no_workers, run_engine
    from tuner.config.canonical import config_from_json
    from tuner.config.frontier_options import with_frontier

    refuse_no_workers(workers)
    _refuse_no_hours(hours)
    asked = {
        "num_budgets": num_budgets,
        "budgets": _budgets(budgets),
        "decay_share": decay_share,
        "decay_shape": decay_shape,
        "num_seeds": num_seeds,
        "half_rate": half_rate,
        "proxy": proxy,
        "num_calibrations": num_calibrations,
    }
    with opened_store(home, storage) as store:
        config = with_frontier(config_from_json(store.study(name).config), asked)
        record = load_study_record(store, name, with_curves=True)
        refuse_no_trunk(config, record)
        refuse_out_of_time(config, elapsed_seconds=store.elapsed_seconds(name))
        if record.state != "finished" or _needs(config, record):
            options = RunOptions(workers=workers, storage=storage, share=True, other_numerics=False)
            exit_code = run_engine(store, config, options)
            if exit_code:
                return exit_code
            record = load_study_record(store, name, with_curves=True)
        _show(store, record, hours=hours, as_json=as_json)
    return 0


def _budgets(text: str | None) -> list[int] | None:
    from tuner.errors import ConfigError

    if text is None:
        return None
    try:
        return [int(part.replace("_", "")) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--budgets {text}: numbers of updates with commas between them, as 400,800,1600") from error


def refuse_no_trunk(config: StudyConfig, record: StudyRecord) -> None:
    """Refuse what has no trunk to fork from.

    Raises:
        StudyError, ConfigError: the study has no answer yet, no plateau, or the budgets leave no plateau.
    """
    from tuner.errors import ConfigError, StudyError
    from tuner.protocol.frontier import FRONTIER, MIN_BUDGETS
    from tuner.protocol.frontier_budgets import budgets_of
    from tuner.protocol.runs import has_plateau

    if record.answer is None:
        remedy = "no other budget can help it" if record.state == "no_answer" else f"tuner resume {record.name}"
        raise StudyError(f"study {record.name!r} has no answer yet, whose trunk a frontier is forked from; {remedy}")
    if record.state == "running":
        raise StudyError(f"study {record.name!r} is being run; wait for it: tuner status {record.name}")
    if not has_plateau(config):
        raise ConfigError(
            f"training.schedule={config.training.schedule} has no plateau: no budget shares anything with another, so "
            "there is nothing to fork; run the study under another name with schedule: warmup_stable_decay"
        )
    base = next(trial for trial in record.trials() if trial.trial == record.answer.best_trial)
    assert config.frontier is not None
    if config.frontier.proxy and not record.phase_of(base).plan.eval.averaged_horizons:
        raise StudyError(
            f"--proxy reads averaged weights, which study {record.name!r} was run without "
            f"(evaluation.averaged_horizons); leave it out: tuner frontier {record.name}, or run the study under "
            "another name with averaged_horizons: [50, 200]"
        )
    found, asked = budgets_of(config.frontier, base.spec), config.frontier.budgets
    # Of a proxy they are the ends of what its evaluations cover, not one cooldown each.
    missing = [] if config.frontier.proxy else [budget for budget in asked or () if budget not in found]
    if missing:
        raise ConfigError(
            f"--budgets {missing[0]}: warmup_steps={base.spec.schedule.warmup_steps} and the decay leave no plateau "
            "that ends at an evaluation; give a larger budget, or a smaller --decay-share"
        )
    if len(found) < MIN_BUDGETS:
        raise ConfigError(
            f"the answer's {base.spec.max_train_steps} steps with warmup_steps={base.spec.schedule.warmup_steps} hold "
            f"{len(found)} of {_num_asked(config.frontier)} budgets; a {FRONTIER} needs {MIN_BUDGETS}: give --budgets"
        )


def _num_asked(asked: Frontier) -> int:
    if asked.proxy:
        return asked.num_calibrations
    return asked.num_budgets if asked.budgets is None else len(asked.budgets)


def _refuse_no_hours(hours: float | None) -> None:
    from tuner.errors import ConfigError

    if hours is not None and not 0 < hours < float("inf"):
        raise ConfigError(f"--hours: {hours:g}, must be a number above 0; leave it out to be told of no hours")


def refuse_out_of_time(config: StudyConfig, *, elapsed_seconds: float) -> None:
    """Refuse to go on with a study whose hours are over.

    Raises:
        StudyError: with what would help.
    """
    from tuner.errors import StudyError
    from tuner.protocol.measured import SECONDS_PER_HOUR

    hours = config.limits.study_hours
    if hours is not None and elapsed_seconds >= hours * SECONDS_PER_HOUR:
        raise StudyError(
            f"limits.study_hours={hours:g} of study {config.study!r} are used up; give it more: "
            f"tuner extend {config.study} limits.study_hours=..."
        )


def _needs(config: StudyConfig, record: StudyRecord) -> bool:
    from tuner.protocol.frontier import advance_frontier

    assert record.answer is not None
    return advance_frontier(config, record, record.answer) is not None


def _show(store: Store, record: StudyRecord, *, hours: float | None, as_json: bool) -> None:
    from tuner.cli.console import show, table
    from tuner.cli.plain import plain
    from tuner.protocol.frontier import frontier_of, latest
    from tuner.report.frontiers import bought, frontier_payload, frontier_rows, standing_proxies
    from tuner.report.payloads import as_text
    from tuner.report.wording import Lengths, number

    phase = latest(record)
    found = None if phase is None else frontier_of(record, phase)
    if phase is None or found is None:
        cut = [decision.reason for decision in record.decisions if decision.kind == "cut"]
        print(plain(cut[-1] if phase is None and cut else "no trial of the frontier was feasible"))
        return
    each = store.measured(record.name).seconds_per_step
    told = None if hours is None else bought(found, phase, hours=hours, seconds_per_step=each)
    if as_json:
        print(as_text(frontier_payload(record, phase, found, seconds_per_step=each) | {"hours_buy": told}))
        return
    lengths, by_proxy = Lengths.of(record), standing_proxies(record, phase) is not None
    columns, cells = PROXY_COLUMNS if by_proxy else COLUMNS, []
    for row in frontier_rows(record, phase, found, seconds_per_step=each):
        beside = (_short(row.error), None if row.real is None else number(row.real)) if by_proxy else ()
        rest = (_short(row.gain), f"{row.rate:.4g}", row.num_seeds, _short(row.hours), row.mark)
        cells.append((f"{row.budget:,}", _short(lengths.epochs(row.budget)), number(row.value), *beside, *rest))
    show(table(columns, cells, right=columns[:-1]))
    print(plain(phase.reason or ""))
    if told is not None:
        print(plain(told["told"]))


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"
