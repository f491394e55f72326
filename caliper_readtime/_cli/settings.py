"""The settings as flags, and the tracker that flags and environment describe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from caliper_readtime import _settings
from caliper_readtime._cli.session import USAGE, CommandError
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.stores._sqlite.encoding import path_of

if TYPE_CHECKING:
    import argparse

_SECRET_WORDS: Final = ("password", "secret", "token", "key", "signature")
#: Settings that have a flag. Secrets have none: other people on a machine can read a command's arguments. Nor have the
#: policy's: every host of one store must have the same.
FLAGS: Final = tuple(
    setting.name
    for setting in _settings.TABLE.values()
    if not setting.secret and setting.group not in ("web", "policy")
)
#: How a setting is called among a command's parsed arguments.
PREFIX: Final = "setting_"
#: Of those that are not required.
_HELP: Final = {
    "activity_ids": "uri (the default), or plain for endpoints that want the resource id as it is",
    "app_id": "this application's URL in the event's object.app",
    "batch_bytes": "most bytes in one envelope",
    "batch_events": "most events in one envelope",
    "ca_bundle": "a file of CA certificates, where a private CA has signed the endpoint's",
    "claim_fsync": "Redis: true where a claim must be on its disk before its event is sent",
    "claim_replicas": "Redis: how many replicas must have a claim before its event is sent",
    "client_id": "OAuth2 client id",
    "client_secret_file": "a file that holds the OAuth2 client secret alone",
    "duplicate_answers": "dotted path of a function that tells by status and text whether the endpoint has the event",
    "ed_app": "this application's URL as the event's edApp (none)",
    "emitter": "dotted path of an emitter, in place of --endpoint",
    "namespace": "Redis: what every key begins with (readtime)",
    "on_report": "dotted path of a function that is called with each report",
    "read_back": "true where the endpoint can be asked for an event before it is sent again",
    "scope": "OAuth2 scope",
    "shards": "Redis: over how many hash slots readers are spread (16)",
    "store": "dotted path of a store, in place of --store-url",
    "timeout_seconds": "how long the endpoint may take to answer",
    "token_url": "the OAuth2 token URL",
    "trust_env": "true where HTTPS_PROXY, REQUESTS_CA_BUNDLE and their like count",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting that is no secret."""
    group = parser.add_argument_group(
        "settings", f"each instead of the environment variable of its name, {_settings.PREFIX}STORE_URL and so on"
    )
    for name in FLAGS:
        # A percent sign in a help text would be taken for a format.
        what = (_settings.REQUIRED.get(name) or _HELP.get(name, "")).replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", dest=f"{PREFIX}{name}", metavar="VALUE", help=what)


def tracker_of(arguments: argparse.Namespace, *, sends: bool) -> ReadTimeTracker:
    """Return the tracker that flags and environment describe; the caller closes it.

    Args:
        arguments: the parsed command line.
        sends: whether the command sends; one that only looks needs no endpoint.

    Raises:
        ConfigurationError: settings are missing, unknown or wrong.
        StoreUnavailable: the store cannot be opened.
        CommandError: a flag holds a secret.
    """
    given = {name: getattr(arguments, f"{PREFIX}{name}", None) for name in FLAGS}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in overrides.items():
        _check_no_secret(name, value)
    _check_file(overrides.get("store_url") or os.environ.get(f"{_settings.PREFIX}STORE_URL", ""))
    if not sends:
        overrides["emitter"] = None
    return ReadTimeTracker.from_env(**overrides)


def _check_no_secret(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        named = {key.lower() for key, _ in parse_qsl(parts.query)}
        secret = parts.password is not None or any(word in key for key in named for word in _SECRET_WORDS)
    except ValueError:
        return  # no URL at all; whoever needs one will say so
    if secret:
        raise CommandError(
            f"--{name.replace('_', '-')} holds a secret, which others on this machine could read: set"
            f" {_settings.variable(name)} in the environment instead",
            USAGE,
        )


def _check_file(url: str) -> None:
    """Refuse a file that is not there: a mistyped path would be made, and would look like a store with nothing due."""
    if url.startswith("sqlite:///"):
        path = Path(path_of(url))
        if not path.exists():
            raise ConfigurationError(
                f"{_settings.PREFIX}STORE_URL: there is no file {path}: correct the path,"
                " or let the application make it"
            )
