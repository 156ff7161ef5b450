"""`tuner answer`: what the study found, at any time, with the reasons it rests on."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption, StudyName

if TYPE_CHECKING:
    from tuner.records import Answer, StudyRecord
    from tuner.storage.store import Store


class Form(StrEnum):
    """Other programs whose settings the answer can be printed as."""

    training_arguments = "training-arguments"


def answer_command(
    name: StudyName,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    form: Annotated[
        Form | None,
        typer.Option("--as", help="Print settings to paste into a Trainer script.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the answer of a study, or the best so far.

    Exit code 3 if the study ended without an answer; the reason is printed with what would help.

    \b
    tuner answer quickstart
    tuner answer quickstart --json
    tuner answer quickstart --as training-arguments
    """
    from tuner.cli.plain import plain
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.config.canonical import config_from_json
    from tuner.errors import NoAnswer
    from tuner.report.answer_caveats import answer_caveats
    from tuner.report.isolations import claims
    from tuner.report.payloads import answer_payload, as_text
    from tuner.report.so_far import answer_so_far
    from tuner.report.wording import reasons

    with opened_store(home, storage) as store:
        study, stored = load_study_record(store, name), store.study(name).config
        if study.answer is None:
            study = load_study_record(store, name, with_curves=True)  # The best so far may be averaged weights.
        if form is Form.training_arguments:
            _print_training_arguments(store, study, as_json=as_json)
            return
    config = config_from_json(stored)
    caveats, isolation = answer_caveats(config, study), claims(config, study)
    if as_json:
        found = answer_so_far(study)
        print(as_text(answer_payload(study, found, why=reasons(study), caveats=caveats, isolation=isolation)))
    else:
        # The reason of a study without an answer is told once, by the error below.
        told = [reason for reason in reasons(study) if study.answer is not None or reason != study.reason]
        held_against = (f"caveat: {caveat}" for caveat in caveats)
        for line in [*answer_lines(study), *isolation, *held_against, *(f"- {why}" for why in told)]:
            print(plain(line))
    if study.state == "no_answer":
        raise NoAnswer(f"{study.name} ended without an answer: {study.reason or 'no reason was stored'}")


def _print_training_arguments(store: Store, study: StudyRecord, *, as_json: bool) -> None:
    """The winning trial's settings as a Python snippet, or as JSON with the notes on stderr.

    Raises:
        StudyError: no trial of round 1 has ended yet.
        NoAnswer: the study ended without one.
    """
    from tuner.cli.choice import chosen_answer
    from tuner.cli.console import warn
    from tuner.cli.plain import plain
    from tuner.report.payloads import as_text
    from tuner.report.training_arguments import notes, snippet, training_arguments
    from tuner.storage.paths import folder_name

    found = chosen_answer(study)
    segments = store.numerics(found.best_trial)
    size = segments[-1].segment.get("micro_batch_size") if segments else None
    best = next(trial for trial in study.trials() if trial.trial == found.best_trial)
    spec = best.spec
    settings = training_arguments(
        spec,
        micro_batch_size=size or spec.global_batch_size,
        metric=found.metric,
        direction=study.phase_of(best).plan.eval.direction,
        output_dir=folder_name(study.name),
    )
    told = notes(spec, metric=found.metric)
    if as_json:
        for note in told:
            warn(note)
        print(as_text(settings))
        return
    comments = [_origin(study, found), *told]
    print(snippet(settings, comments=[plain(comment) for comment in comments]))


def _origin(study: StudyRecord, found: Answer) -> str:
    from tuner.report.wording import number

    state = "" if study.answer is not None else " (the best so far: the study has no answer yet)"
    return (
        f"trial {found.best_trial} of study {study.name}{state}: {found.metric} {number(found.best_value)} at step "
        f"{found.best_step:,} of {found.max_train_steps:,}; budget of round 1: {found.verdict}; "
        f"sharing: {found.sharing}"
    )


def answer_lines(study: StudyRecord) -> list[str]:
    """The answer in a few lines; the best so far, marked as such, while there is none."""
    from tuner.report.best_weights import best_weights_text
    from tuner.report.so_far import NOT_JUDGED, answer_so_far, later_round
    from tuner.report.wording import Lengths, number, params_text

    lengths, found = Lengths.of(study), study.answer
    if found is not None:
        test = "" if found.test_value is None else f"; test {found.metric} {number(found.test_value)}"
        phase = later_round(study)
        later = "" if phase is None else f", of {phase.name}: {phase.verdict or NOT_JUDGED}"
        return [
            f"train for {lengths.text(found.max_train_steps)}; "
            f"verdict on the budget of round 1: {found.verdict}{later}",
            f"with {params_text(found.params)}",
            f"{found.metric} {number(found.best_value)} at step {found.best_step:,} of trial {found.best_trial}{test}",
            *filter(None, (best_weights_text(study, found),)),
            f"sharing: {found.sharing}",
        ]
    best = answer_so_far(study)
    start = "ended without an answer" if study.state == "no_answer" else f"no answer yet: {_where(study)}"
    if best is None:
        return [f"{start}; no trial of round 1 has ended with a curve that may be judged"]
    return [
        f"{start}; the best so far:",
        f"{best.metric} {number(best.best_value)} at step {best.best_step:,}"
        f" of {lengths.text(best.max_train_steps)} (trial {best.best_trial}); budget of round 1: {best.verdict}",
        f"with {params_text(best.params)}",
    ]


def _where(study: StudyRecord) -> str:
    """Where a study without an end stands, and what takes it there if nobody is at it."""
    opened = next((phase for phase in reversed(study.phases) if not phase.is_closed), None)
    place = "before its first phase" if not study.phases else "between two phases"
    if opened is not None:
        ended = sum(trial.is_ended for trial in opened.trials)
        place = f"in {opened.name}, {ended} of {len(opened.trials)} trials ended"
    if study.state == "running":
        return f"{study.name} is running, {place}"
    return f"{study.name} was interrupted, {place}; `tuner resume {study.name}` goes on"
