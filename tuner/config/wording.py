"""Sentences about settings: what a value is, what the schema wants, what to write instead.

Every sentence is made from the schema's node and the value; nothing of pydantic's own wording reaches the user.
"""

from __future__ import annotations

import difflib
import json
import math
from typing import Any

from tuner.config.problems import KeyPath, dotted
from tuner.config.reading import LARGEST_INTEGER
from tuner.config.settings import Node, node_at, root, sibling_names, suggest, variants

DERIVED_BUDGETS = frozenset(
    ["max_train_steps", "epochs", "num_epochs", "num_steps", "total_steps", "train_steps", "num_train_epochs"]
)
"""Names under which people give a budget by hand; here it is derived (DESIGN.md, promise 1)."""

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}
_BOUNDS = (
    ("minimum", "of at least"),
    ("exclusiveMinimum", "above"),
    ("exclusiveMaximum", "below"),
    ("maximum", "of at most"),
)


def shown(value: Any, limit: int = 60) -> str:
    """A value as it would be written in the YAML, on one line and not too long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(item) for item in value) + "]"
    else:
        text = json.dumps(value, ensure_ascii=not str(value).isprintable())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def rule(node: Node) -> str:
    """What a setting may be, as a noun phrase: `a whole number of at least 1 or "auto"`."""
    parts = [_rule_of_variant(variant) for variant in variants(node)]
    return " or ".join(dict.fromkeys(parts))


def fault(value: Any, node: Node) -> str:
    """Why `value` does not do for the setting, and what would."""
    if value is None:
        return f"null is not allowed; give {rule(node)}, or remove the line"
    if isinstance(value, str) and _accepts(node, (int, float, bool)):
        return _fault_of_text(value, node)
    choices = _choices(node)
    if choices and isinstance(value, str):
        close = difflib.get_close_matches(value, choices, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{shown(value)} is not one of the choices; {hint}use {_listed(choices)}"
    if isinstance(value, int | float) and not isinstance(value, bool) and _accepts(node, (str,)) and not choices:
        return f"{shown(value)} is a number; put it in quotes to use it as text"
    if not _accepts(node, (type(value),)):
        return f"{shown(value)} cannot be used here; use {rule(node)}"
    if isinstance(value, float) and not value.is_integer() and "number" not in [v.get("type") for v in variants(node)]:
        return f"{shown(value)} is not a whole number; use {rule(node)}"
    if isinstance(value, float) and abs(value) > LARGEST_INTEGER and _accepts(node, (int,)):
        return f"{shown(value)} is out of range; use {rule(node)}, up to {LARGEST_INTEGER}"
    what = "out of range" if isinstance(value, int | float) else "not what is wanted"
    return f"{shown(value)} is {what}; use {rule(node)}"


def missing(node: Node | None) -> str:
    """A required setting that is not there."""
    if node is None:
        return "missing; add it"
    return f"missing; add it: {node.get('description', 'required')} ({rule(node)})"


def unknown(path: KeyPath, data: Any) -> str:
    """A key that is no setting, with the one that was probably meant."""
    if path[-1] in DERIVED_BUDGETS:
        return "unknown setting; the number of steps is derived by the study, never set; budget.max_steps bounds it"
    meant = suggest(path, data)
    if meant == path:
        return f"not a setting of this {path[-2]}; it is one only with {_owner(path)}; remove it"
    if meant is not None:
        return f"unknown setting; did you mean {dotted(meant)}?"
    siblings = sibling_names(path, data)
    return f"unknown setting; {_listed(siblings, 'and')} can be set here" if siblings else "unknown setting; remove it"


def _owner(path: KeyPath) -> str:
    """The kind that has the setting which the kind given has not: `workload.kind=causal_lm`."""
    node: Node = root()
    for key in path[:-1]:
        node = next(variant["properties"][key] for variant in variants(node) if key in variant.get("properties", {}))
    owners = [variant["properties"]["kind"]["const"] for variant in variants(node) if path[-1] in variant["properties"]]
    return f"{dotted((*path[:-1], 'kind'))}={_listed(owners)}"


def accepts_kind(value: Any, node: Node) -> bool:
    """Whether some variant takes values of this kind: text is no number here, and true is not 1."""
    return value is None or _accepts(node, (type(value),))


def in_range(value: float, path: KeyPath, data: Any) -> str | None:
    """None if a setting's own bounds hold for `value`; otherwise the rule that it breaks."""
    node = node_at(path, data) or {}
    for variant in variants(node):
        if variant.get("type") in ("integer", "number") and not (
            value < variant.get("minimum", value)
            or value > variant.get("maximum", value)
            or ("exclusiveMinimum" in variant and value <= variant["exclusiveMinimum"])
            or ("exclusiveMaximum" in variant and value >= variant["exclusiveMaximum"])
        ):
            return None
    return rule(node)


def _accepts(node: Node, kinds: tuple[type, ...]) -> bool:
    wanted: set[type] = set()
    for variant in variants(node):
        if "type" not in variant:
            return True
        wanted.update(_JSON_TYPES.get(variant["type"], ()))
    return bool(wanted.intersection(kinds))


def _rule_of_variant(variant: Node) -> str:
    kind = variant.get("type")
    choices = _choices_of_variant(variant)
    if choices:
        return _listed(choices)
    if kind in ("integer", "number"):
        bounds = [f"{word} {variant[key]:.10g}" for key, word in _BOUNDS if key in variant]
        return " ".join(["a whole number" if kind == "integer" else "a number", " and ".join(bounds)]).strip()
    if kind == "string":
        if "pattern" in variant:
            return "module:Class"
        low, high = variant.get("minLength"), variant.get("maxLength")
        return "text" if low is None else f"text of {low} to {high} characters"
    names = {"boolean": "true or false", "null": "null", "array": "a list", "object": "a mapping of settings"}
    return names.get(str(kind), "a value")


def _fault_of_text(value: str, node: Node) -> str:
    choices = _choices(node)
    if value.lower() in ("yes", "no", "on", "off") and _accepts(node, (bool,)):
        return f"{shown(value)} is text; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    try:
        if not math.isfinite(float(value)):
            return f"{shown(value)} is not a finite number; use {rule(node)}"
        return f"{shown(value)} is text in quotes; write it without quotes, as {rule(node)}"
    except ValueError:
        close = difflib.get_close_matches(value, choices, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{shown(value)} is text; {hint}use {rule(node)}"


def _choices(node: Node) -> list[str]:
    return [choice for variant in variants(node) for choice in _choices_of_variant(variant)]


def _choices_of_variant(variant: Node) -> list[str]:
    if "const" in variant:
        return [str(variant["const"])]
    return [str(choice) for choice in variant.get("enum", [])]


def _listed(names: list[str], word: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
