"""The facts of the data bind from the first decision on."""

from dataclasses import asdict, replace

import pytest

from tuner.errors import StudyError
from tuner.records import Decision, StudyRecord, WorkloadFacts
from tuner.trials.facts import refuse_other_data, stored_facts

FACTS = WorkloadFacts(
    num_train_examples=10,
    num_validation_examples=5,
    num_test_examples=5,
    metrics=("loss",),
    regularisers_off={"dropout": 0.0},
    workload_digest="a",
)


def test_stored_facts_are_those_of_the_first_decision() -> None:
    decision = Decision(kind="facts", reason="", numbers=asdict(FACTS))
    assert stored_facts(StudyRecord(name="x", state="running", decisions=(decision,))) == FACTS
    assert stored_facts(StudyRecord(name="x", state="running")) is None


def test_other_data_in_the_midst_of_a_study_is_refused() -> None:
    refuse_other_data(None, FACTS)
    refuse_other_data(FACTS, FACTS)
    with pytest.raises(StudyError, match="not those that this study began with"):
        refuse_other_data(FACTS, replace(FACTS, workload_digest="b"))
