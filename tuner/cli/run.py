"""`tuner run` and `tuner resume`: the only place that builds the objects that carry a study out."""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, StorageOption, StudyName

if TYPE_CHECKING:
    from tuner.config.schema import StudyConfig
    from tuner.records import Decision
    from tuner.storage.leases import Lease
    from tuner.storage.store import Store

WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", help="Worker processes; default: one per core on CPU, one per GPU.", show_default=False),
]
SharingOption = Annotated[
    bool, typer.Option("--no-sharing", help="Train every trial from its first step, for comparison.")
]
NumericsOption = Annotated[
    bool,
    typer.Option(
        "--allow-other-numerics", help="Continue trials begun on other hardware or threads; reported as not bit-exact."
    ),
]


ProbeOption = Annotated[
    bool,
    typer.Option(
        "--probe-instability",
        help="After the sweep, train about 500 steps at twice its best rate, evaluating every one, and try warmups if "
        "that is unstable; same as budget_sweep.probe_instability=true.",
    ),
]


def run_command(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override.")
    ] = None,
    workers: WorkersOption = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    no_sharing: SharingOption = False,
    allow_other_numerics: NumericsOption = False,
    probe_instability: ProbeOption = False,
) -> int:
    """Run a study's protocol; goes on if the study was interrupted.

    Ctrl-C saves all work within seconds; `tuner resume NAME`, or the same command again, goes on from there.

    \b
    tuner run studies/quickstart.yaml
    tuner run studies/quickstart.yaml round_1.num_trials=12 --workers 2
    """
    from tuner.cli.console import note, warn
    from tuner.config.load import load_study
    from tuner.storage.file_system import read_by_others
    from tuner.storage.patience import Patience
    from tuner.storage.store import Store

    refuse_no_workers(workers)
    asked = ["budget_sweep.probe_instability=true"] if probe_instability else []
    loaded = load_study(study, [*(overrides or []), *asked])
    for warning in loaded.warnings:
        warn(warning)
    store = Store.open(storage, home, patience=Patience(on_wait=note))
    if storage is None and read_by_others(store.paths.database):
        warn(f"{store.paths.database} may be read by others; `chmod 600` it unless they are meant to")
    try:
        config = _create_or_compare(store, loaded.config, folder=loaded.folder)
        options = RunOptions(
            workers=workers, storage=storage, share=not no_sharing, other_numerics=allow_other_numerics
        )
        return _carry_out(store, config, options)
    finally:
        store.close()


