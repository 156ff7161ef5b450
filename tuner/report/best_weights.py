"""Which weights of the best trial are the better ones, in a sentence: its own, or an average of them along its run."""

from __future__ import annotations

from tuner.records import Answer, StudyRecord
from tuner.report.wording import number


def best_weights_text(study: StudyRecord, answer: Answer) -> str | None:
    """The sentence; None for a study that measured no averaged weights."""
    phase = next(phase for phase in study.phases if any(t.trial == answer.best_trial for t in phase.trials))
    horizons, best = phase.plan.eval.averaged_horizons, answer.averaged
    if not horizons:
        return None
    if best is None:
        tried = " and ".join(f"{horizon:,}" for horizon in horizons)
        return f"best weights: the run's own, no average over {tried} updates is better on validation"
    test = "" if best.test_value is None else f", test {answer.metric} {number(best.test_value)}"
    return (
        f"best weights: averaged over about {best.horizon:,} updates, validation {answer.metric} {number(best.value)} "
        f"at step {best.step:,}{test}"
    )
