"""How scripts are sent on one connection: alone, or many in one go before their answers are read."""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError, ResponseError

from caliper_readtime.stores._redis.driver_errors import role_changed

try:
    # The driver uses it, too, where it is installed. A name that type checkers need not know.
    pack_command: Callable[[tuple[Any, ...]], bytes] | None = import_module("hiredis").pack_command
except ImportError:
    pack_command = None

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._rules.state import Key
    from caliper_readtime.stores._redis.scripts import Script

#: Calls that are sent in one go before their answers are read.
PIPELINE: Final = 500

#: A script, its keys, its arguments, and the state that it is about, if it is about one.
Call = tuple["Script", "Sequence[str]", "Sequence[Any]", "Key | None"]
#: Commands that an answer of Redis' own waits for: (name, arguments...), on the connection that wrote.
Waits = tuple[tuple[Any, ...], ...]
#: What a script answered, or the ``StoreError`` in its place; and what each of the waits behind it said.
Reply = tuple[Any, "Sequence[Any]"]


def _answer(connection: Any) -> Any:
    """Return an answer; an error of one command stands for its own."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def evaluated(client: Any, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run a script by a client; a server that has forgotten it is told its text."""
    try:
        return client.execute_command("EVALSHA", script.digest, len(keys), *keys, *args)
    except NoScriptError:
        return client.execute_command("EVAL", script.text, len(keys), *keys, *args)


def pipelined(client: Any, calls: Sequence[Call], waits: Waits) -> list[Reply]:
    """Run scripts, and then the waits, on one connection; an error may stand for an answer.

    Raises:
        RedisError: the server's role has changed, or it does not answer.
    """
    unknown: set[Script] = set()
    while True:
        pipeline = client.pipeline(transaction=False)
        missing = set(unknown)
        for script, keys, args, _ in calls:
            how = ("EVAL", script.text) if script in missing else ("EVALSHA", script.digest)
            missing.discard(script)
            pipeline.execute_command(*how, len(keys), *keys, *args)
        for command in waits:
            pipeline.execute_command(*command)
        found: list[Any] = pipeline.execute(raise_on_error=False)
        for answer in found:
            if role_changed(answer):
                raise answer
        forgotten = {
            call[0] for call, answer in zip(calls, found, strict=False) if isinstance(answer, NoScriptError)
        } - unknown
        if not forgotten:
            acknowledged = found[len(calls) :]
            return [(answer, acknowledged) for answer in found[: len(calls)]]
        # All of it again, on one connection: scripts are idempotent, and what has to wait waits for all of them.
        unknown |= forgotten


def in_one_go(connection: Any, calls: Sequence[Call], waits: Waits) -> list[Reply] | None:
    """Do on a connection what ``pipelined`` does by a client, in a third of its time.

    Returns:
        None where it has to be done that way after all.

    Raises:
        RedisError: the server does not answer.
    """
    commands = [
        packed(connection, ("EVALSHA", script.digest, len(keys), *keys, *args)) for script, keys, args, _ in calls
    ]
    commands += [packed(connection, command) for command in waits]
    connection.send_packed_command((b"".join(chain.from_iterable(commands)),))
    found = [_answer(connection) for _ in commands]
    if any(isinstance(answer, NoScriptError) or role_changed(answer) for answer in found):
        return None
    acknowledged = found[len(calls) :]
    return [(answer, acknowledged) for answer in found[: len(calls)]]


def packed(connection: Any, words: tuple[Any, ...]) -> Any:
    """Return a command as Redis wants to hear it. The driver packs with hiredis, too, but takes three times as long."""
    return connection.pack_command(*words) if pack_command is None else (pack_command(words),)
