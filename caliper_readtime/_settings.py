"""Settings from a mapping or the environment, made into the parts of a tracker."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from caliper_readtime._model import App
from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime.emitters._http import DEADLINE_SECONDS, HttpCaliperEmitter
from caliper_readtime.emitters._jsonl import JsonLinesEmitter
from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.errors import ConfigurationError, InvalidInput
from caliper_readtime.stores._memory import InMemoryStateStore
from caliper_readtime.stores._redis.store import RedisStateStore
from caliper_readtime.stores._sqlite.store import SqliteStateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from caliper_readtime._results import Report
    from caliper_readtime.protocols import Emitter, StateStore

PREFIX: Final = "CALIPER_READTIME_"

REQUIRED: Final = {
    "store_url": "memory://, sqlite:///relative, sqlite:////absolute, redis://, rediss://, unix://, redis+cluster://,"
    " redis+sentinel://",
    "endpoint": "the full URL of the Caliper endpoint, or jsonl:///path",
    "oneroster_url": "the OneRoster service's base URL",
    "sensor": "this application's URL",
    "app_name": "this application's name",
}
OPTIONAL: Final = (
    "app_id",
    "namespace",
    "shards",
    "claim_replicas",
    "claim_fsync",
    "activity_ids",
    "read_back",
    "token_url",
    "client_id",
    "client_secret",
    "client_secret_file",
    "scope",
)
#: For hosts with pages: ``web/settings.py`` reads them, a tracker has no use for them.
WEB: Final = ("secrets", "reader", "leave", "ticket_seconds", "ticket_grace_seconds", "trusted_origins")
POLICY: Final = tuple(attribute.name for attribute in attrs.fields(ReadTimePolicy) if attribute.init)
_KNOWN: Final = (*REQUIRED, *OPTIONAL, *WEB, *POLICY)
# What tests and ``caliper_readtime.testing`` are told by an environment, which may be an application's, too.
_OF_TESTS: Final = ("redis_server", "require_browser", "require_redis")
_PARTS: Final = ("store", "emitter", "events", "policy", "clock", "on_report")
_BOOLEANS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@attrs.frozen
class Parts:
    """What a tracker is built from; ``created`` is what it has to close."""

    store: StateStore
    emitter: Emitter | None
    events: TimeSpentEvents | None
    policy: ReadTimePolicy
    clock: Callable[[], datetime] | None
    on_report: Callable[[Report], object] | None
    created: tuple[StateStore | Emitter, ...]


def variable(name: str) -> str:
    """Return what a setting is called in the environment, and in errors."""
    return f"{PREFIX}{name.upper()}"


def prefixed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose names carry the prefix, without it."""
    ours = ((str(name), value) for name, value in mapping.items() if str(name).upper().startswith(PREFIX))
    bare = ((name[len(PREFIX) :], value) for name, value in ours)
    return {name: value for name, value in bare if name.lower() not in _OF_TESTS}


def parts(mapping: Mapping[str, Any], overrides: Mapping[str, Any]) -> Parts:
    """Return the parts that settings describe.

    Raises:
        ConfigurationError: settings are missing, unknown or wrong.
    """
    # emitter=None means a tracker that sends nothing; None for another part is no part.
    given = {n: part for n, part in overrides.items() if n in _PARTS and (part is not None or n == "emitter")}
    rest = {name: value for name, value in overrides.items() if name not in _PARTS}
    settings = named({**_own(mapping), **rest})
    _check_missing(settings, given)
    policy = given.get("policy") or _policy(settings)
    events = given.get("events") or TimeSpentEvents(
        settings["sensor"],
        _app(settings),
        settings["oneroster_url"],
        activity_ids=settings.get("activity_ids", "uri"),
    )
    created: list[StateStore | Emitter] = []
    # The store last: should anything else be wrong, there is nothing open that had to be closed.
    if "emitter" in given:
        emitter = given["emitter"]
    else:
        emitter = _emitter(settings, policy)
        created.append(emitter)
    state_store = given.get("store")
    if state_store is None:
        state_store = _store(settings)
        created.append(state_store)
    return Parts(state_store, emitter, events, policy, given.get("clock"), given.get("on_report"), tuple(created))


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that are all ours, by their lower-case names; an empty value counts as not given.

    Raises:
        ConfigurationError: a name is unknown.
    """
    lowered = {str(name).lower(): value for name, value in settings.items() if value != ""}
    _check_names(lowered)
    return lowered


def _own(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return our settings of a mapping that may be somebody else's, such as Flask's config without any of ours."""
    return prefixed(mapping) or (mapping if any(str(name).lower() in _KNOWN for name in mapping) else {})


