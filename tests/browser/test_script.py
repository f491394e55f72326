"""What the script does with its options, with the server's answers, and where a browser withholds something."""

from __future__ import annotations

from urllib.parse import quote

from tests.browser.stage import scene_of_the_script

#: What marks an answer as the endpoint's own.
OURS = '{"error": "ticket_forged", "do": "reload the page", "rt": 1}'


@scene_of_the_script
def test_started_twice(stage):
    """A script that is included or started twice measures once."""
    page = stage.browser().page(stage.article())
    page.run(
        """new Promise((done) => {
        const tag = Object.assign(document.createElement("script"), { src: "/readtime.min.js", onload: done });
        Object.assign(tag.dataset, document.querySelector("script").dataset);
        document.body.append(tag);
        })"""
    )
    page.run("{ const { url, ticket } = document.querySelector('script').dataset; readtime.start({ url, ticket }); }")
    stage.read(2)
    page.close()
    stage.site.until_left()
    assert len({heard.message["v"] for heard in stage.site.heard}) == 1
    stage.judge()


@scene_of_the_script
def test_next_article_of_a_single_page_app(stage):
    """A start with another ticket ends the view before and begins the next one."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(2)
    ticket = stage.site.host.ticket("u1", "volcanoes")
    page.tell(f"readtime.start({{ url: '/signals', ticket: '{ticket}' }})")
    stage.site.until_left()
    first = stage.true
    stage.read(3)
    page.tell("readtime.stop()")
    stage.site.until_heard(lambda heard: heard.message["t"] > 2500)
    stage.pass_by(1.5)
    page.run("readtime.touch(1)")
    page.close()
    browser.quit()
    stage.judge(true=first)
    stage.judge(true=stage.true - first, slug="volcanoes")


@scene_of_the_script
def test_module(stage):
    """The module form starts when it is told to, and puts nothing on the window."""
    page = stage.browser().page(stage.article(module=1))
    assert page.run("window.readtime") is None
    stage.pass_by(1)
    page.tell("reading.start()")
    stage.read(2.5)
    page.run("reading.touch(0.5)")
    page.tell("reading.stop()")
    stage.site.until_left()
    assert stage.site.heard[-1].message["p"] >= 0.5
    stage.judge()


@scene_of_the_script
def test_without_storage_random_ids_and_fetch_later(stage):
    """Where storage throws, and plain http has no randomUUID, reading still counts."""
    page = stage.browser().page(
        stage.article(heartbeat=2),
        before="""
        Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });
        delete Crypto.prototype.randomUUID;
        delete window.fetchLater;
        window.onerror = window.onunhandledrejection = () => { window.failed = true; };
        """,
    )
    stage.read(4)
    assert page.run("window.failed === undefined")
    page.close()
    stage.site.until_left()
    stage.judge()


@scene_of_the_script
def test_in_the_head(stage):
    """A tag in the head that does not wait for the body begins its view all the same."""
    ticket = stage.site.host.ticket("u1", "leaves")
    tag = f'<script src="/readtime.min.js" data-url="/signals" data-ticket="{ticket}"></script><p>Leaves.'
    page = stage.browser().page(stage.site(f"/frames?{quote(tag)}"))
    stage.read(2)
    page.close()
    stage.site.until_left()
    stage.judge()


@scene_of_the_script
def test_storage_breaks(stage):
    """Where storage begins to throw whenever it is asked, as damaged profiles have it, reading goes on counting."""
    page = stage.browser().page(
        stage.article(),
        before="""
        const torn = (act) => (...asked) => {
          if (window.broken) throw Error("NS_ERROR_FILE_CORRUPTED");
          return act(...asked);
        };
        const traps = ["get", "set", "has", "deleteProperty", "ownKeys"].map((name) => [name, torn(Reflect[name])]);
        Object.defineProperty(window, "localStorage", { value: new Proxy({}, Object.fromEntries(traps)) });
        """,
    )
    stage.read(2)
    page.run("window.broken = true")
    stage.read(2)
    page.close()
    stage.site.until_left()
    stage.judge()


@scene_of_the_script
def test_without_beacon(stage):
    """Where the beacon refuses, a fetch that outlives the page carries the leave."""
    page = stage.browser().page(stage.article(), before="Navigator.prototype.sendBeacon = () => false")
    stage.read(2)
    page.close()
    stage.site.until_left()
    stage.judge()


@scene_of_the_script
def test_a_request_for_later_is_always_there(stage):
    """A page may crash at its tick, too: the next request for later is made before the one before is given up."""
    page = stage.browser().page(
        stage.article(),
        before="""
        window.lonely = window.made = 0;
        const real = fetchLater;
        let last;
        window.fetchLater = (url, request) => {
          made++;
          lonely += last?.aborted ? 1 : 0;
          last = request.signal;
          return real(url, request);
        };
        """,
    )
    stage.read(3.5)
    assert page.run("[made > 2, lonely]") == [True, 0]
    page.close()
    stage.site.until_left()
    assert len(stage.site.heard) == 1  # and given up it was
    stage.judge()


#: Counts the requests for later that a page has made and not given up.
PENDING = """
window.pending = 0;
window.unseen = fetchLater;
window.fetchLater = (url, request) => {
  unseen(url, request);
  pending++;
  request.signal.addEventListener("abort", () => pending--);
};
"""
#: How much the only record tells, in milliseconds.
TOLD = "JSON.parse(JSON.parse(Object.entries(localStorage).find(([key]) => key.startsWith('readtime:'))[1])[1]).t"


@scene_of_the_script
def test_views_leave_no_request_for_later(stage):
    """A view that ends while it does not count gives its request for later up: else they would all come at the end."""
    page = stage.browser().page(stage.article(module=1), before=PENDING)
    page.run("import('/readtime.mjs').then((module) => { window.readtime = module; })")
    ticket = stage.site.host.ticket("u1", "leaves")
    page.run(f"readtime.start({{ url: '/signals', ticket: '{ticket}', media: true }})")
    page.tell("readtime.playing(true)")
    stage.read_until(lambda: page.until(f"pending == 1 && {TOLD} > 1500"))
    page.tell("readtime.playing(false)")
    page.until("pending == 1")  # at its tick
    page.tell("readtime.stop()")
    assert page.run("pending") == 0


@scene_of_the_script
def test_no_room_for_two_requests_for_later(stage):
    """Where a page's own requests for later leave room for one of ours only, there is one after every tick."""
    tickets = stage.site.host.tickets
    page = stage.browser().page(stage.article(module=1), before=PENDING)
    page.run("import('/readtime.mjs').then((module) => { window.readtime = module; })")
    short = stage.site.host.ticket("u1", "leaves")
    tickets[short * 30] = tickets[short]  # one of ours is longer than what is kept free for its growth
    page.tell(f"readtime.start({{ url: '/signals', ticket: '{short * 30}', heartbeat: 60 }})")
    stage.read_until(lambda: page.until("pending == 1"))
    page.run(
        """{
        const fill = (size, signal) => unseen("/held", { method: "POST", body: "x".repeat(size), signal });
        const kept = new AbortController();
        fill(9, kept.signal);
        for (let size = 32768; size; size >>= 1) try { for (;;) fill(size); } catch {}
        kept.abort();
        window.counts = new Set();
        setInterval(() => counts.add(pending), 100);
        }"""
    )
    stage.read_until(lambda: page.until(f"{TOLD} > 4000"))
    assert page.run("[...counts]") == [1]
    page.close()
    stage.site.until_left()
    stage.judge()


