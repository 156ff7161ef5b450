"""`tuner gc`: removes files that no study reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption

if TYPE_CHECKING:
    from tuner.storage.garbage import Collection


def gc_command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the study; all studies if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove files that no study reaches; safe beside running workers.

    What goes: checkpoint files that no row names, half-written and damaged ones, empty folders, and what a finished
    study with `execution.retention: answer` does not keep. Files younger than three leases stay: their row may still
    come. Token caches stay.

    \b
    tuner gc --dry-run
    tuner gc quickstart
    """
    from tuner.cli.reading import opened_store
    from tuner.storage.garbage import collect

    with opened_store(home, storage) as store:
        found = collect(store, name, dry_run=dry_run)
    if as_json:
        from tuner.report.payloads import as_text

        print(as_text(_payload(found, dry_run=dry_run)))
    else:
        _print(found, dry_run=dry_run)


def _print(found: Collection, *, dry_run: bool) -> None:
    from tuner.cli.plain import plain

    for garbage in found.removed:
        print(plain(f"{garbage.path}: {garbage.why}, {garbage.size_bytes:,} bytes"))
    done = "would remove" if dry_run else "removed"
    print(f"{done} {len(found.removed):,} files and folders, {found.freed_bytes:,} bytes")
    if found.num_left_alone:
        print(f"left {found.num_left_alone:,} alone: a worker may be about to store what they are")
    if found.unknown_folders:
        told = ", ".join(found.unknown_folders[:5])
        print(
            plain(
                f"left {len(found.unknown_folders):,} folders in checkpoints/ alone ({told}): no study here has them;"
            )
        )
        print("delete them by hand if no other database uses this home")


def _payload(found: Collection, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "freed_bytes": found.freed_bytes,
        "removed": [
            {"path": garbage.path, "size_bytes": garbage.size_bytes, "why": garbage.why} for garbage in found.removed
        ],
        "num_left_alone": found.num_left_alone,
        "unknown_folders": list(found.unknown_folders),
    }
