"""The settings: one table for the environment, Flask's config and Django's dict; ``_building`` makes parts of them.

A setting is one field of the class of whoever reads it: its name, type, default, and what it is. Adding one adds a
field here and a line to the page of settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Final, TypeAlias, get_origin

import attrs
from cattrs import Converter

from caliper_readtime import _checks
from caliper_readtime._model import Reader  # noqa: TC001
from caliper_readtime._policy import ReadTimePolicy  # noqa: TC001
from caliper_readtime._results import Report  # noqa: TC001
from caliper_readtime.errors import ConfigurationError

PREFIX: Final = "CALIPER_READTIME_"
#: How long a page can be read before its ticket runs out; a page that is read gets a fresh one at half of it.
TICKET_SECONDS: Final = 12 * 3600.0
#: For how long after that a late replay is taken: as long as the script keeps its records.
GRACE_SECONDS: Final = 7 * 86400.0
#: How long after the opening a page's last ticket runs out: a day covers every reading, and ends what was stolen.
LIFE_SECONDS: Final = 24 * 3600.0

# Of an error such as "ReadTimePolicy.reader_budget: must be …".
_FIELD: Final = re.compile(r"(?:[A-Za-z]+\.)?([a-z_0-9]+)(?=:? must )")
# What tests and ``caliper_readtime.testing`` are told by an environment, which may be an application's, too.
_OF_TESTS: Final = ("redis_server", "require_browser", "require_redis", "require_postgresql")
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

#: An object, what makes it (a class, a function without arguments), or the dotted path of either.
Part: TypeAlias = Annotated[Any, "part"]
#: Proxies as the emitter takes them; in the environment, text.
Proxies: TypeAlias = Annotated[Any, "proxies"]


class Leave(StrEnum):
    """What happens to the unreported time of a page that is left."""

    BACKGROUND = "background"
    SEND = "send"
    DEFER = "defer"


def variable(name: str) -> str:
    """Return what a setting is called in the environment, and in errors."""
    return f"{PREFIX}{name.upper()}"


@contextmanager
def naming_settings() -> Iterator[None]:
    """Name the setting in an error of whoever reads it, who knows no more than its field."""
    try:
        yield
    except ConfigurationError as error:
        found = _FIELD.match(str(error))
        if found is None or found[1] not in TABLE:
            raise
        raise ConfigurationError(f"{variable(found[1])}{str(error)[found.end() :]}") from error


def _leave(value: Any) -> Any:
    leave = _checks.member(Leave, value)
    if leave is None:
        raise ConfigurationError(f"{variable('leave')} must be one of: {', '.join(Leave)}")
    return leave


def _function(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{variable(attribute.name)} must be a function, or its dotted path")


def _needed(what: str) -> Any:
    return attrs.field(default=None, metadata={"needed": what})


@attrs.frozen(kw_only=True)
class PartSettings:
    """Where states live, where events go, and in whose name: what every tracker needs."""

    store_url: str | None = _needed(
        "memory://, sqlite:///relative, sqlite:////absolute, redis://, rediss://, unix://, redis+cluster://,"
        " redis+sentinel://, django://alias"
    )
    endpoint: str | None = _needed("the full URL of the Caliper endpoint, or jsonl:///path")
    oneroster_url: str | None = _needed("the OneRoster service's base URL")
    sensor: str | None = _needed("this application's URL")
    app_name: str | None = _needed("this application's name")
    app_id: str | None = None
    ed_app: str | None = None
    activity_ids: str = "uri"
    store: Part = None
    emitter: Part = None


@attrs.frozen(kw_only=True)
class RedisSettings:
    """Arguments of ``RedisStateStore``, which has the defaults."""

    namespace: str | None = None
    shards: int | None = None
    claim_replicas: int | None = None
    claim_fsync: bool | None = None


@attrs.frozen(kw_only=True)
class HttpSettings:
    """What ``HttpCaliperEmitter`` is told, which has the defaults."""

    read_back: bool | None = None
    timeout_seconds: float | None = None
    proxies: Proxies = attrs.field(default=None, repr=False)
    ca_bundle: Path | None = None
    trust_env: bool | None = None
    duplicate_answers: Callable[[int, str], bool] | None = attrs.field(default=None, validator=_function)


@attrs.frozen(kw_only=True)
class OAuth2Settings:
    """OAuth2 client credentials, or none at all."""

    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = attrs.field(default=None, repr=False)
    client_secret_file: Path | None = None
    scope: str | None = None


@attrs.frozen(kw_only=True)
class TrackerSettings:
    """Keyword arguments of ``ReadTimeTracker``, which has the defaults."""

    on_report: Callable[[Report], object] | None = attrs.field(default=None, validator=_function)
    batch_events: int | None = None
    batch_bytes: int | None = None


@attrs.frozen(kw_only=True)
class WebSettings:
    """How pages are counted; a tracker alone has no use for them.

    Attributes:
        secrets: sign tickets, newest first; empty for the framework's own.
        reader: returns the ``Reader`` of a sourced id, or None.
        leave: when a page is left, send what is unreported in the ``background`` or at once (``send``), or ``defer``
            it to the sweeper.
        ticket_seconds: how long a page's ticket is good for.
        ticket_life_seconds: how long after its opening a page's last ticket runs out, however long it is read.
        ticket_grace_seconds: for how long after that a late replay is taken.
        session: returns what a request's session is called, which then a ticket is bound to; None for no binding.
        trusted_origins: other origins whose pages may send signals.
        trust_null_origin: whether pages without an origin, such as sandboxed frames, may send signals.
        on_refusal: called with the ``Refusal`` of each signal that is not taken, for metrics.
        tracker: in place of one that the other settings describe.
    """

    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    reader: Callable[[str], Reader | None] | None = attrs.field(default=None, validator=_function)
    leave: Leave = attrs.field(default=Leave.BACKGROUND, converter=_leave)
    ticket_seconds: float = TICKET_SECONDS
    ticket_life_seconds: float = LIFE_SECONDS
    ticket_grace_seconds: float = GRACE_SECONDS
    session: Callable[[Any], str | None] | None = attrs.field(default=None, validator=_function)
    trusted_origins: tuple[str, ...] = ()
    trust_null_origin: bool = False
    on_refusal: Callable[[Any], object] | None = attrs.field(default=None, validator=_function)
    tracker: Part = None


@attrs.frozen
class Settings:
    """Every setting, by who reads it."""

    parts: PartSettings
    redis: RedisSettings
    http: HttpSettings
    oauth2: OAuth2Settings
    tracker: TrackerSettings
    web: WebSettings
    policy: ReadTimePolicy

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings of a mapping by lower-case names (``named``); None counts as not given.

        Raises:
            ConfigurationError: a name is unknown, or a value is wrong.
        """
        check_names(values)
        groups: dict[str, dict[str, Any]] = {group: {} for group, _ in _groups()}
        for name, value in values.items():
            if value is not None:
                groups[TABLE[name].group][name] = TABLE[name].structure(value)
        with naming_settings():
            return cls(*(kind(**groups[group]) for group, kind in _groups()))


