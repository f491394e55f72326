"""Scenes play beside one another, each on a stage of its own, because they mostly wait; each is a test of its own.

Browsers, and machines that play five scenes at once, have their moments: a scene that fails is played again, which is
told at the end. What fails twice fails; and so does whatever fails after ``MOMENTS`` others, for that is no chance.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.browser.devtools import CHROMIUM, need
from tests.browser.framework_hosts import DjangoHost, FlaskHost
from tests.browser.hosts import PlainHost
from tests.browser.stage import Stage

AT_ONCE = 5  # more would make two cores late
MOMENTS = 3
HOSTS = {"plain": PlainHost, "flask": FlaskHost, "django": DjangoHost}
#: The plain host's pages in other engines than Chromium.
OTHERS = {"firefox": PlainHost, "webkit": PlainHost}
FIGURES = pytest.StashKey[list]()
SPOILED = pytest.StashKey[list]()


def pytest_generate_tests(metafunc):
    """A scene plays on every host, or on those that it names."""
    if "host" in metafunc.fixturenames:
        metafunc.parametrize("host", metafunc.function.hosts or HOSTS)


@pytest.fixture(scope="session")
def playing(request, tmp_path_factory):
    """Starts every selected scene, and gives the one that a test stands for."""
    need(CHROMIUM, "chromium")
    figures = request.config.stash.setdefault(FIGURES, [])

    def play(scene, name, host, home):
        with Stage(scene.__name__.removeprefix("test_"), host, home, name) as stage:
            scene(stage)
        figures.extend((name, figure) for figure in stage.figures)

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scene")
    selected = [
        (item.function.scene, item.callspec.params["host"])
        for item in request.session.items
        if hasattr(getattr(item, "function", None), "scene")
    ]
    # Hosts are made here and before any scene plays, because frameworks do not like to be set up in several threads:
    # Flask parses code, which Python 3.11 cannot do in two of them at once.
    scenes = [(scene, name, (HOSTS | OTHERS)[name](), tmp_path_factory.mktemp("browser")) for scene, name in selected]
    played = {(scene, name): pool.submit(play, scene, name, host, home) for scene, name, host, home in scenes}
    spoiled = request.config.stash.setdefault(SPOILED, [])

    def outcome(scene, name):
        again = lambda: play(scene, name, (HOSTS | OTHERS)[name](), tmp_path_factory.mktemp("browser"))  # noqa: E731
        return twice(played[scene, name].result, again, f"{scene.__name__}[{name}]", spoiled)

    yield outcome
    pool.shutdown(cancel_futures=True)


def twice(play, again, name, spoiled):
    """Play a scene, and once more where it fails and no more than ``MOMENTS`` have before it; note which did."""
    try:
        return play()
    except Exception as error:
        if len(spoiled) >= MOMENTS:
            raise
        spoiled.append((name, error))
    return again()


def pytest_terminal_summary(terminalreporter, config):
    """Show what each scene came to, and which were played again."""
    for name, error in config.stash.get(SPOILED, []):
        terminalreporter.section(f"played again: {name}")
        terminalreporter.write_line(str(error))
    figures = sorted(config.stash.get(FIGURES, []))
    if figures:
        terminalreporter.section("reading time: true and reported seconds, and seconds between reading and not")
        for host, (scene, true, reported, between) in figures:
            terminalreporter.write_line(f"{host:8}{scene:60}{true:10.3f}{reported:10.3f}{between:8.3f}")
