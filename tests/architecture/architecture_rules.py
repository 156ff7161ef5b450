"""The rules of the package's architecture as functions of a module's source, so that planted code can test them.

A module is named by its path inside the package: `analysis.best_steps`, `records`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tuner"

LAYERS = (
    "errors",
    "failpoints",
    "records",
    "config",
    "analysis",
    "protocol",
    "workloads",
    "training",
    "storage",
    "trials",
    "engines",
    "forecast",
    "report",
    "api",
    "cli",
)
"""Imports only point up this list: a layer may import those before it, never those after it."""

ENTRY_POINTS = ("__init__", "__main__")

HOMES: dict[str, tuple[str, ...]] = {
    "pydantic": ("config",),
    "pydantic_core": ("config",),
    "yaml": ("config",),
    "pandas": ("analysis",),
    "torch": ("workloads", "training", "trials"),
    "transformers": ("workloads",),
    "tokenizers": ("workloads",),
    "pyarrow": ("workloads",),
    "peft": ("workloads",),
    "tensorboard": ("training",),
    "sqlalchemy": ("storage",),
    "alembic": ("storage",),
    "optuna": ("trials",),
    "ray": ("engines",),
    "matplotlib": ("report",),
    "jinja2": ("report",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
}
NUMPY_FROM = "analysis"
"""numpy may be used from this layer on."""

UNSAFE_MODULES = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
UNSAFE_CALLS = ("eval", "exec", "compile", "__import__")
UNSAFE_NAMES = frozenset(
    (
        *("torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.package"),
        *("numpy.load", "numpy.save", "pandas.read_pickle", "pandas.to_pickle", "os.system", "os.popen", "pty.spawn"),
        *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load"),
        *("yaml.full_load_all", "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"),
    )
)
"""Whatever a name was imported as. The pipe between a planner and the workers that it spawned pickles, too: both ends
are this program, and nothing that lies in a file or a database comes that way."""

NETWORK_MODULES = (
    "requests",
    "urllib",
    "urllib3",
    "http",
    "httpx",
    "aiohttp",
    "socketserver",
    "huggingface_hub",
    "ftplib",
)
"""Nothing is fetched while a study runs: data and models lie on this machine, or a command of their own gets them."""

FOREIGN_CODE_LOADERS = ("from_pretrained", "from_config", "load_dataset", "pipeline")
"""Calls that run a model folder's own code if they are told to: each must say what it trusts."""

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 6


def modules() -> dict[str, Path]:
    """Every module of the package by its name inside it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def layer_of(module: str) -> str:
    """The first part of a module's name."""
    return module.split(".", 1)[0]


def imports(module: str, source: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything imported, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["tuner", *module.split(".")]
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, str(name.value)) for name in node.args[:1] if isinstance(name, ast.Constant))


def direction_violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Imports of a later layer."""
    layer = layer_of(module)
    if layer in ENTRY_POINTS:
        return []
    if layer not in LAYERS:
        return [f"{module}: {layer} is no layer; place it in DESIGN's list"]
    found = []
    for line, name in imports(module, source, is_package=is_package):
        first, _, rest = name.partition(".")
        target = layer_of(rest)
        if first == "tuner" and target in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
            found.append(f"{module}:{line}: imports {name}, a later layer")
    return found


def home_violations(module: str, source: str) -> list[str]:
    """Imports of a heavy library away from its home."""
    layer = layer_of(module)
    found = []
    for line, name in imports(module, source):
        library = name.split(".", 1)[0]
        homes = HOMES.get(library)
        if library in ("numpy", "scipy"):
            homes = tuple(LAYERS[LAYERS.index(NUMPY_FROM) :])
        if homes is not None and layer not in homes:
            found.append(f"{module}:{line}: imports {name}, whose home is {', '.join(homes)}")
    return found


def unsafe_violations(module: str, source: str) -> list[str]:
    """Pickle, `eval`, shells, network, and loaders that run code (D9).

    `model.eval()` is no `eval`, and numpy may load and save without pickle.
    """
    found = [
        f"{module}:{line}: imports {name}"
        for line, name in imports(module, source)
        if name.split(".", 1)[0] in (*UNSAFE_MODULES, *NETWORK_MODULES)
    ]
    tree = ast.parse(source)
    aliases = {"np": "numpy", "pd": "pandas", **_aliases(tree)}
    called = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        name = _full_name(node, aliases)
        if name is None:
            continue
        call = called.get(node)
        if call is not None and (name.removeprefix("builtins.") in UNSAFE_CALLS or _runs_foreign_code(name, call)):
            found.append(f"{module}:{node.lineno}: calls {name}")
        elif name in UNSAFE_NAMES and not _is_safe_numpy(name, call):
            found.append(f"{module}:{node.lineno}: uses {name}")
    return found


def _aliases(tree: ast.Module) -> dict[str, str]:
    """What imported names stand for: `import torch as t`, `from yaml import load as read`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _full_name(node: ast.AST, aliases: dict[str, str]) -> str | None:
    """`numpy.load` for `np.load`; None for what is no dotted name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["", *reversed(parts)]) if parts else None
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def _runs_foreign_code(name: str, call: ast.Call) -> bool:
    """A shell, pickled arrays, or a loader that does not say whose code it trusts."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    trusted = given.get("trust_remote_code")
    if name.rpartition(".")[2] in FOREIGN_CODE_LOADERS and trusted is None:
        return True
    asked = (trusted, given.get("shell"), given.get("allow_pickle"))
    return any(isinstance(value, ast.Constant) and value.value is not False for value in asked if value is not None)


def size_violations(module: str, source: str) -> list[str]:
    """Files, functions and parameter lists beyond the limits; docstrings do not count.

    A command's parameters are its options on the command line; how many it has is not a matter of reading its code.
    """
    found = []
    num_lines = len(source.splitlines())
    if num_lines > MAX_FILE_LINES:
        found.append(f"{module}: {num_lines} lines, at most {MAX_FILE_LINES}")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = _length(node)
        if length > MAX_FUNCTION_LINES:
            found.append(f"{module}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in arguments)
        is_command = layer_of(module) == "cli" and node.name.endswith("_command")
        if count > MAX_PARAMETERS and not is_command:
            found.append(f"{module}:{node.lineno}: {node.name} has {count} parameters, at most {MAX_PARAMETERS}")
    return found


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def _is_safe_numpy(name: str, call: ast.Call | None) -> bool:
    """Numpy loads no pickle unless told to, and saves one unless told not to."""
    if call is None:
        return False
    allow = next((keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"), None)
    is_refused = isinstance(allow, ast.Constant) and allow.value is False
    return is_refused or (name == "numpy.load" and allow is None)