@scene_of_the_script
def test_pagehide_alone(stage):
    """Where a browser tells of no change of visibility as a page goes away, pagehide does."""
    deaf = "addEventListener('visibilitychange', (event) => event.stopImmediatePropagation(), true);"
    page = stage.browser().page(stage.article(), before=deaf + "delete window.fetchLater")
    stage.read(2)
    page.follow("/plain")
    stage.site.until_left()
    stage.judge()


@scene_of_the_script
def test_refused_for_good(stage):
    """A signal that the server refuses for good ends the view, leaves nothing behind, and is told in the console."""
    page = stage.browser().page(stage.article(heartbeat=1))
    stage.site.fault = ("403 Forbidden", OURS)
    stage.site.until_heard(lambda heard: heard.status == 403)
    stage.read(2)
    page.run("readtime.touch()")
    assert page.run("Object.keys(localStorage).length") == 0
    page.follow("/plain")
    assert len(stage.site.heard) == 1
    said = [call["args"] for call in page.browser.connection.seen("Runtime.consoleAPICalled")]
    assert [[part["value"] for part in parts] for parts in said] == [["readtime:", "ticket_forged", "reload the page"]]


@scene_of_the_script
def test_refusals_are_told_once(stage):
    """What is refused for now is told once, however often it is tried, and the time arrives when it is taken."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=1))
    stage.site.fault = ("503 Service Unavailable", '{"error": "store_unavailable", "do": "wait", "rt": 2}')
    stage.read_until(lambda: stage.site.until(lambda: len(stage.site.heard) > 1, "a second try"))
    stage.site.fault = None
    said = [call["args"][1]["value"] for call in browser.connection.seen("Runtime.consoleAPICalled")]
    assert said == ["store_unavailable"]
    page.close()
    stage.site.until_heard(lambda heard: heard.status == 204)
    browser.quit()
    stage.judge()


@scene_of_the_script
def test_fresh_ticket(stage):
    """A 200 acknowledges, and the ticket that it brings is used from then on."""
    page = stage.browser().page(stage.article(heartbeat=1))
    fresh = stage.site.host.ticket("u1", "leaves")
    stage.site.fault = ("200 OK", f'{{"k": "{fresh}", "rt": 1}}')
    stage.site.until_heard(lambda heard: heard.status == 200)
    stage.site.fault = None
    stage.site.until_heard(lambda heard: heard.status == 204)
    page.close()
    assert stage.site.heard[0].message["k"] != fresh
    assert stage.site.heard[-1].message["k"] == fresh
    assert stage.site.heard[-1].message["b"] >= 900


@scene_of_the_script
def test_dwell(stage):
    """Reading as long as it takes completes the article at once."""
    page = stage.browser().page(stage.article(dwell=2, heartbeat=60))
    stage.site.until_heard(lambda heard: heard.message.get("c") and heard.status == 204)
    assert 2000 <= stage.site.heard[0].message["t"] < 20_000  # a busy page is late, but no beat is due for a minute
    page.close()


@scene_of_the_script
def test_message(stage):
    """A signal is a small text without preflight, and says what the endpoint expects, no more."""
    page = stage.browser().page(stage.article(heartbeat=1))
    stage.site.until_heard(lambda heard: heard.status == 204)
    page.close()
    stage.site.until_left()
    beat, leave = stage.site.heard[0].message, stage.site.heard[-1].message
    assert set(beat) == {"s", "k", "v", "t", "b", "p"}
    assert set(leave) == {"s", "k", "v", "t", "b", "p", "l"}
    assert (beat["s"], beat["b"], leave["l"]) == (1, 0, True)
    assert len(beat["v"]) <= 64
    assert all(type(said[name]) is int for said in (beat, leave) for name in ("t", "b"))
    assert stage.site.kinds == {"text/plain;charset=UTF-8"}


@scene_of_the_script
def test_wrong_options_are_told(stage):
    """A start without ticket, or with a selector that is none, throws before anything begins."""
    page = stage.browser().page(stage.site("/articles/leaves?module=1"))
    tell = "import('/readtime.mjs').then(({{ start }}) => start({})).then(() => 'started', (error) => error.name)"
    assert page.run(tell.format("{ url: '/signals' }")) == "TypeError"
    assert page.run(tell.format("{ url: '/signals', ticket: 'x', article: '<' }")) == "SyntaxError"
    stage.pass_by(2)
    page.follow("/plain")
    assert stage.site.heard == []
