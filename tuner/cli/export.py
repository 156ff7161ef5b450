"""`tuner export`: the best checkpoint as a model folder with its tokenizer and a model card."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, StorageOption, StudyName

if TYPE_CHECKING:
    from tuner.records import AveragedBest, StudyRecord, TrialRecord
    from tuner.storage.store import Store, StoredCheckpoint

CARD = "README.md"


class Weights(StrEnum):
    """Which weights of a trial are written."""

    raw = "raw"
    averaged = "averaged"


def export_command(
    name: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)],
    trial: Annotated[
        int | None,
        typer.Option("--trial", help="Export this trial's best step instead of the answer's.", show_default=False),
    ] = None,
    weights: Annotated[
        Weights | None,
        typer.Option(
            "--weights",
            help="Its own weights, or their averages along the run; left out: the better on validation.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
) -> None:
    """Write the best checkpoint as a model folder with a model card.

    A language model's folder opens with transformers' `from_pretrained`, its tokenizer too. Neither the data nor the
    code of the study is needed. An unfinished study gives its best so far.

    \b
    tuner export quickstart my-model
    tuner export quickstart my-model --trial 12 --weights raw
    """
    from tuner.cli.choice import chosen_answer, named_trial
    from tuner.cli.console import warn
    from tuner.cli.new_folder import refuse_occupied
    from tuner.cli.plain import plain
    from tuner.cli.reading import load_study_record, opened_store

    refuse_occupied(folder)
    with opened_store(home, storage) as store:
        study = load_study_record(store, name, with_curves=True)
        chosen = named_trial(study, chosen_answer(study).best_trial if trial is None else trial)
        if trial is None and study.answer is None:
            warn(f"{name} is {study.state}, without an answer: trial {chosen.trial} is only the best so far")
        averaged = _averaged(study, chosen, weights)
        _export(store, study, trial=chosen, averaged=averaged, folder=folder)
    step = chosen.best_step if averaged is None else averaged.step
    what = "" if averaged is None else f", weights averaged over about {averaged.horizon:,} updates"
    print(plain(f"{folder}: trial {chosen.trial} at step {step:,}{what}; {folder / CARD} says how to load it"))


def _averaged(study: StudyRecord, trial: TrialRecord, weights: Weights | None) -> AveragedBest | None:
    """The trial's best averaged weights, if they are asked for or better; with the test score if they have one.

    Raises:
        StudyError: they are asked for, and the trial has none.
    """
    from tuner.analysis.best_averaged import best_averaged_of, better_averaged_of
    from tuner.errors import StudyError

    if weights is Weights.raw:
        return None
    found = better_averaged_of(study, trial) if weights is None else best_averaged_of(study, trial)
    if found is None and weights is Weights.averaged:
        raise StudyError(
            f"--weights=averaged: trial {trial.trial} of {study.name} measured no averaged weights; export its own "
            "with --weights raw, or run a study under another name with evaluation.averaged_horizons"
        )
    answer = study.answer
    if answer is not None and answer.best_trial == trial.trial and answer.averaged is not None:
        return answer.averaged
    return found


def _export(
    store: Store, study: StudyRecord, *, trial: TrialRecord, averaged: AveragedBest | None, folder: Path
) -> None:
    from tuner.cli.new_folder import new_folder
    from tuner.config.canonical import config_from_json
    from tuner.report.model_card import Exported, model_card
    from tuner.storage.passwords import told_command
    from tuner.training.checkpoint import digest_of
    from tuner.workloads.export import write_model

    row = store.study(study.name)
    config = config_from_json(row.config)
    checkpoint = _checkpoint(store, study, trial, averaged=averaged)
    weights = _readable(store, checkpoint, others=_others(study))
    merges = _merges(store, study)
    with new_folder(folder) as beside:
        loading = write_model(
            config.workload, trial.spec.workload_options, weights=weights, folder=beside, merges=merges
        )
        exported = Exported(
            study=study,
            config=config,
            trial=trial,
            averaged=averaged,
            evaluations=store.evaluations(trial.trial),
            sharing=_sharing(store, trial.trial),
            weights_digest=digest_of(weights),
            loading=loading,
            commands=(row.command, told_command(sys.argv[1:])),
        )
        (beside / CARD).write_text(model_card(exported), encoding="utf-8")


def _merges(store: Store, study: StudyRecord) -> Sequence[tuple[str, str]]:
    """Those of the tokenizer that the study learnt from its text; none if it uses bytes or has no text."""
    from tuner.trials.facts import stored_facts

    facts = stored_facts(study)
    if facts is None or not facts.tokenizer_digest:
        return ()
    from tuner.workloads.bpe import kept_merges

    return kept_merges(store.paths.data, facts.tokenizer_digest)


def _checkpoint(
    store: Store, study: StudyRecord, trial: TrialRecord, *, averaged: AveragedBest | None
) -> StoredCheckpoint:
    """The row of the trial's best weights, whose file is there.

    Raises:
        StudyError: nothing was kept or the file is gone.
    """
    from tuner.errors import StudyError
    from tuner.protocol.words import why_no_weights

    others = _others(study)
    if trial.best_step is None:
        raise StudyError(f"trial {trial.trial} of {study.name} has no evaluation yet; {others}")
    found = store.best_checkpoint(trial.trial, averaged=averaged is not None)
    if found is None:
        why = why_no_weights(trial)
        what, step = ("weights", trial.best_step) if averaged is None else ("averaged weights", averaged.step)
        own = "" if averaged is None else "; `--weights raw` takes its own"
        raise StudyError(f"no {what} of step {step:,} of trial {trial.trial} were kept ({why}){own}; {others}")
    path = store.paths.resolve(found.path)
    if not path.is_file():
        raise StudyError(
            f"the weights of trial {trial.trial} are gone: {path} is missing; put the file back, or run the study "
            f"under another name; {others}"
        )
    return found


def _readable(store: Store, checkpoint: StoredCheckpoint, *, others: str) -> Any:
    """The tensors of a checkpoint by the model's own names, verified.

    Raises:
        StudyError: the file was altered, cut short or written by another version.
    """
    from tuner.errors import StudyError
    from tuner.training.checkpoint import read_weights
    from tuner.training.durable import CheckpointDamaged, CheckpointMismatch

    try:
        return read_weights(store.paths.resolve(checkpoint.path), sha256=checkpoint.sha256)
    except (CheckpointDamaged, CheckpointMismatch) as error:
        raise StudyError(f"{str(error).partition(';')[0]}; {others}") from None


def _others(study: StudyRecord) -> str:
    return f"`tuner trials {study.name}` lists others for --trial"


def _sharing(store: Store, trial: int) -> str:
    """Whether the trial's bits can be had again, from where it ran."""
    from tuner.training.numerics import sharing

    segments = store.numerics(trial)
    kinds = {sharing(segment.segment) for segment in segments}
    kind = "exact" if kinds == {"exact"} else "statistical"
    return kind if len(segments) < 2 else f"{kind}; not bit-exact: it went on from one machine's numerics to another's"
