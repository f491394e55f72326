"""Which line of the host's own code is executing."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import CodeType, FrameType

_OURS: Final = str(Path(__file__).parents[2])
_OTHERS: Final = tuple(
    {_OURS, *(path for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name)))}
)
_PACKAGES: Final = ("site-packages", "dist-packages")


def hosts_line() -> tuple[str, int, str] | None:
    """Return file, line and function of the innermost frame that is the host's own; None where none is."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as the inspect module does
    while frame is not None and not _is_hosts(frame.f_code):
        frame = frame.f_back
    return None if frame is None else (_shown(frame.f_code.co_filename), frame.f_lineno, frame.f_code.co_qualname)


def _is_hosts(code: CodeType) -> bool:
    name = code.co_filename
    return not (name.startswith((*_OTHERS, "<")) or any(part in Path(name).parts for part in _PACKAGES))


def _shown(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else name
