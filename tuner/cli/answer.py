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
    from tuner.errors import NoAnswer
    from tuner.report.payloads import answer_payload, as_text
    from tuner.report.so_far import answer_so_far
    from tuner.report.wording import reasons

    with opened_store(home, storage) as store:
        study = load_study_record(store, name)
    if as_json:
        print(as_text(answer_payload(study, answer_so_far(study), why=reasons(study))))
    else:
        for line in [*answer_lines(study), *(f"- {reason}" for reason in reasons(study))]:
            print(plain(line))
    if study.state == "no_answer":
        raise NoAnswer(f"{study.name} ended without an answer: {study.reason or 'no reason was stored'}")


def answer_lines(study: StudyRecord) -> list[str]:
    """The answer in a few lines; the best so far, marked as such, while there is none."""
    from tuner.report.so_far import answer_so_far
    from tuner.report.wording import Lengths, number, params_text

    lengths, found = Lengths.of(study), study.answer
    if found is not None:
        test = "" if found.test_value is None else f"; test {found.metric} {number(found.test_value)}"
        return [
            f"train for {lengths.text(found.max_train_steps)}; verdict on the budget of round 1: {found.verdict}",
            f"with {params_text(found.params)}",
            f"{found.metric} {number(found.best_value)} at step {found.best_step:,} of trial {found.best_trial}{test}",
            f"sharing: {found.sharing}",
        ]
    best = answer_so_far(study)
    if best is None:
        return ["no answer yet: no trial of round 1 has ended with a curve that may be judged"]
    return [
        f"no answer yet; best so far: {best.metric} {number(best.best_value)} at step {best.best_step:,}"
        f" of {lengths.text(best.max_train_steps)} (trial {best.best_trial}); budget of round 1: {best.verdict}",
        f"with {params_text(best.params)}",
    ]
