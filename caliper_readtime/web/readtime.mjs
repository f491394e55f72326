// Reading time of one article page: adds up the time in which it is seen and sends the running total,
// so that no single message matters. Options: docs/reference/script.md. Why so: docs/explanation/browser.md.
// readtime.mjs and readtime.min.js are built from this file: python -m tests.browser.build
var readtime = readtime || (() => {
  "use strict";
  const PREFIX = "readtime:"; // of our keys in localStorage: the lease, and one record for each view
  const LEASE = PREFIX + "lease";
  const TICK = 1000; // all times in milliseconds
  const GAP = 5000; // a longer gap between two looks at the clock was sleep, a lock screen or a stopped process
  const LEASE_RENEW = 2000;
  const LEASE_END = 4000; // with a tick on top, another tab steps in within 5 s
  const ANSWER = 8000;
  const MAX_WAIT = 60000;
  const KEEP = 7 * 86400000;
  const MIN_IDLE = 120000; // a shorter limit takes slow readers for absent ones

  let current; // the view of this page, until stop()
  let caughtUp; // other views' records were sent once

  // Storage may be full, blocked or missing; reading goes on without it.
  const storage = (use) => {
    try {
      return use(localStorage);
    } catch {}
  };

  // An object when the server has the message, false when it never wants it, nothing when it is worth another try.
  const post = async (url, body) => {
    const timeout = new AbortController();
    const alarm = setTimeout(() => timeout.abort(), ANSWER);
    try {
      // A redirect leads to a login page, and its 200 is no acknowledgement.
      const answer = await fetch(url, { method: "POST", body, redirect: "error", signal: timeout.signal });
      const { status } = answer;
      if (answer.ok) return status == 200 ? (await answer.json()) || {} : {};
      if (status < 500 && status != 408 && status != 425 && status != 429) return false;
    } catch {
    } finally {
      clearTimeout(alarm);
    }
  };

  // Send what earlier views (crashed, offline, killed) could not, until one has to wait.
  const catchUp = async () => {
    for (const key of storage(Object.keys) || []) {
      if (!key.startsWith(PREFIX) || key == LEASE || (current && key == current.key)) continue;
      const text = storage((items) => items.getItem(key));
      let url, body, date; // of what is no record none, and it goes
      try {
        [url, body, date] = JSON.parse(text);
      } catch {}
      if (Date.now() - date < KEEP && (await post(url, body)) == undefined) return;
      storage((items) => items.getItem(key) == text && items.removeItem(key));
    }
  };

  const open = (options) => {
    const url = new URL(options.url, document.baseURI).href;
    const heartbeat = options.heartbeat > 0 ? options.heartbeat * 1000 : 10000;
    const idle = options.idle > 0 && Math.max(options.idle * 1000, MIN_IDLE);
    const dwell = options.dwell * 1000 || Infinity;
    const depth = +options.depth || Infinity;
    // In memory only: a duplicated or restored tab is another view.
    const id = crypto.getRandomValues(new Uint32Array(3)).join("-");
    const key = PREFIX + id;
    const ears = new AbortController();

    let { ticket } = options;
    let total = 0; // time seen so far
    let acked = 0; // how much of it a 2xx has acknowledged
    let sent = 0; // how much of it the last beat carried
    let wait = heartbeat;
    let position = -1; // the furthest part of the article seen, 0 to 1
    let completed = 0; // 1: to be told, 2: told
    let counting, timer, beating, later, refused;
    let last = performance.now();
    let input = last;

    const settle = () => {
      const now = performance.now();
      if (counting) {
        const passed = (idle ? Math.min(now, input + idle) : now) - last;
        if (passed > 0) total += passed > GAP ? TICK : passed;
      }
      last = now;
    };

    const see = () => {
      const part = options.article ? document.querySelector(options.article) : document.documentElement;
      const box = part && part.getBoundingClientRect();
      if (box && box.height) reach((innerHeight - box.top) / box.height);
    };

    const reach = (at) => {
      position = Math.max(position, Math.round(Math.min(1, at) * 1000) / 1000 || 0);
    };

    const message = (leaving) => {
      see();
      if (!completed && (total >= dwell || position >= depth)) {
        completed = 1;
        sent = -Infinity; // a beat is due
      }
      return JSON.stringify({
        s: 1,
        k: ticket,
        v: id,
        t: Math.floor(total),
        b: acked,
        p: position < 0 ? undefined : position,
        c: completed == 1 || undefined,
        l: leaving,
      });
    };

    const pending = () => !refused && (Math.floor(total) > acked || completed == 1);

    // Where the browser has fetchLater, it sends the newest total even for a page that crashes.
    const register = (body) => {
      if (later) later.abort();
      later = undefined;
      if (!body || !window.fetchLater) return;
      const control = new AbortController();
      try {
        fetchLater(url, { method: "POST", body, signal: control.signal });
        later = control;
      } catch {}
    };

    const save = () => {
      const body = message(true);
      const keep = pending();
      storage((items) => (keep ? items.setItem(key, JSON.stringify([url, body, Date.now()])) : items.removeItem(key)));
      register(keep && counting && body);
      return body;
    };

    const beat = async () => {
      if (beating || !pending()) return;
      const body = message();
      const tells = completed;
      const reached = (sent = Math.floor(total));
      beating = true;
      const answer = await post(url, body);
      beating = false;
      if (answer) {
        acked = Math.max(acked, reached);
        if (tells) completed = 2;
        ticket = answer.k || ticket;
        wait = heartbeat;
      } else if (answer == false) {
        refused = true;
        close();
      } else wait = Math.min(wait * 2, Math.max(MAX_WAIT, heartbeat));
      save();
    };

    const leave = () => {
      const body = save();
      if (!total || refused) return;
      register(); // the beacon goes now
      try {
        if (navigator.sendBeacon(url, body)) return;
      } catch {}
      fetch(url, { method: "POST", body, keepalive: true }).catch(() => {});
    };

    // Of all tabs and windows only the one used last counts; without storage each does.
    const hold = (take) => {
      const lease = storage((items) => items.getItem(LEASE));
      const [owner, date] = (lease || "").split(" ");
      const age = Math.abs(Date.now() - date);
      if (!take && lease && owner != id && age < LEASE_END) return false;
      if (owner != id || !(age < LEASE_RENEW)) storage((items) => items.setItem(LEASE, id + " " + Date.now()));
      return true;
    };

    const look = (take, gone) => {
      settle();
      if (take) input = last;
      const seen = !gone && !ears.signal.aborted && document.visibilityState == "visible" && !document.prerendering;
      const counted = counting;
      counting = seen && !(idle && last >= input + idle) && hold(take);
      if (counted && !counting) leave();
      if (seen) {
        timer = timer || setInterval(tick, TICK);
        if (!caughtUp) {
          caughtUp = true;
          catchUp();
        }
      } else {
        timer = clearInterval(timer);
        storage((items) => (items.getItem(LEASE) || "").startsWith(id + " ") && items.removeItem(LEASE));
      }
    };

    const tick = () => {
      look();
      save();
      if (total - sent >= wait) beat();
    };

    const touch = (at) => {
      settle();
      input = last;
      if (at >= 0) reach(at); // an event is not a number
      if (!counting) look(true);
    };

    // Capturing on the window hears what happens to the document, and in its scrolling parts.
    const hear = (types, listener) =>
      types.split(" ").forEach((type) => addEventListener(type, listener, { capture: true, passive: true, signal: ears.signal }));

    const close = () => {
      ears.abort();
      look();
    };

    see(); // a wrong selector is told at once
    hear("visibilitychange prerenderingchange focus pageshow resume", () => look(true));
    hear("pagehide freeze", () => look(false, true));
    hear("pointerdown pointermove keydown scroll", touch);
    hear("storage", (event) => event.key == LEASE && look());
    hear("online", () => {
      beat();
      catchUp();
    });
    look(true);
    return { key, ticket, close, touch };
  };

  const stop = () => {
    if (current) current.close();
    current = undefined;
  };

  const start = (options) => {
    if (!options.url || !options.ticket) throw new TypeError("readtime.start: url and ticket are needed");
    if (current && current.ticket == options.ticket) return;
    stop();
    current = open(options);
  };

  const touch = (position) => {
    if (current) current.touch(position);
  };

  const tag = document.currentScript; // null in the module form
  if (tag && tag.dataset.ticket) start(tag.dataset);

  return { start, stop, touch };
})();

export const { start, stop, touch } = readtime;
