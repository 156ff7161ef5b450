"""`tuner answer`: what the study found, at any time, with the reasons it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption, StudyName

if TYPE_CHECKING:
    from tuner.records import StudyRecord


def answer_command(
    name: StudyName,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the answer of a study, or the best so far.

    Exit code 3 if the study ended without an answer; the reason is printed with what would help.

    \b
    tuner answer quickstart
    tuner answer quickstart --json
    """
    from tuner.cli.plain import plain
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.config.canonical import config_from_json
    from tuner.errors import NoAnswer
    from tuner.report.answer_caveats import answer_caveats
    from tuner.report.payloads import answer_payload, as_text
    from tuner.report.so_far import answer_so_far
    from tuner.report.wording import reasons

    with opened_store(home, storage) as store:
        study = load_study_record(store, name)
        caveats = answer_caveats(config_from_json(store.study(name).config), study)
    if as_json:
        print(as_text(answer_payload(study, answer_so_far(study), why=reasons(study), caveats=caveats)))
    else:
        # The reason of a study without an answer is told once, by the error below.
        told = [reason for reason in reasons(study) if study.answer is not None or reason != study.reason]
        lines = [*answer_lines(study), *(f"caveat: {caveat}" for caveat in caveats), *(f"- {why}" for why in told)]
        for line in lines:
            print(plain(line))
    if study.state == "no_answer":
        raise NoAnswer(f"{study.name} ended without an answer: {study.reason or 'no reason was stored'}")


def answer_lines(study: StudyRecord) -> list[str]:
    """The answer in a few lines; the best so far, marked as such, while there is none."""
    from tuner.report.answer_caveats import later_round
    from tuner.report.so_far import NOT_JUDGED, answer_so_far
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
            f"sharing: {found.sharing}",
        ]
    best = answer_so_far(study)
    start = "ended without an answer" if study.state == "no_answer" else "no answer yet"
    if best is None:
        return [f"{start}: no trial of round 1 has ended with a curve that may be judged"]
    return [
        f"{start}; the best so far:",
        f"{best.metric} {number(best.best_value)} at step {best.best_step:,}"
        f" of {lengths.text(best.max_train_steps)} (trial {best.best_trial}); budget of round 1: {best.verdict}",
        f"with {params_text(best.params)}",
    ]
