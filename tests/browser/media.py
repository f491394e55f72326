"""Pages of the plain host with something to play: a silent tone, made here, whole or with an end that never comes."""

from __future__ import annotations

import wave
from functools import cache
from io import BytesIO
from threading import Event

TONE_SECONDS = 20
#: How much of the tone comes where the rest never does.
GIVEN_SECONDS = 3
FILES = ("tone.wav", "endless.wav")
_RATE, _FRAME = 96_000, 2  # per second; bytes
PAGE = """<!doctype html><title>{slug}</title>
<audio id="film" muted preload="auto" src="{src}"></audio>
{script}<script defer src="/readtime-media.min.js"></script>"""


@cache
def tone():
    """A silent WAV file."""
    file = BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(_FRAME)
        sound.setframerate(_RATE)
        sound.writeframes(bytes(TONE_SECONDS * _RATE * _FRAME))
    return file.getvalue()


def answer(name, environ, start_response):
    """Send the tone: a range of it, as browsers ask for it when they seek, or its first seconds and then nothing."""
    body = tone()
    headers = [("Content-Type", "audio/wav"), ("Accept-Ranges", "bytes")]
    if name == "endless.wav":
        start_response("200 OK", [*headers[:1], ("Content-Length", str(len(body)))])
        return _never_ending(body[: GIVEN_SECONDS * _RATE * _FRAME])
    first, _, last = environ.get("HTTP_RANGE", "").removeprefix("bytes=").partition("-")
    if not first:
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]
    part = body[int(first) : int(last or len(body)) + 1]
    span = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
    start_response("206 Partial Content", [*headers, ("Content-Range", span), ("Content-Length", str(len(part)))])
    return [part]


def _never_ending(body):
    yield body
    Event().wait(30)  # longer than any scene looks at it
