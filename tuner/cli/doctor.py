"""`tuner doctor`: what works here and what does not, each tried for real, with the remedy."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption
from tuner.errors import TunerError

LIBRARIES = ("torch", "transformers", "safetensors", "optuna", "sqlalchemy", "numpy")
LITTLE_DISK = 2**30
WAL_RESET_FIRST, WAL_RESET_LAST, WAL_RESET_MENDED = (3, 7, 0), (3, 51, 2), ((3, 44, 6), (3, 50, 7))
"""SQLite's versions that may lose a write-ahead log's last transactions or damage the file when it is reset."""

CANNOT_WORK = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was tried. `problem` is what keeps it from working, with the remedy; `note` only worth knowing."""

    name: str
    found: str = ""
    problem: str = ""
    note: str = ""


def doctor_command(
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try what a study needs here: versions, disk, locks, devices, precisions.

    Nothing is left behind. Exit code 0: all can work. 2: something cannot, and its remedy is printed.

    \b
    tuner doctor
    tuner doctor --storage postgresql://user@host/database
    """
    lines = list(_examine(home, storage))
    if as_json:
        from tuner.report.payloads import as_text

        print(
            as_text({"can_work": not any(line.problem for line in lines), "checks": [asdict(line) for line in lines]})
        )
    else:
        from tuner.cli.plain import plain

        for line in lines:
            print(plain(f"{line.name:<12} {line.found or '-'}"))
            if line.note:
                print(plain(f"{'':<12} note: {line.note}"))
            if line.problem:
                print(plain(f"{'':<12} PROBLEM: {line.problem}"))
    return CANNOT_WORK if any(line.problem for line in lines) else 0


def _examine(home: Path, storage: str | None) -> Iterator[Line]:
    from tuner.storage import home_check

    yield Line("python", f"{platform.python_version()} ({sys.executable}), tuner {_version('tuner')}")
    yield libraries()
    yield sqlite_line(sqlite3.sqlite_version_info)
    yield _tried("home", lambda: _home(home, storage))
    yield disk(home)
    holds_database = storage is None
    yield _tried("file system", lambda: home_check.kind_of_file_system(home, holds_database=holds_database))
    yield _tried("locks", lambda: home_check.try_locks(home))
    yield _tried("writes", lambda: home_check.try_durable_writes(home))
    yield _tried("database", lambda: home_check.schema_of(storage, home / "tuner.db"))
    yield cores_and_memory()
    yield from devices()


def _tried(name: str, ask: Callable[[], str | Line]) -> Line:
    """What was found, or the one line that says why not."""
    try:
        found = ask()
    except TunerError as error:
        return Line(name, problem=str(error))
    return found if isinstance(found, Line) else Line(name, found)


def libraries() -> Line:
    """The versions of what a study needs; nothing is imported."""
    found = {name: _version(name) for name in LIBRARIES}
    missing = [name for name, known in found.items() if known is None]
    problem = f"{', '.join(missing)} missing; install tuner again: pip install -e ." if missing else ""
    return Line("libraries", ", ".join(f"{name} {known or 'missing'}" for name, known in found.items()), problem)


def sqlite_line(found: tuple[int, ...]) -> Line:
    """SQLite's version, and why its journal is a rollback journal whatever that is."""
    told = ".".join(map(str, found))
    is_affected = WAL_RESET_FIRST <= found <= WAL_RESET_LAST and found not in WAL_RESET_MENDED
    why = f"{told} can corrupt" if is_affected else "releases before it, which may open the same file, can corrupt"
    return Line("sqlite", f"{told}; rollback journal with synchronous=EXTRA, because {why} a write-ahead log")


def _home(home: Path, storage: str | None) -> Line:
    from tuner.storage.file_system import refuse_unusable_home
    from tuner.storage.home_check import nearest_folder, open_to_others

    refuse_unusable_home(home)
    place = nearest_folder(home)
    if not home.expanduser().is_dir():
        return Line("home", f"{home} will be created in {place}")
    commands = open_to_others(home, home.expanduser() / "tuner.db")
    note = f"others on this machine can read it; keep it to yourself: {' && '.join(commands)}" if commands else ""
    return Line("home", f"{home}{'' if commands else ', private'}", note=note)


def disk(home: Path) -> Line:
    """What is free where checkpoints go."""
    from tuner.storage.home_check import nearest_folder

    free = shutil.disk_usage(nearest_folder(home)).free
    note = "checkpoints soon fill that; `tuner gc` frees some, `tuner check` says how much a study takes"
    return Line("disk", f"{free / 2**30:,.1f} GiB free", note=note if free < LITTLE_DISK else "")


def cores_and_memory(root: Path = Path("/")) -> Line:
    """What this process may use, a container's limits included."""
    from tuner.forecast.machine import memory_bytes, num_cores

    memory = memory_bytes(root)
    told = f", {memory[0] / 2**30:,.1f} GiB of memory, {memory[1] / 2**30:,.1f} GiB free" if memory else ""
    return Line("cores", f"{num_cores(root):g} cores{told}")


def devices(root: Path = Path("/")) -> Iterator[Line]:
    """What torch can compute on, and in which precisions. Only here is torch imported."""
    from tuner.forecast.machine import nvidia_card

    try:
        from tuner.training.self_test import PRECISIONS, broken_precisions, cuda_devices
    except ImportError as error:
        yield Line("devices", problem=f"torch cannot be imported ({error}); install tuner again: pip install -e .")
        return
    found, card = cuda_devices(), nvidia_card(root)
    problem = ""
    if card and not found:
        problem = (
            f"a GPU is present ({card}), but torch has no CUDA; install a driver that `nvidia-smi` lists and a build "
            "of torch with CUDA (https://pytorch.org/get-started/locally), or set execution.device=cpu"
        )
    yield Line("devices", "; ".join(["cpu", *found]), problem)
    for device in ["cpu", *(f"cuda:{index}" for index in range(len(found)))]:
        broken = broken_precisions(device)
        works = ", ".join(precision for precision in PRECISIONS if precision not in broken) or "none"
        reasons = "; ".join(f"{precision} does not work: {why}" for precision, why in broken.items())
        hopeless = "fp32" in broken
        yield Line(
            "precisions",
            f"{works} on {device}",
            problem=f"{reasons}; reinstall torch, or use another device" if hopeless else "",
            note="" if hopeless else reasons,
        )


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
