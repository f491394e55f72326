r"""How a ledger is written as lines of text, and read back or refused.

* its fields as JSON, but for those that say nothing;
* where there is a claim, its event, as it is sent;
* each step of the history (``_rules/history.py``), as many as the field ``history`` says.

A line break ends each, so that a text which was cut off is told from a whole one. What an event was built from is left
out where it is the ledger's own context.
"""

from __future__ import annotations

import json
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

import attrs

from caliper_readtime._model import Activity, Reader
from caliper_readtime._rules.account import NO_ACCOUNT, Account, are_cuts
from caliper_readtime._rules.event_text import check_sendable
from caliper_readtime._rules.history import is_history
from caliper_readtime._rules.state import Claim, Context, Key, Ledger, Parked
from caliper_readtime._units import LARGEST
from caliper_readtime.errors import CorruptState
from caliper_readtime.stores._codec import CONVERTER, SCHEMA
from caliper_readtime.stores._recent import Recent

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
E = TypeVar("E", Claim, Parked)

#: What a ledger's time to live is where its text says nothing; a part of the format, whatever a policy's default is.
USUAL_TTL_MS: Final = 30 * 86_400_000

_LEDGERS: Final[Recent[tuple[Key | None, str], Ledger]] = Recent()
_WRITER: Final = json.JSONEncoder(separators=(",", ":"))
_LINE: Final = "\n"
_BEGIN: Final = f'{{"schema":[{SCHEMA[0]},{SCHEMA[1]}]'
_PLAIN: Final = frozenset({int, str, bool, type(None)})


class _Form(Generic[T]):
    """How values of a class become members of a JSON object, and how they are checked when they come back.

    Args:
        kind: the class.
        apart: what is written otherwise, besides fields that are no numbers, texts or truth values.
    """

    def __init__(self, kind: type[T], *apart: str) -> None:
        self.kind = kind
        hints = get_type_hints(kind)
        fields: Any = attrs.fields(kind)  # type: ignore[arg-type]
        self.kinds = {field.name: frozenset(_types(hints[field.name])) for field in fields}
        self._plain = [
            (field.name, f',"{field.name}":', field.default)
            for field in fields
            if self.kinds[field.name] <= _PLAIN and field.name not in apart
        ]

    def members(self, value: T) -> str:
        """Return the plain fields that are not as they are by default, with a comma before each.

        The json module takes three times as long, most of it to get going.
        """
        fields = value.__dict__
        found = []
        for name, label, default in self._plain:
            part = fields[name]
            if part is default or part == default:
                continue
            kind = type(part)
            found.append(f"{label}{part if kind is int else quoted(part) if kind is str else _WRITER.encode(part)}")
        return "".join(found)

    def made(self, fields: Mapping[str, Any]) -> T:
        """Return the value; fields of a newer version are left out."""
        kinds = self.kinds
        if not fields.keys() <= kinds.keys():
            fields = {name: part for name, part in fields.items() if name in kinds}
        for name, part in fields.items():
            kind = type(part)
            if kind not in kinds[name] or (kind is int and not 0 <= part < LARGEST):
                raise ValueError("not of its type, or out of range")
        return self.kind(**fields)


def _types(hint: Any) -> tuple[Any, ...]:
    return (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)


_LEDGER: Final = _Form(Ledger, "history", "unknown", "ttl_ms")
_CLAIM: Final = _Form(Claim, "event")
_PARKED: Final = _Form(Parked)
_ACCOUNT: Final = _Form(Account)
_KNOWN: Final = _LEDGER.kinds.keys() - {"unknown"}


def dump_ledger(ledger: Ledger, key: Key | None = None) -> str:
    """Return the ledger as text.

    Args:
        ledger: what to write.
        key: the state's; what it says, and a usual time to live, is left out. ``load_ledger`` needs it again.
    """
    own, claim, history = ledger.context, ledger.claim, ledger.history
    members = [_BEGIN, _LEDGER.members(ledger), ',"context":', _context_text(own, key)]
    if key is None or ledger.ttl_ms != USUAL_TTL_MS:
        members.append(f',"ttl_ms":{ledger.ttl_ms}')
    event = ""
    if claim is not None:
        event = f"{claim.event}\n"
        members.append(f',"claim":{{{_CLAIM.members(claim)[1:]}{_unless_own(claim.context, own, key)}}}')
    if ledger.parked:
        members.append(f',"parked":[{",".join([_parked_text(parked, own, key) for parked in ledger.parked])}]')
    account = ledger.account
    if account is not NO_ACCOUNT and account != NO_ACCOUNT:
        contexts = ",".join(
            ["null" if one is own or one == own else _context_text(one, key) for one in account.contexts]
        )
        members.append(f',"account":{{"contexts":[{contexts}]{_ACCOUNT.members(account)}}}')
    if history:
        members.append(f',"history":{history.count(_LINE)}')
    if ledger.unknown != "{}":
        members.append(f",{ledger.unknown[1:-1]}")
    text = f"{''.join(members)}}}\n{event}{history}"
    _LEDGERS.keep((key, text), ledger)
    return text


