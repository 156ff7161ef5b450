"""What the study asks about: the scientific values, what the budget was derived under, and who goes on for each.

After the playbook's scientific, nuisance and fixed hyperparameters (PROTOCOL 3): what is compared are the best points
of each value, tuned with equally many trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.config.schema import StudyConfig, Training
from tuner.config.spaces import scientific_names, scientific_values, setting_of
from tuner.protocol.words import point
from tuner.records import Params, TrialRecord, Value

MAX_LISTED = 8
"""So many scientific values are written out."""


def asked(config: StudyConfig) -> tuple[str, ...]:
    """The scientific settings of a study."""
    return scientific_names(config.given_space)


def scientific_value(names: Sequence[str], params: Params) -> dict[str, Value]:
    """What a point holds of the scientific settings; those that do not exist in its trial are left out."""
    return {name: params[name] for name in names if name in params}


def best_of_each_first(ranked: Sequence[TrialRecord], names: Sequence[str]) -> list[TrialRecord]:
    """Ranked trials with the best of each scientific value before all others; each group stays ranked."""
    first: dict[str, TrialRecord] = {}
    for trial in ranked:
        first.setdefault(point(scientific_value(names, trial.params)), trial)
    leaders = [trial.trial for trial in first.values()]
    return [*first.values(), *(trial for trial in ranked if trial.trial not in leaders)]


def told_even(config: StudyConfig) -> str:
    """How many trials each scientific value gets, for a decision; empty where nothing is asked."""
    names, values = asked(config), scientific_values(config.given_space)
    return f"each of the {len(values)} values of {', '.join(names)} gets {_share(config)} of them" if names else ""


def describe_space(config: StudyConfig) -> str:
    """One sentence for a study that asks something, or whose dimensions depend on each other; empty for any other."""
    space, names = config.given_space, asked(config)
    if not names and not any(dimension.when for dimension in space.values()):
        return ""
    nuisance = ", ".join(label for label, dimension in space.items() if dimension.role == "nuisance")
    if not names:
        return f"search_space: {nuisance}; each exists only under its conditions"
    values = scientific_values(space)
    listed = [*map(point, values[:MAX_LISTED]), *(["..."] if len(values) > MAX_LISTED else [])]
    share = "1 trial" if _share(config) == "1" else f"{_share(config)} trials"
    tuned = f"; tuned for each: {nuisance}" if nuisance else ""
    return f"search_space: asks about {'; '.join(listed)}, with {share} of round_1 each{tuned}"


def sweep_values(config: StudyConfig, switched_off: Mapping[str, Value]) -> dict[str, Value]:
    """The scientific settings as the sweep runs with them: it knows one recipe, that of the config.

    None where only the workload's class knows.
    """
    found: dict[str, Value] = {}
    for name in asked(config):
        if name in Training.model_fields:
            found[name] = 0.0 if name == "weight_decay" else getattr(config.training, name)
        else:
            found[name] = switched_off.get(name, _option(config, name))
    # The sweep tries rates of its own.
    found.pop("learning_rate", None)
    return found


def told_sweep_values(values: Mapping[str, Value]) -> str:
    """`optimizer=adamw`, as the budget was derived under it."""
    return ", ".join(
        point({name: value}) if value is not None else f"{name} at its default" for name, value in values.items()
    )


def why_not_widened(config: StudyConfig) -> str:
    """Why a best rate on an edge adds no points here, although `widen_at_edge` is on; empty where it may."""
    space = config.given_space
    if not config.round_1.widen_at_edge or config.round_1.sampler == "grid":
        return ""
    if asked(config):
        return "no rate range is widened, since extra points would favour one scientific value"
    if any(setting_of(label) == "learning_rate" and space[label].when for label in space):
        return "no rate range is widened, since the rates depend on another setting"
    return ""


def _share(config: StudyConfig) -> str:
    fewest, rest = divmod(config.round_1.num_trials, len(scientific_values(config.given_space)))
    return f"{fewest} or {fewest + 1}" if rest else f"{fewest}"


def _option(config: StudyConfig, name: str) -> Value:
    workload = config.workload
    given = workload.options.get(name) if workload.kind == "python" else getattr(workload.model, name, None)
    return given if isinstance(given, int | float | str) else None
