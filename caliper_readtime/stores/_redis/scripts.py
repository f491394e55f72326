"""The Lua scripts, with the package's own names and limits put in."""

from __future__ import annotations

import re
from hashlib import sha1
from importlib.resources import files
from typing import Final

import attrs

from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.reading import MINUTE
from caliper_readtime._rules.state import MAX_VIEWS, SECOND
from caliper_readtime.stores._codec import SCHEMA

#: How long Redis keeps what nobody sees any more: a clock that a test moves must not race with the server's.
GRACE_MS: Final = 3_600_000
#: Lua writes numbers from 10^14 on with an exponent, and adds at most two of these. What is beyond (the year 3237,
#: a total of 1,200 years) is left to Python.
LARGEST_IN_LUA: Final = 4 * 10**13

# Lua has no imports here: what begins several scripts stands in one place all the same.
_MOMENT: Final = """\
local moment = tonumber(ARGV[1])
if not moment then
  local time = redis.call('TIME')
  moment = time[1] * 1000 + math.floor(time[2] / 1000)
end"""

_VALUES: Final = {
    "MOMENT": _MOMENT,
    "SCHEMA": str(SCHEMA[0]),
    "SECOND": str(SECOND),
    "MINUTE": str(MINUTE),
    "MAX_VIEWS": str(MAX_VIEWS),
    "LARGEST": str(LARGEST_IN_LUA),
    "GRACE": str(GRACE_MS),
    "LONGEST_WAIT": str(LONGEST_WAIT_MS),
}


@attrs.frozen(eq=False)
class Script:
    """A script's text, and the digest by which Redis knows it."""

    name: str
    text: str
    digest: str


def _load(name: str) -> Script:
    text = (files("caliper_readtime.stores._redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    text = re.sub(r"\$([A-Z_]+)", lambda found: _VALUES[found[1]], re.sub(r"(?m)^ *--.*\n", "", text))
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


BEAT: Final = _load("beat")
DELETE: Final = _load("delete")
DUE: Final = _load("due")
KEYS: Final = _load("keys")
META: Final = _load("meta")
READ: Final = _load("read")
WRITE: Final = _load("write")