def resume_command(
    name: StudyName,
    workers: WorkersOption = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    no_sharing: SharingOption = False,
    allow_other_numerics: NumericsOption = False,
) -> int:
    """Go on with an interrupted study from the database alone.

    \b
    tuner resume quickstart
    """
    from tuner.cli.reading import opened_store
    from tuner.config.canonical import config_from_json

    refuse_no_workers(workers)
    with opened_store(home, storage) as store:
        config = config_from_json(store.study(name).config)
        options = RunOptions(
            workers=workers, storage=storage, share=not no_sharing, other_numerics=allow_other_numerics
        )
        return _carry_out(store, config, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a study is carried out, and what `tuner extend` has decided, to be committed once its data are known."""

    workers: int | None
    storage: str | None = field(repr=False)
    share: bool
    other_numerics: bool
    extension: tuple[Decision, ...] = ()


def refuse_no_workers(workers: int | None) -> None:
    from tuner.errors import ConfigError

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers: {workers}, must be at least 1; leave it out for one per core")


def _create_or_compare(store: Store, config: StudyConfig, *, folder: Path) -> StudyConfig:
    """The config to run: new, or the stored one with the changes that a started study accepts (D8)."""
    from tuner.cli.console import warn
    from tuner.config.canonical import config_from_json, config_to_json
    from tuner.config.changes import lacks_averages, refuse_or_merge
    from tuner.config.extension import keep_extended
    from tuner.storage.passwords import told_command

    if config.study not in store.study_names():
        store.create_study(
            config.study, config=config_to_json(config), folder=str(folder), command=told_command(sys.argv[1:])
        )
        return config
    decisions = store.load(config.study, with_curves=False).decisions
    if not decisions and not store.is_running(config.study):
        # Nothing was decided yet: a mistake in the data was found first, and may be mended.
        store.update_config(config.study, config_to_json(config), folder=str(folder))
        return config
    stored = config_from_json(store.study(config.study).config)
    if lacks_averages(stored, config):
        warn(f"evaluation.averaged_horizons: {config.study} was begun without averaged weights, and goes on so")
    extensions = [each for d in decisions if d.kind == "extended" for each in d.numbers["changes"]]
    moved = [(each["path"], each["old"]) for each in extensions]
    return refuse_or_merge(stored, keep_extended(stored, config, moved), command="run")


def _carry_out(store: Store, config: StudyConfig, options: RunOptions) -> int:
    """Run what is left of a study and print its answer; the exit code."""
    if store.study(config.study).state in ("finished", "no_answer"):
        _complete_end(store, config)
    else:
        exit_code = run_engine(store, config, options)
        if exit_code:
            return exit_code
    show_end(store, config.study)
    return 0


def show_end(store: Store, name: str) -> None:
    """Print what an ended study has found.

    Raises:
        NoAnswer: it has found nothing; the reason.
    """
    from tuner.cli.answer import answer_lines
    from tuner.cli.plain import plain
    from tuner.errors import NoAnswer

    record = store.load(name, with_curves=False)
    if record.state == "no_answer":
        raise NoAnswer(f"{name}: no answer: {record.reason}")
    for line in answer_lines(record):
        print(plain(line))
    kept = f"checkpoints and TensorBoard logs are in {store.paths.home}"
    print(plain(f"evidence: tuner report {shlex.quote(name)}; {kept}"))


def _complete_end(store: Store, config: StudyConfig) -> None:
    """A planner that was killed right after the end left its lease, and perhaps Optuna's tables behind."""
    from tuner.errors import StudyError
    from tuner.storage.leases import Owner
    from tuner.storage.optuna_values import is_mirrored

    try:
        lease = store.acquire_planner(config.study, Owner.of_this_process("planner"))
    except StudyError:
        return  # It is alive, and about to leave.
    try:
        record = store.load(config.study, with_curves=False)
        with store.database.read() as connection:
            is_complete = is_mirrored(connection, record)
        if not is_complete:
            _mirror(store, config)
    finally:
        store.release(lease)


def _mirror(store: Store, config: StudyConfig) -> None:
    from tuner.cli.console import warn
    from tuner.trials.mirror import Mirror

    mirror = Mirror(store.url, config)
    try:
        mirror.follow(store.load(config.study), warn=warn)
    finally:
        mirror.close()


def run_engine(store: Store, config: StudyConfig, options: RunOptions) -> int:
    """Hold the planner's lease while the engine runs; 0, or 128 + the signal that stopped it."""
    from tuner.cli.console import note
    from tuner.config.canonical import config_to_json
    from tuner.engines.local import Interrupted
    from tuner.errors import LeaseLost, TryAgainLater, UserError
    from tuner.storage.leases import Owner

    lease = store.acquire_planner(config.study, Owner.of_this_process("planner"))
    before = store.study(config.study)
    try:
        if not options.extension:
            store.update_config(config.study, config_to_json(config))
            store.set_state(lease, "running")
        _build_engine(store, lease, config, options)
    except Interrupted as stopped:
        is_begun = not options.extension or store.study(config.study).state == "running"
        remedy = f"go on with: tuner resume {config.study}" if is_begun else "nothing is changed yet: extend it again"
        note(f"{stopped}; {remedy}")
        return stopped.exit_code
    except UserError:
        # What the workers refused must not stand in the way of a plain resume; an extension was committed after that.
        if not options.extension:
            store.update_config(config.study, before.config)
            if before.state == "finished":
                store.set_state(lease, before.state)
        raise
    finally:
        with contextlib.suppress(LeaseLost, TryAgainLater):
            if store.study(config.study).state == "running":
                store.set_state(lease, "interrupted")
            store.release(lease)
    return 0


def _build_engine(store: Store, lease: Lease, config: StudyConfig, options: RunOptions) -> None:
    """Build the planner, its workers and what shows them, and run them to the end."""
    from tuner.cli.console import stderr_console
    from tuner.cli.watching import Watcher
    from tuner.engines.local import LocalEngine
    from tuner.engines.pool import WorkerPool
    from tuner.trials.devices import default_num_workers
    from tuner.trials.messages import WorkerJob
    from tuner.trials.mirror import Mirror
    from tuner.trials.planner import Planner

    asked = options.workers or config.execution.workers
    num_workers = default_num_workers(config.execution.device) if asked == "auto" else asked
    job = WorkerJob(
        study=config.study,
        home=store.paths.home,
        storage_url=options.storage,
        index=0,
        share=options.share,
        other_numerics=options.other_numerics,
    )
    mirror = Mirror(store.url, config)
    try:
        with Watcher(stderr_console()) as watcher:
            planner = Planner(store, lease, config, mirror=mirror, warn=watcher.warned)
            planner.num_workers, planner.extension, planner.shares = num_workers, options.extension, options.share
            LocalEngine(store, lease, planner, WorkerPool(job, num_workers), watcher).run()
    finally:
        mirror.close()