def _check_names(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if name not in _KNOWN:
            close = get_close_matches(name, _KNOWN, 1)
            hint = f": did you mean {variable(close[0])}?" if close else ""
            raise ConfigurationError(f"unknown setting {variable(name)}{hint}")


def _check_missing(settings: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    needed = dict(REQUIRED)
    if "store" in given:
        del needed["store_url"]
    if "emitter" in given:
        del needed["endpoint"]
    if "events" in given:
        needed = {name: hint for name, hint in needed.items() if name in ("store_url", "endpoint")}
    missing = [f"{variable(name)} ({hint})" for name, hint in needed.items() if settings.get(name) is None]
    if missing:
        raise ConfigurationError(f"missing settings: {', '.join(missing)}")


def _policy(settings: Mapping[str, Any]) -> ReadTimePolicy:
    values: dict[str, Any] = {}
    for name in POLICY:
        if name in settings:
            value = settings[name]
            values[name] = _number(name, value) if isinstance(value, str) and name != "completion" else value
    return ReadTimePolicy(**values)


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigurationError(f"{variable(name)}: must be a number, not {value!r}") from None


def _app(settings: Mapping[str, Any]) -> App:
    try:
        return App(settings["app_name"], settings.get("app_id"))
    except InvalidInput as error:
        raise ConfigurationError(f"{PREFIX}APP_NAME or {PREFIX}APP_ID: {error.problem}") from error


def _url(settings: Mapping[str, Any], name: str) -> str:
    value = settings[name]
    if not isinstance(value, str):
        raise ConfigurationError(f"{variable(name)}: must be a URL as text")
    return value


def _file(url: str, name: str) -> Path:
    path = unquote(urlsplit(url).path)
    if urlsplit(url).netloc or len(path) < 2:  # noqa: PLR2004 - "/" alone names no file
        raise ConfigurationError(
            f"{variable(name)}: needs three slashes and a path, such as {url.split(':', maxsplit=1)[0]}:///var/lib/x"
        )
    return Path(path)


def store(url: str, **redis_options: Any) -> StateStore:
    """Return the store that a URL names.

    Args:
        url: as in the setting ``STORE_URL``.
        redis_options: for ``RedisStateStore``; no other store takes any.

    Raises:
        ConfigurationError: it names none, or an option is not usable.
        StoreUnavailable: it cannot be opened.
    """
    scheme = url.partition(":")[0]
    if scheme.partition("+")[0] in ("redis", "rediss", "unix"):
        return RedisStateStore.from_url(url, **redis_options)
    if redis_options:
        raise ConfigurationError(f"{variable(min(redis_options))} is for Redis only: leave it out")
    if url == "memory://":
        return InMemoryStateStore()
    if scheme == "sqlite":
        return _sqlite(url)
    # The URL may hold a password, so only its scheme is quoted.
    raise ConfigurationError(f"{PREFIX}STORE_URL: unknown scheme {scheme!r}; known: {REQUIRED['store_url']}")


def _sqlite(url: str) -> StateStore:
    try:
        return SqliteStateStore.from_url(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable('store_url')}: {error}") from None


def _store(settings: Mapping[str, Any]) -> StateStore:
    options: dict[str, Any] = {
        name: convert(settings, name)
        for name, convert in (
            ("namespace", lambda found, name: found[name]),
            ("shards", _whole),
            ("claim_replicas", _whole),
            ("claim_fsync", _flag),
        )
        if settings.get(name) is not None
    }
    return store(_url(settings, "store_url"), **options)


def _whole(settings: Mapping[str, Any], name: str) -> int:
    value = settings[name]
    try:
        return value if isinstance(value, int) else int(str(value), 10)
    except ValueError:
        raise ConfigurationError(f"{variable(name)}: must be a whole number, not {value!r}") from None


def _emitter(settings: Mapping[str, Any], policy: ReadTimePolicy) -> Emitter:
    url = _url(settings, "endpoint")
    if url.startswith("jsonl:"):
        return JsonLinesEmitter(_file(url, "endpoint"))
    # Half of the lease leaves room for reading back first, and a shorter lock needs no second setting.
    return HttpCaliperEmitter(
        url,
        auth=_auth(settings),
        deadline_seconds=min(DEADLINE_SECONDS, policy.lock_seconds / 2),
        read_back=_flag(settings, "read_back"),
    )


def _flag(settings: Mapping[str, Any], name: str) -> bool:
    value = settings.get(name, False)
    flag = value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower())
    if flag is None:
        raise ConfigurationError(f"{variable(name)}: must be true or false, not {value!r}")
    return flag


def _auth(settings: Mapping[str, Any]) -> Any:
    names = ("token_url", "client_id", "client_secret", "client_secret_file", "scope")
    if not any(settings.get(name) is not None for name in names):
        return None
    secret: Any = settings.get("client_secret")
    file: Any = settings.get("client_secret_file")
    missing = [name for name in ("token_url", "client_id") if settings.get(name) is None]
    if secret is None and file is None:
        missing.append("client_secret")
    if missing:
        raise ConfigurationError(f"missing settings for OAuth2: {', '.join(map(variable, missing))}")
    if secret is not None and file is not None:
        raise ConfigurationError(f"set {PREFIX}CLIENT_SECRET or {PREFIX}CLIENT_SECRET_FILE, not both")
    if file is not None:
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(f"{PREFIX}CLIENT_SECRET_FILE: cannot be read: {error.strerror}") from error
    return ClientCredentials(settings["token_url"], settings["client_id"], secret, scope=settings.get("scope"))
