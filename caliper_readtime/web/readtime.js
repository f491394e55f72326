// Reading time of one article page: adds up the time in which it is seen and sends the running total,
// so that no single message matters. Options, and why so: the documentation, Reference and Explanation.
// readtime.mjs and readtime.min.js are built from this file: python -m tests.browser.build
var readtime = readtime || (() => {
  const LEASE = "readtime";
  const PREFIX = LEASE + ":"; // of our records in localStorage, one for each view
  const TICK = 1000; // all times in milliseconds
  const GAP = 5000; // a longer gap between two looks at the clock was sleep, a lock screen or a stopped process
  const LEASE_RENEW = 2000; // seldom: what two windows write at once is one's
  const LEASE_END = 4000; // with a tick on top, another tab steps in within 5 s
  const ANSWER = 8000;
  const MAX_WAIT = 60000;
  const KEEP = 7 * 86400; // seconds by how much a record's ticket may be older than this page's
  const MOST = 50; // records
  const YOUNG = 1500;
  const MIN_IDLE = 120000; // a shorter limit takes slow readers for absent ones
  const LINE = 50; // pixels from one line to the next, by which depth is measured
  const STEADY = 3; // ticks for which an article has to keep its height before its depth counts

  const tags = document.currentScript ? document.scripts : []; // the module form starts nothing by itself
  const known = {}; // tickets of tags, and reasons of refusals that were told

  // A tag's own properties: `was`, the ticket with which it came into the document, and `home`, the path at which.
  let id; // of the view, while there is one; in memory only: a duplicated or restored tab is another view
  let last; // look at the clock
  let options = {};
  let total; // time seen so far
  let left; // how much of the total the last leave carried
  let acked; // how much of it an answer has acknowledged
  let sent; // how much of it the last beat carried
  let wait; // for how much more the next one is due
  let position; // the part of the article that was on screen, 0 to 1
  let owed; // a view has ended by itself, and its host may not have said stop() yet
  let completed; // true: to be told, false: told
  let pressed; // something, since the view began: a path that changes now is the reader's doing
  let steady, lines, part, height; // of the article: what of it was on screen, and its element
  let looking = 0; // the element that is asked about and not answered yet
  let url, ticket, begun, idle, heartbeat;
  let inView, counting, timer, caughtUp, later, beating, tagged;
  let back; // spent tickets count again: the path was reached through history, or has not changed
  let path = location.pathname;
  let held; // by what has to play, and does not
  let input; // the last sign of the reader

  const now = () => performance.now();
  const young = () => now() < begun + YOUNG;

  // Storage may be full, blocked, broken or missing; reading goes on without it.
  let items = {};
  const write = (key, value) => {
    try {
      if (value) items[key] = value;
      else delete items[key];
    } catch {}
  };

  // An object when the server has the message, false when it never wants it, nothing when it is worth another try.
  const post = async (to, body, keepalive) => {
    try {
      // Filters, portals and login pages answer too: an answer is ours when it says so.
      const answer = await fetch(to, {
        method: "POST",
        body,
        keepalive,
        redirect: "error",
        signal: AbortSignal.timeout?.(ANSWER),
      });
      if (answer.status == 204) return {};
      const said = await answer.json();
      if (said.rt && said.error) known[said.error] ||= !console.warn(PREFIX, said.error, said.do);
      if (said.rt == 1) return answer.ok && said; // otherwise it is ours, and not the last word
    } catch {}
  };

  // Send what earlier views (crashed, offline, killed) could not, the newest first, each by itself.
  const catchUp = () => {
    const left = [];
    for (const key in items)
      try {
        if (key.startsWith(PREFIX) && key != PREFIX + id) left.push([key, items[key], ...JSON.parse(items[key])]);
      } catch {
        write(key); // no record
      }
    left
      .sort((one, other) => other[4] - one[4])
      .forEach(async ([key, text, to, body, opened], rank) => {
        // Tickets have the server's time; what the device takes for the time decides nothing.
        const done = rank >= MOST || options.opened - opened > KEEP || (await post(to, body)) != undefined;
        if (done && items[key] == text) write(key);
      });
  };

  const reach = (at) => {
    if (at > position) position = Math.min(at, 1);
  };

  // What of the article is on screen, once a tick: lines that were jumped over were not read. What is clipped by a
  // frame, or out of sight with it, is not on screen.
  const eye = new IntersectionObserver((seen) => {
    const { target, boundingClientRect: box, intersectionRect: shown } = seen.pop();
    looking = 0;
    // The box of a document of "height: 100%" stays behind when it scrolls, and then says nothing.
    inView = top == self || shown.height || (!options.article && 0 > box.bottom);
    look();
    // What is scaled has the height of its box, but what flows over has its own.
    steady =
      height == (height = Math.max(target.scrollHeight > target.clientHeight && target.scrollHeight, box.height))
        ? steady + 1
        : 0;
    if (!counting || options.media) return;
    let line = Math.ceil((shown.top - box.top) / LINE);
    while (line < (shown.bottom - box.top) / LINE) lines.add(line++);
    if (steady >= STEADY) reach(lines.size / Math.ceil(height / LINE));
  });

  const see = () => {
    if (looking == part) return; // a busy browser answers late
    eye.disconnect();
    part ||= document.querySelector(options.article || "html");
    // A document whose body is positioned has no height, and one that is being read has no body.
    if (part) eye.observe((!(looking = part).offsetHeight && !options.article && document.body) || part);
    else inView = true;
  };

  const message = (l) => {
    if (completed == undefined && (position >= (+options.depth || Infinity) || total >= (options.dwell * 1000 || Infinity))) {
      completed = true;
      sent = -Infinity; // a beat is due
    }
    return JSON.stringify({ s: 1, k: ticket, v: id, t: total | 0, b: acked | 0, p: position, c: completed, l });
  };

  // Where the browser has fetchLater, it sends the newest total even for a page that crashes. The one before is given
  // up last, for a page may crash here, too; or first, where there is no room for two.
  const register = (body, before = later) => {
    later = new AbortController();
    try {
      if (body) fetchLater(url, { method: "POST", body, signal: later.signal });
      before?.abort();
    } catch {
      if (before) register(body, (later = before.abort()));
    }
  };

  const save = () => {
    const body = message(true);
    const keep = completed || total > acked; // of what a beat sends, too
    write(PREFIX + id, keep && JSON.stringify([url, body, options.opened + ""]));
    register(keep && body);
    return body;
  };

  const beat = async () => {
    if (beating || !id || !(completed || total > acked)) return;
    const body = message();
    const view = id;
    const tells = completed;
    const reached = (sent = total);
    beating = true;
    const answer = await post(url, body);
    beating = false;
    if (view != id) return;
    if (answer) {
      acked = reached;
      if (tells) completed = false;
      ticket = answer.k || ticket;
      wait = heartbeat;
    } else wait = Math.min(wait * 2, MAX_WAIT);
    if (answer == false) counting = total = completed = false; // nothing is to be kept
    save();
    if (answer == false) end();
  };

  const leave = () => {
    const body = save();
    left = total;
    try {
      if (navigator.sendBeacon(url, body)) return register();
    } catch {}
    post(url, body, true); // beacons may be blocked, or too many
  };

  // Take: the reader has turned to this page (true), or it goes away (false).
  const look = (take) => {
    const passed = -last + Math.min((last = now()), input + idle);
    if (counting && passed > 0) total += passed <= GAP ? passed : TICK;
    if (take) input = last;
    const shown = id && !document.hidden && take != false; // prerendered pages are hidden, too
    // Of all tabs and windows only the one used last counts; without storage each does.
    let owner, date;
    try {
      items = localStorage;
      [owner, date] = (items[LEASE] + "").split(" ");
    } catch {
      items = {};
    }
    const age = Math.abs(Date.now() - date);
    counting = shown && inView && !held && last < input + idle && (take || owner == id || !(age < LEASE_END));
    if (counting) {
      if (owner != id || age > LEASE_RENEW) write(LEASE, id + " " + Date.now());
    } else {
      if (owner == id) write(LEASE);
      if (total - left > (shown && TICK)) leave(); // what stops and goes on all the time tells it now and then
    }
    timer = shown ? timer || setInterval(tick, TICK) : clearInterval(timer);
    if (shown) caughtUp ||= !catchUp();
  };

  const tick = () => {
    sync();
    if (!id) return;
    see();
    look();
    save();
    if (total - sent >= wait) beat();
  };

  const touch = (at) => {
    reach(at); // of events nothing
    look(true);
  };

  // What plays is a sign of the reader, and takes nothing from another window.
  const playing = (plays, at) => {
    if (!options.media) return;
    reach(at);
    held = !plays;
    look();
    input = last;
  };

  const end = () => {
    register(); // what has been left
    id = part = later = look(false); // nothing; a leave that no beacon took stays registered
  };

  const start = (wanted) => {
    if (!wanted.ticket || !wanted.url) throw TypeError("no ticket or url");
    if (id && wanted.ticket == options.ticket) return;
    end();
    options = { ...wanted };
    idle = wanted.idle > 0 ? Math.max(wanted.idle * 1000, MIN_IDLE) : Infinity;
    ticket = wanted.ticket;
    heartbeat = wait = wanted.heartbeat * 1000 || 10000;
    position = acked = sent = total = steady = left = pressed = 0;
    inView = top == self; // in a frame it has to be seen first
    see(); // a wrong selector is told at once
    tagged = completed = caughtUp = undefined;
    lines = new Set();
    begun = now();
    held = wanted.media; // until it plays
    url = new URL(wanted.url, document.baseURI);
    id = Date.now() + "" + Math.random(); // which pages may have seeded
    look(true);
  };

  // A view ends when its tag or its article leaves the document, or the path changes; a tag that comes begins one.
  // A young one is left alone by what was meant for the one before, for many pages change the path after the article;
  // but not once its reader has pressed something, or has gone back or forward.
  const sync = (event) => {
    let there = !tagged;
    let next;
    const moved = path != (path = location.pathname);
    if (moved && (back = event?.navigationType == "traverse")) pressed = true;
    for (const tag of tags) {
      const { ticket } = tag.dataset;
      if (!ticket) continue;
      const mine = options.ticket == ticket;
      there ||= mine;
      const came = tag.was != ticket; // or was given another one: morphs and frameworks change tags in place
      // What comes with a spent ticket is a preview or a snapshot, but where the reader went back or has not moved.
      if (came ? back || !known[ticket] : moved && tag.home == path) next = tag.dataset;
      if (came || (mine && !pressed && young())) tag.home = path;
      known[ticket] = tag.was = ticket;
    }
    if (id && (((pressed || !young()) && moved) || !there || part?.isConnected == false)) {
      end();
      owed = true;
      back ||= !moved;
    }
    if (next) {
      start(next);
      tagged = true;
    }
  };

  const stop = () => {
    if (!owed || !young()) end();
    owed = false;
  };

  // Capturing on the window hears what happens to the document, and is the first to hear it.
  const hear = (types, listener) =>
    types.split(" ").forEach((type) => addEventListener(type, listener, true));

  // What people do, and pages that come into view; carousels scroll too.
  hear("selectionchange pointerdown keydown focus wheel pointermove beforeinput resize pageshow visibilitychange", touch);
  hear("freeze pagehide", () => look(false));
  hear("storage", () => look());
  hear("online", () => {
    beat();
    catchUp();
  });
  hear("pointerdown keydown", () => (pressed = true));
  hear("popstate", () => {
    pressed ||= path != location.pathname;
    sync();
    back = true;
  });
  self.navigation?.addEventListener("currententrychange", sync);
  new MutationObserver(sync).observe(document, { childList: true, subtree: true });
  sync();

  return { start, touch, stop, playing };
})();
