"""Modules and objects that a study names as `module:name`, found first in the study's own folder.

The one rule: what is wrong with a *name* is a ConfigError in one line; what goes wrong *inside* the user's code keeps
its own traceback, because that is what its author needs.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner.errors import ConfigError


def load_object(target: str, *, setting: str, folder: Path | None) -> Any:
    """The object at `module:name`; `setting` is the setting's name in messages, e.g. `workload.class`.

    `folder`, where the study lies, is put first on `sys.path`.

    Raises:
        ConfigError: no such module, or no such name in it.
    """
    module_name, _, name = target.partition(":")
    module = _import(module_name, setting=f"{setting}={target}", folder=folder)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(
            f"{setting}={target}: module {module_name} has no {name!r}; check the spelling of the part after the colon"
        ) from None


def source_digest(module: ModuleType) -> str:
    """SHA-256 of a module's file (of its name, if it has no file). What the module imports is not covered."""
    path = getattr(module, "__file__", None)
    data = Path(path).read_bytes() if path else module.__name__.encode()
    return hashlib.sha256(data).hexdigest()


def _import(name: str, *, setting: str, folder: Path | None) -> ModuleType:
    if folder is not None:
        _prefer(folder)
        _forget_namesake(name.partition(".")[0], folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if not (name == missing or name.startswith(f"{missing}.")):
            raise
        place = f"{folder} or " if folder is not None else ""
        raise ConfigError(
            f"{setting}: there is no module {missing} in {place}the environment; "
            f"put {missing}.py beside the study or install it"
        ) from None


def _prefer(folder: Path) -> None:
    entry = str(folder.resolve())
    if sys.path[:1] != [entry]:
        sys.path[:] = [entry, *(other for other in sys.path if other != entry)]
        importlib.invalidate_caches()


def _forget_namesake(top: str, folder: Path) -> None:
    """Drop a module of the same name that another study's folder left behind in this process."""
    spec = PathFinder.find_spec(top, [str(folder.resolve())])
    known = sys.modules.get(top)
    if spec is None or spec.origin is None or known is None or getattr(known, "__file__", None) == spec.origin:
        return
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]
