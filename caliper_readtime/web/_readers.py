"""``remembering``: a host's READER, not asked again and again for readers whom it does not know."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._model import Reader

#: For how long nobody is asked again; somebody who was just enrolled waits no longer than this.
UNKNOWN_SECONDS: Final = 60.0
#: How many unknown readers are remembered, the latest.
UNKNOWN_READERS: Final = 1024


def remembering(
    lookup: Callable[[str], Reader | None], clock: Callable[[], float] = time.monotonic
) -> Callable[[str], Reader | None]:
    """Return a lookup that remembers for a while whom the host does not know. Thread-safe.

    A known reader is not remembered: the store keeps what was found. A lookup that raises is asked again.

    Args:
        lookup: returns the ``Reader`` of a sourced id, or None.
        clock: seconds that only grow.
    """
    unknown: OrderedDict[str, float] = OrderedDict()
    lock = Lock()

    def remembered(sourced_id: str) -> Reader | None:
        now = clock()
        with lock:
            if now < unknown.get(sourced_id, now):
                return None
        found = lookup(sourced_id)
        with lock:
            unknown.pop(sourced_id, None)
            if found is None:
                unknown[sourced_id] = now + UNKNOWN_SECONDS
                if len(unknown) > UNKNOWN_READERS:
                    unknown.popitem(last=False)
        return found

    return remembered
