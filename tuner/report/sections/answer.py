"""The first section: what was found, how sure it is, and how to get it again."""

from __future__ import annotations

from statistics import mean, stdev

from tuner.analysis.transfer import point_key
from tuner.protocol.joined import is_extended, joined, joined_name
from tuner.records import Answer
from tuner.report.answer_caveats import better_probe, still_too_short
from tuner.report.best_weights import best_weights_text
from tuner.report.section import Section
from tuner.report.so_far import NOT_JUDGED, later_round
from tuner.report.source import Source, values_by_point
from tuner.report.wording import number, params_text


def answer_section(source: Source) -> Section:
    """The answer; for a study without one, why there is none and the best so far."""
    study = source.study
    if study.answer is None:
        return _without_answer(source)
    answer = study.answer
    return Section(
        title="The answer",
        claim=f"Train for {source.lengths().text(answer.max_train_steps)}.",
        evidence=(*_found(source, answer), *_unfinished(source)),
        code=_reproduce(source),
        caveat="It holds for this model, data, batch size and optimizer: a change of architecture, data, augmentation "
        "or batch size re-opens the budget.",
        tone="good" if answer.verdict in ("adequate", "too long") else "open",
    )


def _found(source: Source, answer: Answer) -> tuple[str, ...]:
    lines = [
        f"Verdict on the budget of round 1, which the longer rounds extend: {answer.verdict}",
        *_later_verdict(source),
        *still_too_short(source.config, source.study),
        *better_probe(source.config, source.study),
        f"Settings: {params_text(answer.params)}",
        f"Best validation {answer.metric}: {number(answer.best_value)} at step {answer.best_step:,} of trial "
        f"{answer.best_trial}{_spread(source)}",
    ]
    if answer.test_value is not None:
        lines.append(f"Test {answer.metric} of that checkpoint, scored once: {number(answer.test_value)}")
    if told := best_weights_text(source.study, answer):
        lines.append(told[0].upper() + told[1:])
    lines.append(f"Sharing: {answer.sharing} (how far runs that share their past agree with runs that do not)")
    return tuple(lines)


def _later_verdict(source: Source) -> tuple[str, ...]:
    later = later_round(source.study)
    if later is None:
        return ()
    return (f"Verdict on the budget of {later.name}, which the answer comes from: {later.verdict or NOT_JUDGED}",)


def _spread(source: Source) -> str:
    trial = source.best_trial()
    if trial is None:
        return ""
    values = values_by_point(joined(source.study).phase(joined_name(trial.phase))).get(point_key(trial.params), [])
    deviation = source.seed_deviation()
    if len(values) < 2:
        known = "unknown" if deviation is None else f"{deviation:.2g}, pooled over other points"
        return f", with one seed; seed deviation {known}"
    return f"; over {len(values)} seeds {number(mean(values))} ± {stdev(values):.2g}"


def _without_answer(source: Source) -> Section:
    study, best = source.study, source.so_far()
    if study.state == "no_answer":
        claim = f"The study ended without an answer: {study.reason or 'no reason was stored'}"
    else:
        claim = f"There is no answer yet: the study is {study.state}."
    evidence = [] if best is None else [_so_far(source, best)]
    return Section(
        title="The answer",
        claim=claim,
        evidence=(*evidence, *_unfinished(source)),
        code=_reproduce(source),
        caveat=None
        if best is None
        else "The best so far is no answer: it is what the study would say if it ended now.",
        tone="open",
    )


def _so_far(source: Source, best: Answer) -> str:
    return (
        f"Best so far: validation {best.metric} {number(best.best_value)} at step {best.best_step:,} of "
        f"{source.lengths().text(best.max_train_steps)} (trial {best.best_trial}), with {params_text(best.params)}; "
        f"budget of round 1: {best.verdict}"
    )


def _unfinished(source: Source) -> tuple[str, ...]:
    if source.study.state not in ("running", "interrupted"):
        return ()
    trials = source.study.trials()
    ended = sum(trial.is_ended for trial in trials)
    how = "is running" if source.study.state == "running" else "was interrupted; `tuner resume` goes on with it"
    return (
        f"The study {how}: {ended} of the {len(trials)} trials planned so far have ended. This page shows what is "
        "known now.",
    )


def _reproduce(source: Source) -> tuple[tuple[str, str], ...]:
    config = ("Config of the study, every default stated", source.config.model_dump_json(indent=2, by_alias=True))
    title = "Command; the study was extended since, see Decisions" if is_extended(source.study) else "Command"
    return ((title, source.command), config) if source.command else (config,)
