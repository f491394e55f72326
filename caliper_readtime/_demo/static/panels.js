// The panels: they show what the server says, and pass on what a visitor does.
import { clock, draw } from "./timeline.js";

const at = (id) => document.getElementById(id);
const screen = at("screen");
const put = (id, text) => {
  const element = at(id);
  if (element.textContent != text) element.textContent = text;
};
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const short = (id) => id.replace("urn:uuid:", "").slice(0, 8);
const time = (when) => new Date(when).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const say = (text, bad = false, alone = false) => {
  put("news", text);
  at("news").classList.toggle("bad", bad);
  at("news").classList.toggle("alone", alone); // it stands nowhere else
};
const gone = () => say("The demo’s server does not answer: is it still running?", true, true);

const cell = (text, name) => {
  const element = document.createElement("td");
  element.textContent = text;
  if (name) element.className = name;
  return element;
};

// The reader's tab is a frame: taking it out unloads the document for good, as closing a tab does (pagehide, then the
// last beacon), and the panels stay in sight. A real tab beside this one would be hidden while one looks at the panels,
// and hidden pages do not count.
let frame;

const open = (path = "/article") => {
  if (!frame) {
    frame = document.createElement("iframe");
    frame.title = "Ada’s tab";
    frame.addEventListener("load", () => arrived(frame));
    screen.replaceChildren(frame);
  }
  frame.src = path;
};

const nothing = screen.firstElementChild;
const close = () => {
  frame = undefined;
  screen.replaceChildren(nothing);
  arrived();
};

const reading = () => frame && frame.contentDocument.location.pathname == "/article";

function arrived() {
  at("close").textContent = frame ? "Close the tab" : "Open the article";
  at("away").hidden = !frame;
  at("away").textContent = !frame || reading() ? "Navigate away" : "Back to the article";
  put("where", !frame ? "closed" : reading() ? "the article, counted by readtime.js" : "another page, not counted");
}

at("close").addEventListener("click", () => {
  if (!frame) return open();
  close();
  say("The tab is closed. Its last word goes out as a beacon.");
});
at("away").addEventListener("click", () => open(reading() ? "/elsewhere" : "/article"));

// What the server says

let shown; // the last document
let ahead = 0; // of the server's clock, milliseconds

const now = () => Date.now() + ahead;

// What changes by time alone: once a second, and whenever there is news.
const tick = () => {
  if (!shown) return;
  const { state, opened } = shown;
  const wall = opened ? Math.max(0, now() - opened) : 0;
  put("wall", clock(wall / 1000));
  draw(at("timeline"), state ? state.spans : [], wall);
  const claim = state && state.claim;
  at("flight").classList.toggle("bad", Boolean(claim && (claim.dead || claim.attempts)));
  if (!claim) return put("flight", state && state.unreported >= 1000 ? "Nothing is in flight; the sweep takes what no page reports." : "Nothing is in flight.");
  const left = Math.ceil(Math.max(0, claim.until - now()) / 1000);
  const what = `Event ${short(claim.event)}, ${seconds(claim.length)}`;
  const tried = claim.attempts == 1 ? "1 failed attempt" : `${claim.attempts} failed attempts`;
  const who = claim.dead ? "claimed by a worker who died" : "claimed by a worker";
  if (claim.held) put("flight", `${what}: ${who}; ${left ? `its lease ends in ${left} s` : "its lease has ended, the next sweep sends it again"}.`);
  else put("flight", `${what}: ${tried}; ${left ? `tried again in ${left} s at the earliest` : "the next sweep sends it again"}.`);
};

const rows = (events) =>
  events.map((event) => {
    const row = document.createElement("tr");
    const id = cell(short(event.id), "id");
    id.title = event.id;
    row.append(
      id,
      cell(event.seconds, "number"),
      cell(`${time(event.from)} – ${time(event.to)}`, "span"),
      cell(`${event.times} ×`, event.times > 1 ? "number again" : "number")
    );
    return row;
  });

const none = [...at("events").children];

const line = ({ at: when, text, tone }) => {
  const element = document.createElement("li");
  if (tone) element.className = tone;
  element.append(Object.assign(document.createElement("time"), { textContent: time(when) }), ` ${text}`);
  return element;
};

const show = (said) => {
  const { state, events, diary } = said;
  const last = shown && shown.diary.length ? shown.diary.at(-1).number : 0;
  ahead = said.now - Date.now();
  shown = said;
  put("read", seconds(state ? state.read : 0));
  put("reported", seconds(state ? state.reported : 0));
  put("unreported", seconds(state ? state.unreported : 0));
  put("claimed", seconds(state && state.claim ? state.claim.length : 0));
  at("finished").hidden = !(state && state.finalized);
  if (!state) at("timeline").setAttribute("aria-label", "Nothing has been read yet.");
  else {
    const told = `Read ${seconds(state.read)}: ${seconds(state.reported)} reported, ${seconds(state.unreported)} unreported.`;
    at("timeline").setAttribute("aria-label", told);
  }
  at("events").replaceChildren(...(events.length ? rows(events) : none));
  put("counted", said.counted);
  put("came", events.length ? `${events.reduce((sum, event) => sum + event.times, 0)} in all` : "");
  put("minutes", `${said.minutes} min`);
  put("banked", said.banked ? `Banked: ${said.banked}.` : "Nothing has been banked.");
  at("endpoint").classList.toggle("broken", said.endpoint != "works");
  for (const button of document.querySelectorAll(".choice button")) {
    button.setAttribute("aria-pressed", button.dataset.act == said.endpoint);
  }
  const newest = diary.at(-1);
  if (newest && newest.number > last) {
    at("diary").replaceChildren(...diary.map(line).reverse());
    say(newest.text, newest.tone == "bad");
  }
  at("explained").replaceChildren(
    ...said.explained.map((text) => Object.assign(document.createElement("li"), { textContent: text }))
  );
  if (said.trouble) say(said.trouble, true, true);
  tick();
};

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", async () => {
    if (button.ariaBusy == "true") return;
    button.ariaBusy = "true";
    try {
      const answer = await fetch(`/demo/${button.dataset.act}`, { method: "POST" });
      if (!answer.ok) throw answer.status;
      if (button.dataset.act == "restart") {
        close();
        open();
      }
    } catch {
      gone();
    }
    button.ariaBusy = "false";
  });
}

// A page that nobody sees needs no news; and a browser has few connections for one host.
let listening, ticking;
const listen = () => {
  const seen = document.visibilityState == "visible";
  if (seen == Boolean(listening)) return;
  if (!seen) {
    listening.close();
    clearInterval(ticking);
    listening = undefined;
    return;
  }
  listening = new EventSource("/demo/changes");
  listening.addEventListener("message", (event) => show(JSON.parse(event.data)));
  listening.addEventListener("error", gone);
  ticking = setInterval(tick, 1000);
};
document.addEventListener("visibilitychange", listen);

// What a word means goes away by Escape, and comes back once the pointer or the focus does.
document.addEventListener("keydown", (event) => {
  if (event.key != "Escape") return;
  for (const term of document.querySelectorAll(".term:hover, .term:focus-within")) term.dataset.closed = "";
});
for (const term of document.querySelectorAll(".term")) {
  for (const kind of ["pointerleave", "focusout"]) term.addEventListener(kind, () => delete term.dataset.closed);
}
listen();
open();
