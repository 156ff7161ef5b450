"""`tuner extend`: opens a study again, with more to do than it was asked for at first, and reuses all that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption, StudyName
from tuner.cli.run import WorkersOption

if TYPE_CHECKING:
    from tuner.config.schema import StudyConfig
    from tuner.records import Decision, Move, StudyRecord
    from tuner.storage.store import Store


def extend_command(
    name: StudyName,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to raise.", show_default=False)
    ] = None,
    add_point: Annotated[
        list[str] | None,
        typer.Option(
            "--add-point",
            metavar="K=V,...",
            help="A point of your own; what is left out is as in the answer. May be given several times.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come next, and change nothing.")] = False,
    workers: WorkersOption = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> int:
    """Give a study more: trials, seeds, rounds, budget, a point of your own.

    Nothing that was trained is trained again, and what was decided stays; the answer is then that of the whole study.
    Settings only move upwards. Ctrl-C saves all work; `tuner resume NAME` goes on.

    \b
    tuner extend quickstart round_2.num_seeds=3
    tuner extend quickstart rounds.1.budget_multiple=2
    tuner extend quickstart --add-point learning_rate=1e-3
    """
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.cli.run import RunOptions, refuse_no_workers, run_engine, show_end

    refuse_no_workers(workers)
    with opened_store(home, storage) as store:
        record = load_study_record(store, name, with_curves=True)
        _refuse_running(record)
        config, decisions = _asked(store, record, overrides or [], add_point or [])
        move = _next(store, config, record, decisions) if decisions else None
        if move is None:
            kept = [] if dry_run or decisions else _keep_execution(store, config, record)
            _say_nothing_to_do(store, record, kept=kept, dry_run=dry_run, as_json=as_json)
            return 0
        if dry_run:
            _say_next(store, record, (*decisions, *getattr(move, "decisions", ())), as_json=as_json)
            return 0
        _keep_execution(store, config, record)
        options = RunOptions(workers=workers, storage=storage, share=True, other_numerics=False, extension=decisions)
        exit_code = run_engine(store, config, options)
        if exit_code:
            return exit_code
        if as_json:
            _print_status(store, name)
        else:
            show_end(store, name)
    return 0


def _refuse_running(record: StudyRecord) -> None:
    from tuner.errors import StudyError

    if record.state == "running":
        raise StudyError(f"study {record.name!r} is being run; wait for it or stop it: tuner status {record.name}")


def _asked(
    store: Store, record: StudyRecord, overrides: list[str], points: list[str]
) -> tuple[StudyConfig, tuple[Decision, ...]]:
    """The config to go on with, and the decisions that say so; none if nothing of it is new."""
    from tuner.config.added_points import added_points
    from tuner.config.canonical import config_from_json
    from tuner.config.extension import changes, extended_config
    from tuner.protocol.extension import extension, longer_production, new_points
    from tuner.protocol.space import space_of

    old = config_from_json(store.study(record.name).config)
    config = extended_config(old, overrides)
    space = space_of(config, record.decisions)
    answer = None if record.answer is None else record.answer.params
    new = new_points(record, added_points(points, config, space, answer=answer))
    changed = [change for change in changes(old, config) if change.change == "decision"]
    if not changed and not new:
        return config, ()
    longer = longer_production(config, record, store.measured(record.name))
    return config, (extension(record, changed, new), *([longer] if longer else []))


def _next(store: Store, config: StudyConfig, record: StudyRecord, decisions: tuple[Decision, ...]) -> Move | None:
    """What the protocol would do next; None if it would end where it stands.

    Raises:
        NoAnswer: it would end without an answer, as it did; nothing is changed then.
        StudyError, ConfigError: its hours are used up, or hold nothing of what was asked for; or the frontier that
            was asked for cannot be.
    """
    from dataclasses import replace

    from tuner.cli.frontier import refuse_no_trunk, refuse_out_of_time
    from tuner.config.extension import FRONTIER
    from tuner.errors import NoAnswer, StudyError
    from tuner.protocol.advance import next_move
    from tuner.protocol.extension import extended
    from tuner.protocol.generations import CUT
    from tuner.records import Conclude, GiveUp, Wait
    from tuner.trials.facts import stored_facts

    elapsed, facts = store.elapsed_seconds(record.name), stored_facts(record)
    refuse_out_of_time(config, elapsed_seconds=elapsed)
    if facts is None:
        return Wait()  # Nothing was trained: a worker has to read the data first.
    measured = replace(store.measured(record.name), elapsed_seconds=elapsed)
    move = next_move(config, facts, extended(record, decisions), sharing=record.sharing, measured=measured)
    if isinstance(move, GiveUp):
        raise NoAnswer(f"{record.name} would end without an answer again, so nothing was changed: {move.reason}")
    if not isinstance(move, Conclude) or record.answer is None or record.state != "finished":
        return move
    if cuts := [told.reason.removesuffix(".") for told in move.decisions if told.kind == CUT]:
        raise StudyError(f"{'; '.join(cuts)}. So nothing was changed: ask for less, or for more hours with it")
    if any(change["path"].partition(".")[0] == FRONTIER for change in decisions[0].numbers["changes"]):
        refuse_no_trunk(config, record)  # It would measure something, if it could.
    return None


def _keep_execution(store: Store, config: StudyConfig, record: StudyRecord) -> list[str]:
    """How the study is carried out may change at any time, and workers read it when they start; what has changed."""
    from tuner.config.canonical import config_from_json, config_to_json
    from tuner.config.changes import compare, shown_change

    old = config_from_json(store.study(record.name).config)
    new = old.model_copy(update={"execution": config.execution, "description": config.description})
    store.update_config(record.name, config_to_json(new))
    return [f"{change.path}: {shown_change(change)}" for change in compare(old, new)]


def _say_next(store: Store, record: StudyRecord, decisions: tuple[Decision, ...], *, as_json: bool) -> None:
    """What would be decided next; with --json beside where the study stands, under the key `next`."""
    from tuner.cli.plain import plain
    from tuner.report.payloads import as_text, status_payload

    if as_json:
        told = [{"kind": decision.kind, "reason": decision.reason} for decision in decisions]
        print(as_text(status_payload(record, store.bill(record.name)) | {"next": told}))
        return
    for decision in decisions:
        print(plain(decision.reason))


def _say_nothing_to_do(store: Store, record: StudyRecord, *, kept: list[str], dry_run: bool, as_json: bool) -> None:
    import shlex

    from tuner.cli.console import note
    from tuner.cli.plain import plain

    told = f"nothing to do: study {record.name!r} already has all of this, or what it found asks for no more"
    if kept:
        told = f"{'; '.join(kept)} is stored, and asks for no further training of study {record.name!r}"
    told += f"; tuner resume {shlex.quote(record.name)} goes on with it" if record.state == "interrupted" else ""
    if not as_json:
        print(plain(told))
        return
    note(told)
    if dry_run:
        _say_next(store, record, (), as_json=True)
    else:
        _print_status(store, record.name)


def _print_status(store: Store, name: str) -> None:
    """Where the study stands now, as `tuner status NAME --json`.

    Raises:
        NoAnswer: it has ended without an answer.
    """
    from tuner.cli.reading import load_study_record
    from tuner.errors import NoAnswer
    from tuner.report.payloads import as_text, status_payload

    record = load_study_record(store, name)
    print(as_text(status_payload(record, store.bill(name))))
    if record.state == "no_answer":
        raise NoAnswer(f"{name}: no answer: {record.reason}")
