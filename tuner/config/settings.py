"""The schema as a tree that can be asked by path: which settings are there, what each may be, what else was meant.

The tree is pydantic's JSON Schema of `StudyConfig`, so the wording of errors, `tuner schema` and the rules cannot
disagree. A node is one JSON Schema object; its references are followed on the way.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from tuner.config.problems import KeyPath
from tuner.config.schema import StudyConfig

Node = dict[str, Any]

ABBREVIATIONS = {"lr": "learning_rate", "eps": "epsilon", "wd": "weight_decay", "batch_size": "global_batch_size"}


@cache
def root() -> Node:
    """The JSON Schema of the whole study."""
    return StudyConfig.model_json_schema(by_alias=True)


def variants(node: Node) -> list[Node]:
    """The alternatives of a node (`a whole number or "auto"`), references followed; most nodes have one."""
    node = _followed(node)
    parts = node.get("anyOf") or node.get("oneOf")
    if not parts:
        return [node]
    return [variant for part in parts for variant in variants(part)]


def mapping_node(node: Node, data: Any) -> Node | None:
    """The node's variant that is a mapping; among several (kinds of workload) the one whose kind `data` names."""
    mappings = [variant for variant in variants(node) if variant.get("type") == "object"]
    if len(mappings) <= 1:
        return mappings[0] if mappings else None
    kind = data.get("kind") if isinstance(data, dict) else None
    return next((m for m in mappings if m["properties"]["kind"].get("const") == kind), None)


def child(node: Node, key: str | int, data: Any) -> Node | None:
    """The node of one key or item; None if there is no such setting. Free mappings (`options`) allow anything."""
    if isinstance(key, int):
        return next((variant["items"] for variant in variants(node) if "items" in variant), None)
    mapping = mapping_node(node, data)
    if mapping is None:
        return None
    found = mapping.get("properties", {}).get(key)
    if found is None:
        extra = mapping.get("additionalProperties", {})
        found = {} if extra is True else extra or None
    return cast("Node | None", found)


def node_at(path: KeyPath, data: Any) -> Node | None:
    """The node of a setting in a study that holds `data`; None if there is no such setting."""
    node: Node | None = root()
    for key in path:
        if node is None:
            return None
        node = child(node, key, data)
        data = value_at((key,), data)
    return node


def value_at(path: KeyPath, data: Any) -> Any:
    """The value at a path of plain data; None if there is none."""
    for key in path:
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            return None
    return data


@cache
def all_settings() -> tuple[KeyPath, ...]:
    """Every setting with a name of its own, over all kinds of workload."""
    return tuple(dict.fromkeys(_walk(root(), ())))


def suggest(path: KeyPath, data: Any) -> KeyPath | None:
    """The setting that was probably meant by an unknown one: a misspelt sibling, else the same name elsewhere."""
    parent, name = path[:-1], str(path[-1])
    name = ABBREVIATIONS.get(name, name)
    siblings = sibling_names(path, data)
    if name in siblings:
        return (*parent, name)
    elsewhere: dict[str, KeyPath] = {}
    for setting in all_settings():
        elsewhere.setdefault(str(setting[-1]), setting)
    here = {sibling: (*parent, sibling) for sibling in siblings}
    for names, likeness in ((here, 0.85), (elsewhere, 1.0), (here, 0.6), (elsewhere, 0.8)):
        if close := difflib.get_close_matches(name, list(names), n=1, cutoff=likeness):
            return names[close[0]]
    return None


def sibling_names(path: KeyPath, data: Any) -> list[str]:
    """The settings that stand beside `path`."""
    parent = node_at(path[:-1], data)
    mapping = mapping_node(parent, value_at(path[:-1], data)) if parent is not None else None
    return list((mapping or {}).get("properties", {}))


def _walk(node: Node, path: KeyPath) -> Iterator[KeyPath]:
    if path:
        yield path
    for variant in variants(node):
        for name, below in variant.get("properties", {}).items():
            yield from _walk(below, (*path, name))


def _followed(node: Node) -> Node:
    while "$ref" in node:
        target: Node = root()["$defs"][node["$ref"].rsplit("/", 1)[1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node
