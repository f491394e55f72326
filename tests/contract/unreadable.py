"""What every verb does to a state that cannot be read, whatever store it is in."""

from __future__ import annotations

import pytest

from caliper_readtime import CorruptState
from caliper_readtime._rules import Commit, Defer, Signal, Unpark
from caliper_readtime.testing._store_driver import POLICY, SECOND, Look, nonce, take


def refused(store, driver):
    """Yield each verb once it has been refused: CorruptState names reader and article, and quotes no address."""
    signal = Signal(POLICY, nonce(), SECOND, None, None, "h")
    for verb in (signal, take("owner"), Defer(finalize=True), Unpark(), Commit("g", "e", 0, 1), Look()):
        with pytest.raises(CorruptState, match="reader reader, article article") as caught:
            store.update(driver.key, verb, driver.now)
        assert (caught.value.reader_sourced_id, caught.value.resource_id) == driver.key
        assert "@" not in str(caught.value)
        yield verb
