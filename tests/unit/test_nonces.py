"""Nobody gets random digits that somebody else has got."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from caliper_readtime._nonces import nonce

FORKING = r"""
import os
from caliper_readtime._nonces import nonce

nonce()  # so that some are left
child = os.fork()
os.write(1, f"{nonce()}\n".encode())  # in one piece
if child:
    os.waitpid(child, 0)
"""


def test_threads_get_different_ones():
    """However many threads draw at once, no two get the same 32 hex digits."""
    with ThreadPoolExecutor(8) as threads:
        drawn = [*threads.map(lambda _: nonce(), range(5000))]
    assert len({*drawn}) == 5000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in drawn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_draws_its_own():
    """A process that was forked goes on with none of its parent's."""
    lines = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=60)
    first, second = lines.stdout.split()
    assert first != second
