"""No test runs the benchmarks, so what they import from the package is held against its source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from architecture_rules import ROOT, modules

MODULES = {"tuner" if name == "__init__" else f"tuner.{name}": path for name, path in modules().items()}
BENCHMARKS = sorted((ROOT / "tests" / "benchmarks").rglob("*.py"))


def missing_names(source: str) -> list[str]:
    """What a source imports from the package that no module of it binds."""
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    asked = [(node.module, alias.name) for node in imports if node.module in MODULES for alias in node.names]
    known = [node.module for node in imports if node.module and node.module.split(".")[0] == "tuner"]
    lost = [module for module in known if module not in MODULES and f"{module}.__init__" not in MODULES]
    return lost + [f"{module}.{name}" for module, name in asked if name not in _bound(module)]


def _bound(module: str) -> set[str]:
    """Names of a module's top level, with those of its submodules."""
    names = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == module}
    for node in ast.parse(MODULES[module].read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return names


@pytest.mark.parametrize("path", BENCHMARKS, ids=[path.stem for path in BENCHMARKS])
def test_what_a_benchmark_imports_exists(path: Path) -> None:
    assert missing_names(path.read_text()) == []


def test_a_name_that_moved_is_found() -> None:
    assert missing_names("from tuner.records import RunSpec, from_json") == ["tuner.records.from_json"]
    assert missing_names("from tuner.gone import x") == ["tuner.gone"]
