"""``SurvivesFork``: while a process is copied, no store is in the middle of something, locked, or open."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet


class SurvivesFork:
    """A base for stores: a fork waits for calls under way, and both processes go on with a free lock.

    A thread that is inside a call during a fork does not exist in the child, and the lock it held would stay locked
    there for good. Worse, a child that inherits an open SQLite file takes its parent's locks on it for its own: what
    it commits can vanish.
    """

    def __init__(self) -> None:
        self.lock: Any = self.new_lock()
        _forks.watch(self)

    def new_lock(self) -> Any:
        """Return what lets in one thread at a time."""
        return threading.Lock()

    def let_go(self) -> None:
        """Close what must not be open in two processes. Called with the lock held; the next call opens it again."""

    def before_fork(self) -> None:
        """Wait for the call under way, and let nobody begin another."""
        self.lock.acquire()
        self.let_go()

    def after_fork(self, *, child: bool) -> None:
        """Go on."""
        if child:
            self.lock = self.new_lock()
        else:
            self.lock.release()


class _Forks:
    """Every store of this process that is alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: WeakSet[SurvivesFork] = WeakSet()
        self._waiting: list[SurvivesFork] = []

    def watch(self, store: SurvivesFork) -> None:
        with self._lock:
            self._stores.add(store)

    def before(self) -> None:
        self._lock.acquire()
        self._waiting.extend(self._stores)
        for store in self._waiting:
            store.before_fork()

    def after(self, *, child: bool) -> None:
        for store in self._waiting:
            store.after_fork(child=child)
        self._waiting.clear()
        if child:
            self._lock = threading.Lock()
        else:
            self._lock.release()


_forks = _Forks()
if hasattr(os, "register_at_fork"):  # Windows never forks
    os.register_at_fork(
        before=_forks.before,
        after_in_parent=lambda: _forks.after(child=False),
        after_in_child=lambda: _forks.after(child=True),
    )
