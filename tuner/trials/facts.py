"""The facts of a study's data: measured by the first worker, kept in the first decision, binding from then on (D8)."""

from __future__ import annotations

import json

from tuner.errors import StudyError
from tuner.records import StudyRecord, WorkloadFacts
from tuner.storage.record_json import from_json


def stored_facts(record: StudyRecord) -> WorkloadFacts | None:
    """The facts that the study's first decision was made from; None while nothing is decided."""
    numbers = next((decision.numbers for decision in record.decisions if decision.kind == "facts"), None)
    return None if numbers is None else from_json(WorkloadFacts, json.dumps(numbers))


def refuse_other_data(stored: WorkloadFacts | None, found: WorkloadFacts) -> None:
    """Values measured on different data, or by different code, must never be ranked against each other.

    Raises:
        StudyError: if the workload is not the one that the study began with.
    """
    if stored is not None and stored.workload_digest != found.workload_digest:
        raise StudyError(
            "the data, the user code or the library versions are not those that this study began with; bring those "
            "back and resume, or run the study under another name"
        )
