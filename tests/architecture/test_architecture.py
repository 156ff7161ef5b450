from __future__ import annotations

import ast
import re
import tomllib

import pytest
from architecture_rules import (
    LAYERS,
    PACKAGE,
    ROOT,
    direction_violations,
    home_violations,
    layer_of,
    modules,
    size_violations,
    unsafe_violations,
)

import tuner

MODULES = modules()


def is_package(module: str) -> bool:
    return MODULES[module].name == "__init__.py"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_up_the_layers(module: str) -> None:
    assert direction_violations(module, MODULES[module].read_text(), is_package=is_package(module)) == []


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_stay_at_home(module: str) -> None:
    assert home_violations(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_runs_code_from_data(module: str) -> None:
    assert unsafe_violations(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module: str) -> None:
    assert size_violations(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize("module", [name for name in MODULES if is_package(name) and name != "__init__"])
def test_packages_import_nothing_by_themselves(module: str) -> None:
    body = ast.parse(MODULES[module].read_text()).body
    assert len(body) == 1
    assert ast.get_docstring(ast.Module(body=body, type_ignores=[]))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_its_idea(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text())), f"{module} has no docstring"


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch import nn",
        "def f():\n    import torch",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        "import importlib\ntorch = importlib.import_module('torch')",
    ],
)
def test_torch_planted_in_analysis_is_found(source: str) -> None:
    assert home_violations("analysis.best_steps", source)
    assert not home_violations("training.run", source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("analysis.best_steps", "from tuner.protocol.sweep import next_rung"),
        ("analysis.best_steps", "from ..protocol import sweep"),
        ("records", "import tuner.config.schema"),
        ("records", "from tuner import config"),
        ("training.run", "def f():\n    from tuner.storage.store import Store"),
        ("elsewhere", "import os"),
    ],
)
def test_a_planted_import_of_a_later_layer_is_found(module: str, source: str) -> None:
    assert direction_violations(module, source)


@pytest.mark.parametrize(
    "source", ["import tuner.records", "from tuner.errors import ConfigError", "from . import reading", "import json"]
)
def test_imports_of_earlier_layers_are_allowed(source: str) -> None:
    assert not direction_violations("config.load", source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import torch\ntorch.load('x')",
        "eval('1')",
        "np.load('x', allow_pickle=True)",
        "yaml.load('x')",
        "from torch import load\nload('x')",
        "import torch as t\nt.load('x')",
        "read = torch.load",
        "import yaml\nyaml.load(text, Loader=yaml.UnsafeLoader)",
        "from yaml import unsafe_load as read\nread('x')",
        "import pandas as pd\npd.read_pickle('x')",
        "import numpy as np\nnp.save(file, array)",
        "np.load('x', allow_pickle=flag)",
        "def f():\n    from marshal import loads",
        "__import__('pickle')",
        "import builtins\nbuiltins.exec('1')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "import urllib.request",
        "from huggingface_hub import snapshot_download",
        "AutoModel.from_pretrained(folder)",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "AutoConfig().build().from_pretrained(folder)",
    ],
)
def test_planted_unsafe_code_is_found(source: str) -> None:
    assert unsafe_violations("training.checkpoint", source)


def test_safe_namesakes_are_allowed() -> None:
    for source in (
        "model.eval()\nnp.load('x', mmap_mode='r')\njson.load(file)",
        "np.save(file, array, allow_pickle=False)",
        "re.compile('x')\nstore.load('x')",
        "yaml.SafeLoader(text)",
        "subprocess.run(['ls'], shell=False)",
        "AutoModel.from_pretrained(folder, trust_remote_code=False)",
        "AutoModel.from_pretrained(folder, trust_remote_code=config.trust_remote_code)",
    ):
        assert not unsafe_violations("training.run", source), source


def test_planted_giants_are_found() -> None:
    long_function = "def f():\n" + "    x = 1\n" * 60
    assert size_violations("cli.main", long_function)
    assert not size_violations("cli.main", "def f():\n" + "    x = 1\n" * 59)
    assert not size_violations("cli.main", 'def f():\n    """One.\n' + "\n" * 60 + '    """\n')
    assert not size_violations("cli.run", "def run_command(a, b, c, d, *, e, f, g): ...")
    assert size_violations("cli.main", "def f(a, b, c, d, *, e, f, g): ...")
    assert not size_violations("cli.main", "class C:\n    def f(self, a, b, c, *, d, e, f): ...")
    assert size_violations("cli.main", "\n" * 401)


def test_every_folder_of_the_package_is_a_layer() -> None:
    assert {layer_of(module) for module in MODULES} - {"__init__", "__main__"} <= set(LAYERS)


def test_the_version_has_its_entry_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text, flags=re.MULTILINE)
    assert released[0] == tuner.__version__


def test_every_dependency_is_pinned_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if re.fullmatch(r"[\w.-]+==[\w.]+", line)
    }
    for requirement in wanted:
        name = re.split(r"[\[>=<~]", requirement)[0].lower()
        assert name in pinned, requirement


def test_every_command_is_documented_in_the_readme() -> None:
    if not (PACKAGE / "cli" / "main.py").exists():
        pytest.skip("there is no command line yet")
    from tuner.cli.main import build_group

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = build_group().commands
    assert {"run", "check", "report"} <= set(commands)
    for name in commands:
        assert f"| `tuner {name}" in readme, f"README.md does not show `tuner {name}`"


def test_constraints_hold_exact_versions_without_paths() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line
