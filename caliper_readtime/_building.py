"""Settings made into the parts of a tracker: its store, its emitter, what builds its events."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from caliper_readtime import _settings
from caliper_readtime._model import App
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime._settings import PREFIX, REQUIRED, Settings, given, variable
from caliper_readtime.emitters._address import seconds
from caliper_readtime.emitters._http import CONNECT_SECONDS, DEADLINE_SECONDS, HttpCaliperEmitter
from caliper_readtime.emitters._jsonl import JsonLinesEmitter
from caliper_readtime.emitters.oauth2 import ClientCredentials, secret_from_file
from caliper_readtime.errors import ConfigurationError, InvalidInput
from caliper_readtime.stores._memory import InMemoryStateStore
from caliper_readtime.stores._redis.store import RedisStateStore
from caliper_readtime.stores._sqlite.store import SqliteStateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime.protocols import Emitter, StateStore

# It stands on the adapter, which stands on this module.
_DJANGO: Final = "caliper_readtime.web.django"
#: What a tracker may be given as objects, besides settings.
_PARTS: Final = ("events", "policy", "clock")
#: Settings of the way to a server, for the endpoint and for its tokens.
_WAY: Final = ("proxies", "ca_bundle", "trust_env")


@attrs.frozen
class Parts:
    """What a tracker is built from.

    Attributes:
        options: its further keyword arguments.
        created: what it has to close.
    """

    store: StateStore
    emitter: Emitter | None
    events: TimeSpentEvents | None
    policy: ReadTimePolicy
    clock: Callable[[], datetime] | None
    options: dict[str, Any]
    created: tuple[StateStore | Emitter, ...]


def parts(mapping: Mapping[str, Any], overrides: Mapping[str, Any]) -> Parts:
    """Return the parts that settings describe.

    Raises:
        ConfigurationError: settings are missing, unknown or wrong.
    """
    # emitter=None means a tracker that sends nothing; None for another part is no part.
    sends = overrides.get("emitter", ...) is not None
    objects = {name: overrides.get(name) for name in _PARTS}
    rest = {name: value for name, value in overrides.items() if name not in _PARTS and (sends or name != "emitter")}
    values = _settings.named({**_settings.own(mapping), **rest})
    if not sends:
        values.pop("emitter", None)
    lacking = missing(values, events=objects["events"] is not None, sends=sends)
    if lacking:
        raise ConfigurationError(lacking)
    settings = Settings.of(values)
    policy: ReadTimePolicy = objects["policy"] or settings.policy
    events = objects["events"] or _events(settings)
    created: list[StateStore | Emitter] = []
    # The store last: should anything else be wrong, there is nothing open that had to be closed.
    emitter: Emitter | None = None
    if sends:
        emitter = _made(settings.parts.emitter, "emit", created)
        if emitter is None:
            emitter = _emitter(settings, policy)
            created.append(emitter)
    state_store: StateStore | None = _made(settings.parts.store, "update", created)
    if state_store is None:
        state_store = store(str(settings.parts.store_url), **given(settings.redis))
        created.append(state_store)
    return Parts(state_store, emitter, events, policy, objects["clock"], given(settings.tracker), tuple(created))


def missing(values: Mapping[str, Any], *, events: bool = False, sends: bool = True) -> str:
    """Return what is to be said of settings that a tracker needs and does not have, or nothing.

    Args:
        values: by lower-case names.
        events: whether a builder of events is there without them.
        sends: whether an emitter is needed.
    """
    there = {
        "store_url": values.get("store") is not None,
        "endpoint": not sends or values.get("emitter") is not None,
    }
    lacking = [
        f"{variable(name)} ({hint})"
        for name, hint in REQUIRED.items()
        if values.get(name) is None and not there.get(name, events)
    ]
    return f"missing settings: {', '.join(lacking)}" if lacking else ""


def _made(part: Any, verb: str, created: list[Any]) -> Any:
    """Return a part that a setting names; made by it, where it is a class or a function."""
    if part is None or (hasattr(part, verb) and not isinstance(part, type)):
        return part
    name = variable("store" if verb == "update" else "emitter")
    made = part() if callable(part) else None
    if not hasattr(made, verb):
        raise ConfigurationError(f"{name}: must be an object with {verb}(…), what makes one, or the dotted path of it")
    created.append(made)
    return made


def _events(settings: Settings) -> TimeSpentEvents:
    named = settings.parts
    try:
        app = App(str(named.app_name), named.app_id)
    except InvalidInput as error:
        raise ConfigurationError(f"{PREFIX}APP_NAME or {PREFIX}APP_ID: {error.problem}") from error
    activity_ids: Any = named.activity_ids
    return TimeSpentEvents(
        str(named.sensor), app, str(named.oneroster_url), activity_ids=activity_ids, ed_app=named.ed_app
    )


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
    if scheme == "django":
        made: StateStore = getattr(import_module(_DJANGO), "store_of")(url)  # noqa: B009 - it is not known here
        return made
    # The URL may hold a password, so only its scheme is quoted.
    raise ConfigurationError(f"{PREFIX}STORE_URL: unknown scheme {scheme!r}; known: {REQUIRED['store_url']}")


def _sqlite(url: str) -> StateStore:
    try:
        return SqliteStateStore.from_url(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable('store_url')}: {error}") from None


def _emitter(settings: Settings, policy: ReadTimePolicy) -> Emitter:
    url, options = str(settings.parts.endpoint), given(settings.http)
    if url.startswith("jsonl:"):
        return JsonLinesEmitter(_file(url, "endpoint"))
    timeout = options.pop("timeout_seconds", None)
    if timeout is not None:
        timeout = seconds(timeout, variable("timeout_seconds"))
    # Half of the lease leaves room for reading back first, and a shorter lock needs no second setting.
    longest = policy.lock_seconds / 2
    if timeout is not None and timeout > longest:
        raise ConfigurationError(
            f"{variable('timeout_seconds')}: an answer may take half of the lease, {longest:g} s, at most:"
            f" set {variable('lock_seconds')} to {2 * timeout:g} or more"
        )
    return HttpCaliperEmitter(
        url,
        auth=_auth(settings.oauth2, {name: value for name, value in options.items() if name in _WAY}),
        timeout=None if timeout is None else (min(CONNECT_SECONDS, timeout), timeout),
        deadline_seconds=min(max(DEADLINE_SECONDS, timeout or 0), longest),
        **options,
    )


def _auth(settings: _settings.OAuth2Settings, way: Mapping[str, Any]) -> Any:
    if not given(settings):
        return None
    secret, file = settings.client_secret, settings.client_secret_file
    lacking = [name for name in ("token_url", "client_id") if getattr(settings, name) is None]
    if secret is None and file is None:
        lacking.append("client_secret")
    if lacking:
        raise ConfigurationError(f"missing settings for OAuth2: {', '.join(map(variable, lacking))}")
    if secret is not None and file is not None:
        raise ConfigurationError(f"set {PREFIX}CLIENT_SECRET or {PREFIX}CLIENT_SECRET_FILE, not both")
    if file is not None:
        secret = secret_from_file(file, variable("client_secret_file"))
    return ClientCredentials(str(settings.token_url), str(settings.client_id), str(secret), scope=settings.scope, **way)
