"""The Lua scripts, with the package's own names and limits put in, and a policy's numbers."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

import attrs

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.state import MAX_VIEWS, MINUTE, SECOND
from caliper_readtime.stores._codec import FINGERPRINT, SCHEMA
from caliper_readtime.stores._redis.encoding import NONCE

#: How long Redis keeps what nobody sees any more: a clock that a test moves must not race with the server's.
GRACE_MS: Final = 3_600_000
#: Lua writes numbers from 10^14 on with an exponent, and adds at most two of these. What is beyond (the year 2286, a
#: total of 300 years) is left to Python.
DIGITS_IN_LUA: Final = 13
LARGEST_IN_LUA: Final = 10**DIGITS_IN_LUA

# Lua has no imports here: what begins several scripts stands in one place all the same.
_MOMENT: Final = """\
local moment = tonumber(ARGV[1])
if not moment then
  local time = redis.call('TIME')
  moment = time[1] * 1000 + math.floor(time[2] / 1000)
end"""

# U10: what is no text of digits, or no hash, is no record, and stands for all that is none.
_RECORD: Final = """\
local record = redis.pcall('HGET', wall, 'record')
if type(record) == 'table' or (record and record:find('[^%[%],%d]')) then
  record = '!'
end"""

_VALUES: Final = {
    "RECORD": _RECORD,
    "MOMENT": _MOMENT,
    "SCHEMA": str(SCHEMA[0]),
    "SECOND": str(SECOND),
    "MINUTE": str(MINUTE),
    "MAX_VIEWS": str(MAX_VIEWS),
    "DIGITS": str(DIGITS_IN_LUA),
    "LARGEST": str(LARGEST_IN_LUA),
    "PRINT": str(FINGERPRINT),
    "NONCE": "%x" * NONCE,
    "GRACE": str(GRACE_MS),
    "LONGEST_WAIT": str(LONGEST_WAIT_MS),
}


@attrs.frozen(eq=False)
class Script:
    """A script's text, and the digest by which Redis knows it."""

    name: str
    text: str
    digest: str


def _load(name: str, **more: str) -> Script:
    text = (files("caliper_readtime.stores._redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    values = {**_VALUES, **more}
    text = re.sub(r"\$([A-Z_]+)", lambda found: values[found[1]], re.sub(r"(?m)^ *--.*\n", "", text))
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


@lru_cache(maxsize=64)
def beat(policy: ReadTimePolicy) -> Script:
    """Return the heartbeat script for a policy: numbers in its text cost nothing, and as arguments each heartbeat."""
    return _load("beat", **policy_values(policy))


def policy_values(policy: ReadTimePolicy) -> dict[str, str]:
    """Return what the heartbeat script has to know of a policy."""
    # As plain floats: numpy's say their own name, which Lua takes for a variable.
    ratio, pace = float(policy.completion_ratio), policy.completion_words_per_minute
    return {
        "CATCH_UP": str(policy.catch_up_ms),
        "MOST": "math.huge" if policy.max_delta_ms is None else str(policy.max_delta_ms),
        "LEEWAY": str(policy.leeway_ms),
        "RATIO": repr(ratio),
        "PACE": "false" if pace is None else repr(float(pace)),
        "DWELL": "false" if policy.completion_dwell_ms is None else str(policy.completion_dwell_ms),
    }


BEAT: Final = beat(ReadTimePolicy())
DELETE: Final = _load("delete")
DUE: Final = _load("due")
KEYS: Final = _load("keys")
META: Final = _load("meta")
READ: Final = _load("read")
WRITE: Final = _load("write")
