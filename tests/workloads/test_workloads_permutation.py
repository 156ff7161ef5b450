"""The order of examples: a bijection per epoch, entered anywhere, the same for ever."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.workloads.permutation import PERMUTATION_VERSION, mix, stream_indices

GOLDEN_TEN = [0, 2, 9, 1, 6, 4, 3, 8, 7, 5]
GOLDEN_FAR = [668566, 773817, 919572, 771636, 880247, 40302]
GOLDEN_MIX = (10451216379200822465, 74078413316773926, 5890467614480005915)
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 64, 97, 100, 121, 122, 1009, 4096, 4097)


@pytest.mark.parametrize("num_examples", SIZES)
def test_every_epoch_holds_every_example_once(num_examples):
    epochs = stream_indices(3, 0, 4 * num_examples, num_examples).reshape(4, num_examples)
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), np.arange(num_examples))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**64 - 1), num_examples=st.integers(1, 600), epoch=st.integers(0, 10**9))
def test_every_epoch_is_a_bijection_for_any_seed_and_size(seed, num_examples, epoch):
    found = stream_indices(seed, epoch * num_examples, num_examples, num_examples)
    assert np.array_equal(np.sort(found), np.arange(num_examples))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(num_examples=st.integers(1, 50), start=st.integers(0, 500), count=st.integers(0, 100))
def test_the_stream_can_be_entered_anywhere(num_examples, start, count):
    whole = stream_indices(11, 0, start + count, num_examples)
    assert np.array_equal(stream_indices(11, start, count, num_examples), whole[start:])


def test_epochs_and_seeds_have_orders_of_their_own():
    one, two = stream_indices(0, 0, 2000, 1000).reshape(2, 1000)
    other = stream_indices(1, 0, 1000, 1000)
    for a, b in ((one, two), (one, other), (one, np.arange(1000))):
        assert np.count_nonzero(a == b) < 10


def test_all_orders_of_four_examples_are_about_equally_likely():
    orders = Counter(map(tuple, stream_indices(5, 0, 4 * 24_000, 4).reshape(-1, 4).tolist()))
    assert len(orders) == 24
    assert 850 < min(orders.values()) <= max(orders.values()) < 1150


def test_the_order_never_changes_within_a_version():
    assert PERMUTATION_VERSION == 1
    assert stream_indices(0, 0, 10, 10).tolist() == GOLDEN_TEN
    assert stream_indices(123, 10**12, 6, 1_000_003).tolist() == GOLDEN_FAR
    assert (mix(0), mix(1, 2, 3), mix(3, 2, 1)) == GOLDEN_MIX


@pytest.mark.parametrize(("start", "count", "num_examples"), [(0, 1, 0), (-1, 1, 5), (0, -1, 5)])
def test_impossible_positions_are_refused(start, count, num_examples):
    with pytest.raises(ValueError, match="num_examples >= 1"):
        stream_indices(0, start, count, num_examples)
