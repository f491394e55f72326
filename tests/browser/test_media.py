"""Of a video or audio its play time counts, and how much of it was played; in each engine, a tone made here."""

from __future__ import annotations

from tests.browser.media import GIVEN_SECONDS, TONE_SECONDS
from tests.browser.stage import JITTER, TICK, scene_of_engines, scene_of_the_script

FILM = "document.querySelector('#film')"
PLAYS = f"!{FILM}.paused && !{FILM}.seeking && {FILM}.played.length"
STUCK_SECONDS = 20.0


def opened(stage, engine=None, **options):
    """A page with a tone that is ready to play, and does not."""
    query = "".join(f"&{name}={value}" for name, value in options.items())
    tab = (engine or stage.engine()).tab(stage.site(f"/media/leaves?media=%23film{query}"))
    tab.until(f"{FILM}.readyState > 2")
    return tab


def finish(stage, tab, *, at_least=0, **allowed):
    """Wait for what is told where it stands, and judge."""
    stage.site.until_heard(lambda heard: heard.message.get("l") and heard.message["t"] > at_least, "a leave")
    stage.judge(**allowed)


def plays(tab):
    """Have it play."""
    tab.engine.moving(lambda: (tab.run(f"{FILM}.play() && 0"), tab.until(PLAYS)))


def plays_at(rate, stage, **options):
    """A page with a tone that plays at a rate. WebKit's player does not always begin then, and a new page's may."""

    def begun():
        tab.run(f"({FILM}.playbackRate = {rate}, {FILM}.play()) && 0")
        return tab.comes(PLAYS, STUCK_SECONDS)

    tab = opened(stage, **options)
    for _ in range(3):
        if tab.engine.moving(begun):
            return tab
        tab.close()
        tab = opened(stage, tab.engine, **options)
    raise AssertionError("the tone never began")


def stands(tab, act=f"{FILM}.pause()"):
    """Do something after which it does not."""
    tab.engine.moving(lambda: (tab.run(f"({act}, 0)"), tab.until(f"{FILM}.paused")))


@scene_of_engines
def test_media_played(stage):
    """Play time counts: not the time before, nor a pause, nor what comes after it."""
    tab = opened(stage)
    stage.pass_by(2)
    plays(tab)
    stage.read(2)
    stands(tab)
    stage.pass_by(2)
    plays(tab)
    stage.read(1.5)
    stands(tab)
    stage.pass_by(1)
    finish(stage, tab, at_least=3000)


@scene_of_engines
def test_media_twice_as_fast(stage):
    """Seconds are the viewer's: four of them at rate 2 are four, and what is played are the medium's own."""
    tab = plays_at(2, stage)
    stage.read(4)
    played = tab.run(f"{FILM}.currentTime")  # eight, where the machine keeps up
    assert played > stage.true
    # As it plays: at this rate WebKit's player does not pause when it is told to.
    untold = stage.close(tab, lambda heard: heard.message["t"] > 2000)
    finish(stage, tab, at_least=2000, less=JITTER + untold)
    off = 0.5 + 2 * (stage.between() + untold + TICK / 2)  # a busy machine's player says seldom where it is
    assert abs(max(heard.message["p"] for heard in stage.site.heard) * TONE_SECONDS - played) < off


@scene_of_engines
def test_media_jump_to_the_end(stage):
    """Whoever jumps to the end has not watched: nothing is completed."""
    tab = opened(stage, depth=0.9)
    plays(tab)
    stage.read(1)
    tab.run(f"({FILM}.currentTime = {TONE_SECONDS} - 0.5, 0)")
    stage.read_until(lambda: tab.until(f"{FILM}.ended"))
    stage.pass_by(1.5)
    finish(stage, tab, less=JITTER + stage.true - 1)
    assert not any(heard.message.get("c") for heard in stage.site.heard)


@scene_of_engines
def test_media_played_through(stage):
    """Whoever plays all of it, at whatever rate, has completed it, and is told so at once."""
    tab = plays_at(4, stage, depth=0.9)
    stage.read_until(lambda: tab.until(f"{FILM}.ended"))
    stage.site.until_heard(lambda heard: heard.message.get("c"), "a completion")
    finish(stage, tab)


def test_media_that_waits(stage):
    """What waits for data does not count. (WebKit's player here gives up what does not come.)"""
    tab = opened(stage, src="/endless.wav")
    plays(tab)
    stage.read_until(lambda: tab.until(f"{FILM}.currentTime > {GIVEN_SECONDS / 2}"))
    stage.pass_by(GIVEN_SECONDS + 2)
    played = tab.run(f"{FILM}.currentTime")
    assert played < TONE_SECONDS / 2
    finish(stage, tab, true=played, more=TICK + JITTER)  # a busy Firefox is slow to say that it waits


test_media_that_waits = scene_of_engines(test_media_that_waits, hosts=("plain", "firefox"))


@scene_of_the_script
def test_media_seeks(stage):
    """Seeking again and again, as a key that is held down does, sends no more than a signal a second."""
    tab = opened(stage)
    plays(tab)
    tab.run(
        f"""new Promise((done) => {{
        const begun = performance.now();
        const real = navigator.sendBeacon.bind(navigator);
        let seeks = 0;
        window.sent = 0;
        navigator.sendBeacon = (...said) => real(...said, sent++);
        {FILM}.addEventListener("seeked", () => {{
          if (++seeks < 60) setTimeout(seek, 20);
          else done(window.took = (performance.now() - begun) / 1000);
        }});
        const seek = () => {FILM}.currentTime += 0.01;
        seek();
        }})"""
    )
    assert tab.run("sent") <= tab.run("took") + 1
    tab.close()
    stage.site.until_left()


@scene_of_the_script
def test_short_play(stage):
    """What was played for less than a second arrives as the page is left, where nothing else tells it."""
    page = stage.browser().page(stage.article(media="video"), before="delete window.fetchLater")
    page.tell("readtime.playing(true)")
    stage.read(0.5)
    page.tell("readtime.playing(false)")
    stage.pass_by(0.5)
    page.close()
    stage.site.until_left()
    stage.judge()


@scene_of_engines
def test_media_removed(stage):
    """A medium that leaves the page without a word counts no longer."""
    tab = opened(stage)
    plays(tab)
    stage.read(2)
    tab.engine.moving(lambda: tab.run(f"({FILM}.remove(), 0)"))
    stage.pass_by(2)
    finish(stage, tab, more=TICK + JITTER)


@scene_of_the_script
def test_media_loaded_twice(stage):
    """A part that a swapped body brings again tells everything once."""
    page = opened(stage).page
    page.run(
        "new Promise((done) => document.body.append(Object.assign(document.createElement('script'),"
        " { src: '/readtime-media.min.js', onload: done })))"
    )
    told = "{ let told = 0; readtime.playing = () => told++;"
    assert page.run(f"{told} {FILM}.dispatchEvent(new Event('seeked')); told; }}") == 1
    page.close()
