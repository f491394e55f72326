// Draws wall time and, beneath it on the same scale, what has become of the time that was read.
const SVG = "http://www.w3.org/2000/svg";
const STEPS = [5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400]; // seconds between marks
const SHORTEST = 20; // seconds that the scale shows at least
const MARKS = 6;

const make = (name, attributes, ...children) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

export const clock = (seconds) =>
  seconds < 60 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}`;

const hatch = () =>
  make(
    "defs",
    {},
    make(
      "pattern",
      { id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      make("rect", { class: "claimed", width: 7, height: 7 }),
      make("rect", { class: "stripe", width: 2.5, height: 7 })
    )
  );

export const draw = (svg, spans, wall) => {
  const end = Math.max(wall, SHORTEST * 1000, spans.length ? spans.at(-1).to : 0);
  const at = (time) => `${((time / end) * 100).toFixed(3)}%`;
  const parts = [
    hatch(),
    make("rect", { class: "lane", y: 0, width: "100%", height: 8, rx: 4 }),
    make("rect", { class: "wall", y: 0, width: at(wall), height: 8, rx: 4 }),
    make("rect", { class: "lane", y: 14, width: "100%", height: 26, rx: 4 }),
  ];
  for (const span of spans) {
    const box = make("rect", { class: span.kind, x: at(span.from), y: 14, width: at(span.to - span.from), height: 26 });
    if (span.kind == "claimed") box.setAttribute("fill", "url(#hatch)");
    const said = { reported: "reported", claimed: "in flight", unreported: "unreported" }[span.kind];
    box.append(make("title", {}, `${(span.to - span.from) / 1000} s ${said}`));
    parts.push(box, make("line", { class: "cut", x1: at(span.to), x2: at(span.to), y1: 14, y2: 40 }));
  }
  const step = STEPS.find((seconds) => end / 1000 / seconds <= MARKS) || STEPS.at(-1);
  for (let mark = 0; mark * 1000 <= end; mark += step) {
    const x = at(mark * 1000);
    const anchor = mark == 0 ? "start" : mark * 1000 > end * 0.96 ? "end" : "middle";
    parts.push(
      make("line", { class: "mark", x1: x, x2: x, y1: 43, y2: 48 }),
      make("text", { class: "mark", x, y: 62, "text-anchor": anchor }, clock(mark))
    );
  }
  svg.replaceChildren(...parts);
};
