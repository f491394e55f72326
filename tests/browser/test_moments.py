"""A scene has a second chance, and a run has few of them."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MOMENTS, twice


class Late(Exception):
    """What a busy machine does to a scene."""


def failing(times, log):
    """A play that fails so often, then comes to its figure."""

    def play():
        log.append("played")
        if len(log) <= times:
            raise Late(len(log))
        return "figure"

    return play


@pytest.mark.parametrize(("times", "played"), [(0, 1), (1, 2)])
def test_played_again(times, played):
    """A scene that failed once counts for what it comes to when it is played again, and is named."""
    log, spoiled = [], []
    play = failing(times, log)
    assert twice(play, play, "scene", spoiled) == "figure"
    assert len(log) == played
    assert [(name, str(error)) for name, error in spoiled] == [("scene", "1")] * times


def test_fails_twice():
    """A scene that fails again has failed, with the second failure."""
    log, spoiled = [], []
    play = failing(9, log)
    with pytest.raises(Late, match="2"):
        twice(play, play, "scene", spoiled)
    assert len(spoiled) == 1


def test_too_many():
    """When as many scenes have failed as chance explains, the next one fails at once."""
    log, spoiled = [], [("scene", Late())] * MOMENTS
    play = failing(1, log)
    with pytest.raises(Late):
        twice(play, play, "scene", spoiled)
    assert len(log) == 1