def _parked_text(parked: Parked, own: Context, key: Key | None) -> str:
    tried = f',"tried":{_WRITER.encode(parked.tried)}' if parked.tried else ""
    return f"{{{_PARKED.members(parked)[1:]}{tried}{_unless_own(parked.context, own, key)}}}"


def _unless_own(context: Context, own: Context, key: Key | None) -> str:
    return "" if context is own or context == own else f',"context":{_context_text(context, key)}'


def _context_text(context: Context, key: Key | None) -> str:
    reader, article = context.reader, context.article
    whose = f'"sourced_id":{quoted(reader.sourced_id)},'
    if key is None:
        about = _article_text(article, None)
    else:
        about = _article_text(article, key.resource_id)
        if reader.sourced_id == key.reader_sourced_id:
            whose = ""
    return f'{{"reader":{{{whose}"email":{quoted(reader.email)}}},"article":{about}}}'


@lru_cache(maxsize=1024)
def _article_text(article: Activity, known_id: str | None) -> str:
    fields: dict[str, Any] = CONVERTER.unstructure(article)
    if article.resource_id == known_id:
        del fields["resource_id"]
    return _WRITER.encode(fields)


def load_ledger(text: str, key: Key | None = None) -> Ledger:
    """Return the ledger that ``text`` holds.

    Args:
        text: as ``dump_ledger`` has written it.
        key: the state's, where it was written with it.

    Raises:
        CorruptState: it is not a ledger, or one of an incompatible schema.
    """
    ledger = _LEDGERS.get((key, text))
    if ledger is None:
        ledger = _loaded(text, key)
        _LEDGERS.keep((key, text), ledger)
    return ledger


def _loaded(text: str, key: Key | None) -> Ledger:
    try:
        return _read(text, key)
    except CorruptState:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with stored text, the state is left as it is
        kind = type(error).__name__
    # The text holds an address, and so may that error's: only its kind is told, and it is not chained.
    raise CorruptState(f"the stored ledger cannot be read ({kind})")


def _read(text: str, key: Key | None) -> Ledger:
    if not text.endswith(_LINE):
        raise ValueError("cut off")
    first, _, rest = text.partition(_LINE)
    fields = json.loads(first)
    _compatible(*fields.pop("schema"))
    unknown = {name: fields.pop(name) for name in tuple(fields) if name not in _KNOWN}
    if unknown:
        fields["unknown"] = json.dumps(unknown, separators=(",", ":"))
    if key is not None:
        fields.setdefault("ttl_ms", USUAL_TTL_MS)
    fields["context"] = own = _context(fields["context"], key)
    claim = fields.get("claim")
    if claim is not None:
        event, _, rest = rest.partition(_LINE)
        # An event that cannot be sent would fail every envelope that it is put in.
        if json.loads(event)["id"] != claim["event_id"]:
            raise ValueError("the claim holds another event")
        check_sendable(event)
        fields["claim"] = _ranged(_CLAIM.made({**claim, "event": event, "context": _built_from(claim, own, key)}))
    if "parked" in fields:
        fields["parked"] = tuple([_parked(parked, own, key) for parked in _listed(fields["parked"])])
    if "account" in fields:
        fields["account"] = _account(fields["account"], own, key)
    count = fields.get("history", 0)
    if type(count) is not int or count != rest.count(_LINE) or not is_history(rest):
        raise ValueError("another history")
    fields["history"] = rest
    if fields.get("duration_ms") == 0:  # which a depth is divided by
        raise ValueError("no duration")
    return _LEDGER.made(fields)


def _account(fields: Mapping[str, Any], own: Context, key: Key | None) -> Account:
    contexts = [own if one is None else _context(one, key) for one in _listed(fields.get("contexts", []))]
    account = _ACCOUNT.made({**fields, "contexts": tuple(contexts)})
    if not are_cuts(account.cuts):
        raise ValueError("no cut points")
    return account


def _parked(fields: Mapping[str, Any], own: Context, key: Key | None) -> Parked:
    tried = _listed(fields.get("tried", []))
    if not all(type(one) is str for one in tried):
        raise TypeError("not texts")
    return _ranged(_PARKED.made({**fields, "tried": tuple(tried), "context": _built_from(fields, own, key)}))


def _ranged(of_event: E) -> E:
    if not of_event.start_ms < of_event.end_ms:
        raise ValueError("no range")
    return of_event


def _built_from(fields: Mapping[str, Any], own: Context, key: Key | None) -> Context:
    return _context(fields["context"], key) if "context" in fields else own


def _context(fields: Any, key: Key | None) -> Context:
    reader, article = fields["reader"], fields["article"]
    if key is not None:
        reader.setdefault("sourced_id", key.reader_sourced_id)
        article.setdefault("resource_id", key.resource_id)
    return Context(Reader(reader["sourced_id"], reader["email"]), CONVERTER.structure(article, Activity))


def _listed(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("not a list")
    return value


def _compatible(major: object, minor: object) -> None:
    if type(major) is not int or type(minor) is not int:
        raise TypeError("not a schema")
    if major != SCHEMA[0]:
        run = "run a newer version" if major > SCHEMA[0] else "it was written before the first release"
        raise CorruptState(f"it has schema {major}.{minor}, this version reads {SCHEMA[0]}.x: {run}")
