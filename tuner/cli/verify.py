"""`tuner verify`: every invariant of a stored study with its counts; `--repair` mends what rows and files can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption

if TYPE_CHECKING:
    from tuner.storage.findings import Check
    from tuner.storage.store import Store

NOT_CLEAN = 2
"""As for every home that cannot be used as it is (`HomeError`): not a bug of the command, and the user has a remedy."""
MAX_SHOWN = 20
"""Findings of one check that are printed; `--json` holds all."""


def verify_command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the study; all studies if left out.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what rows and files alone can mend; refused while the study runs.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check every invariant of a stored study, with counts.

    It reads one moment and changes nothing, so it may be used beside running workers. Exit code 0: all is as it should
    be. 2: something is not, and what can be done about it is printed.

    \b
    tuner verify quickstart
    tuner verify quickstart --repair
    """
    from tuner.cli.reading import opened_store

    with opened_store(home, storage) as store:
        results = [_verify_study(store, study, repair=repair) for study in ([name] if name else store.study_names())]
    if as_json:
        from tuner.report.payloads import as_text

        print(as_text([_payload(*result) for result in results] if name is None else _payload(*results[0])))
    else:
        for result in results:
            _print(*result)
        if not results:
            print("no studies yet; start one with: tuner run STUDY.yaml")
    return 0 if all(check.is_clean for _, checks, _ in results for check in checks) else NOT_CLEAN


def _verify_study(store: Store, name: str, *, repair: bool) -> tuple[str, tuple[Check, ...], list[str]]:
    """The checks of a study as it stands, after mending it if that is asked for; and what was mended."""
    checks = _checks(store, name)
    wanted = [finding for check in checks for finding in (*check.findings, *check.mendable) if finding.mend]
    if not repair or not wanted:
        return name, checks, []
    from tuner.storage import repairs

    done = repairs.repair(store, name, wanted)
    if any(finding.mend == "mirror" for finding in wanted):
        from tuner.config.canonical import config_from_json
        from tuner.storage.verify import inspect
        from tuner.trials.mirror_check import mend_mirror

        config, mirror = config_from_json(store.study(name).config), next(c for c in checks if c.name == "mirror")
        done += mend_mirror(store.url, inspect(store, name).record(), config, mirror)
    return name, _checks(store, name), done


def _checks(store: Store, name: str) -> tuple[Check, ...]:
    from tuner.storage.verify import has_optuna_tables, inspect, verify
    from tuner.trials.mirror_check import check_mirror, read_mirror

    store.study(name)  # Says which studies there are, before anything is opened for one that is not.
    mirrored = read_mirror(store.url, name) if has_optuna_tables(store) else {}
    study = inspect(store, name)
    return (*verify(store, study), check_mirror(mirrored, study.record()))


def _print(name: str, checks: tuple[Check, ...], done: list[str]) -> None:
    from tuner.cli.plain import plain

    print(plain(name))
    for line in done:
        print(plain(f"  repaired: {line}"))
    for check in checks:
        told = "".join(f" ({note})" for note in check.notes[:MAX_SHOWN])
        print(plain(f"  {check.name:<12} {check.num_ok:,} of {check.num_checked:,} ok{told}"))
        for finding in check.findings[:MAX_SHOWN]:
            print(plain(f"    {finding.subject}: {finding.problem}; {_remedy(name, finding)}"))
        if len(check.findings) > MAX_SHOWN:
            print(f"    and {len(check.findings) - MAX_SHOWN:,} more; --json holds all")


def _remedy(name: str, finding: Any) -> str:
    return f"`tuner verify {name} --repair` mends it" if finding.mend else finding.remedy


def _payload(name: str, checks: tuple[Check, ...], done: list[str]) -> dict[str, Any]:
    return {
        "study": name,
        "is_clean": all(check.is_clean for check in checks),
        "checks": [
            {
                "name": check.name,
                "num_checked": check.num_checked,
                "num_ok": check.num_ok,
                "notes": list(check.notes),
                "findings": [
                    {"subject": finding.subject, "problem": finding.problem, "remedy": _remedy(name, finding)}
                    for finding in check.findings
                ],
            }
            for check in checks
        ],
        "repaired": done,
    }
