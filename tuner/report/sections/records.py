"""The records as they are: every decision with its reason, every trial, the bill."""

from __future__ import annotations

from tuner.report.overheads import shares_line, warnings
from tuner.report.payloads import bill_payload
from tuner.report.section import Section, Table
from tuner.report.source import Source
from tuner.report.wording import outcome_text, params_text


def decisions_section(source: Source) -> Section:
    """Every decision of the protocol in order, with when it fell."""
    decisions = source.study.decisions
    times = source.decision_times or (None,) * len(decisions)
    rows = tuple((when, d.phase, d.kind.replace("_", " "), d.reason) for when, d in zip(times, decisions, strict=True))
    return Section(
        title="Decisions",
        claim=f"{len(decisions)} decisions led here; each binds, and is never made again from newer measurements."
        if decisions
        else "Nothing has been decided yet.",
        tables=(
            Table(
                name="decisions",
                title="All decisions",
                columns=("time (UTC)", "phase", "decision", "reason"),
                rows=rows,
            ),
        )
        if rows
        else (),
    )


def trials_section(source: Source) -> Section:
    """Every trial as stored; the page folds the table, the CSV holds it whole."""
    trials = source.study.trials()
    columns = (
        *(
            "trial",
            "phase",
            "number",
            "params",
            "seed",
            "outcome",
            "last step",
            "max_train_steps",
            "best step",
            "first good step",
        ),
        *("best value", "last value", "evaluations", "skipped updates", "forked from", "steps executed"),
    )
    rows = tuple(
        (
            *(t.trial, t.phase, t.number, params_text(t.params), t.spec.seed, outcome_text(t), t.last_step),
            *(t.spec.max_train_steps, t.best_step, t.first_good_step, t.best_value, t.last_value, t.num_evals),
            *(
                t.num_skipped_updates,
                f"{t.forked_from.trial}@{t.forked_from.step}" if t.forked_from else None,
                t.steps_executed,
            ),
        )
        for t in trials
    )
    infeasible = [t for t in trials if t.outcome and t.outcome.kind == "infeasible"]
    share = f"; {len(infeasible)} of them infeasible" if infeasible else ""
    return Section(
        title="All trials",
        claim=f"{len(trials)} trials were planned{share}." if trials else "No trial has been planned yet.",
        tables=(Table(name="trials", title="All trials", columns=columns, rows=rows, is_folded=len(rows) > 12),)
        if rows
        else (),
    )


STEPS_MEAN = {
    "requested": "steps of all trials, as if none had been shared",
    "executed": "updates that were really computed",
    "shared": "steps taken over from other trials' checkpoints",
    "recomputed": "steps done again after an interruption, or where no state was kept to share",
    "overshoot": "steps beyond the exact stop, done in parallel and cut away",
    "stage_tree": "the lower bound: distinct updates of all recipes",
}
SECONDS_MEAN = {
    "train": "updates",
    "eval": "evaluations",
    "checkpoint": "writing checkpoints, and commits of evaluations",
    "setup": "making data, model and starting state ready for a trial",
    "idle": "workers that were up with nothing to train",
}


def bill_section(source: Source) -> Section:
    """What the study cost, and what sharing saved."""
    bill = bill_payload(source.bill)
    steps, seconds = bill["steps"], bill["seconds"]
    requested, executed = steps["requested"], steps["executed"]
    saved = (
        f", {1 - executed / requested:.0%} fewer than it asked for".replace("%", " %")
        if requested > executed > 0
        else ""
    )
    rows = tuple((account.replace("_", " "), count, STEPS_MEAN[account]) for account, count in steps.items())
    times = tuple((account, seconds[account], SECONDS_MEAN[account]) for account in seconds)
    at_work, shares = sum(seconds.values()) - seconds["idle"], shares_line(seconds)
    return Section(
        title="The bill",
        claim=f"The study computed {executed:,} updates{saved}, in {_time(at_work)}.",
        evidence=(*([f"Overheads: {shares}."] if shares else []), *warnings(seconds)),
        tables=(
            Table(name="bill-steps", title="Updates", columns=("account", "updates", "what it counts"), rows=rows),
            Table(
                name="bill-seconds",
                title="Worker seconds",
                columns=("account", "seconds", "what it counts"),
                rows=times,
            ),
        ),
        caveat="executed = stage tree + recomputed + overshoot.",
    )


def _time(seconds: float) -> str:
    return f"{seconds:.1f} worker seconds" if seconds < 60 else f"{seconds / 60:,.1f} worker minutes"
