"""Keeps a lease alive from a thread of its own, so that a long evaluation never loses a trial (D4)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from tuner.errors import LeaseLost
from tuner.storage.leases import Lease

LEASE_SECONDS = 90
RENEW_EVERY_SECONDS = LEASE_SECONDS / 3


class RenewsLeases(Protocol):
    """What the heartbeat needs of the store."""

    def renew(self, lease: Lease, *, seconds: int = LEASE_SECONDS) -> None: ...


class Heartbeat:
    """Renews `lease` while the `with` block runs; calls `on_lost` once if another owner took it."""

    def __init__(self, store: RenewsLeases, lease: Lease, *, on_lost: Callable[[], None]) -> None:
        self._store, self._lease, self._on_lost = store, lease, on_lost
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(RENEW_EVERY_SECONDS):
            try:
                self._store.renew(self._lease, seconds=LEASE_SECONDS)
            except LeaseLost:
                self._on_lost()
                return
            except Exception:
                # Nobody took the lease as far as is known, not even when it expired: only who reads so stops.
                continue