@attrs.frozen
class Setting:
    """One line of the table.

    Attributes:
        name: lower case, without the prefix.
        type: what a text, or what is given, is made into.
        default: None where whoever reads it has one of its own.
        group: who reads it: a field of ``Settings``.
        needed: of a required one, what to set it to.
        secret: it may hold one: it is in no ``repr``, and no flag of a command.
    """

    name: str
    type: Any
    default: Any
    group: str
    needed: str
    secret: bool

    def structure(self, value: Any) -> Any:
        """Return a given value as this setting's type.

        Raises:
            ConfigurationError: it cannot be that.
        """
        try:
            return _CONVERTER.structure(value, self.type)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{variable(self.name)}: {error}") from None


def given(group: Any) -> dict[str, Any]:
    """Return the settings of one group that were given a value, as keyword arguments."""
    return attrs.asdict(group, recurse=False, filter=lambda _, value: value is not None)


# Reading


def prefixed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose names carry the prefix, without it."""
    ours = ((str(name), value) for name, value in mapping.items() if str(name).upper().startswith(PREFIX))
    bare = ((name[len(PREFIX) :], value) for name, value in ours)
    return {name: value for name, value in bare if name.lower() not in _OF_TESTS}


def own(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return our settings of a mapping that may be somebody else's, such as Flask's config without any of ours."""
    return prefixed(mapping) or (mapping if any(str(name).lower() in TABLE for name in mapping) else {})


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that are all ours, by their lower-case names; an empty value counts as not given.

    Raises:
        ConfigurationError: a name is unknown.
    """
    lowered = {str(name).lower(): value for name, value in settings.items() if value != ""}
    check_names(lowered)
    return lowered


def check_names(settings: Mapping[str, Any]) -> None:
    """Refuse a name that is no setting's.

    Raises:
        ConfigurationError: with a suggestion, and without the value.
    """
    for name in settings:
        if name not in TABLE:
            close = get_close_matches(name, TABLE, 1)
            hint = f": did you mean {variable(close[0])}?" if close else ""
            raise ConfigurationError(f"unknown setting {variable(name)}{hint}")


# What a value is made into: from the environment everything comes as text.


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _whole(value: Any, _: Any) -> int:
    try:
        return value if isinstance(value, int) and not isinstance(value, bool) else int(str(value), 10)
    except ValueError:
        raise ValueError(f"must be a whole number, not {value!r}") from None


def _number(value: Any, _: Any) -> Any:
    # What is no text is judged by whoever reads it, who knows the bounds.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"must be a number, not {value!r}") from None


def _flag(value: Any, _: Any) -> bool:
    flag = value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower())
    if flag is None:
        raise ValueError(f"must be true or false, not {value!r}")
    return flag


def _many(value: Any, _: Any) -> tuple[Any, ...]:
    if not isinstance(value, str | Sequence) or isinstance(value, bytes):
        raise TypeError("must be a list, or text with spaces between")
    return tuple(value.split()) if isinstance(value, str) else tuple(value)


def _dotted(value: Any, _: Any) -> Any:
    if not isinstance(value, str):
        return value
    # Something else may hold a password, as a URL does, so it is not quoted.
    if "." not in value or not all(word.isidentifier() for word in value.split(".")):
        raise ValueError("must be an object, or its dotted path such as news.students.find_reader")
    try:
        return resolve_name(value)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{value!r} cannot be imported: {error}") from None


def _as_it_is(value: Any, _: Any) -> Any:
    return value


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _converter() -> Converter:
    converter = Converter(detailed_validation=False)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(bool, _flag)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_structure_hook_func(lambda kind: _origin(kind) is tuple, _many)
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, StrEnum), _as_it_is)
    converter.register_structure_hook_func(lambda kind: kind == Proxies, _as_it_is)
    converter.register_structure_hook_func(lambda kind: kind == Part or _origin(kind) is _CALLABLE, _dotted)
    return converter


_CALLABLE: Final = get_origin(Callable[[], None])
_CONVERTER: Final = _converter()


def _groups() -> list[tuple[str, Any]]:
    return [(group.name, group.type) for group in attrs.fields(attrs.resolve_types(Settings))]


def _table() -> dict[str, Setting]:
    return {
        field.name: Setting(
            field.name,
            field.type,
            field.default,
            group,
            field.metadata.get("needed", ""),
            not field.repr,
        )
        for group, kind in _groups()
        for field in attrs.fields(attrs.resolve_types(kind))
        if field.init
    }


#: Every setting by its name.
TABLE: Final = _table()
#: What every tracker needs, and what to set it to.
REQUIRED: Final = {setting.name: setting.needed for setting in TABLE.values() if setting.needed}
