// The study, and how numbers and text are written.

const study = JSON.parse(document.getElementById("data").textContent);
const SIGNS = ["▲", "=", "▼", "?"];
const COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b87a00", "#2f8fc4", "#222222"],
  dark: ["#5aaeea", "#f58a4b", "#3cc79a", "#e3a1c6", "#f0b93a", "#9ad7fa", "#eeeeee"],
};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "pentagon", "cross", "x"];
const DASHES = ["solid", "dash", "dashdot", "dot", "longdash", "longdashdot"];

const count = (table) => (Object.values(table)[0] || []).length;
const places = (table) => Array.from({ length: count(table) }, (_, i) => i);
const byId = (id) => document.getElementById(id);

/** An element; children that are text are shown as text, whatever they hold. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => String(value) === String(chosen))) select.value = String(chosen);
}

/** Text inside a Plotly figure, which would read tags in it. */
function plainly(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function digits(value, most = 2) {
  if (value === null) return "∞";
  if (value >= 99.5 && value < 1e6) return value.toFixed(0);
  const rounded = Number(value.toPrecision(most));
  return rounded !== 0 && (rounded < 1e-3 || rounded >= 1e6)
    ? rounded.toExponential().replace("e+", "e")
    : String(rounded);
}

function amount(value) {
  if (value === null) return "?";
  for (const [power, prefix] of [[12, "T"], [9, "G"], [6, "M"], [3, "k"]]) {
    if (value >= 10 ** power) return `${Number((value / 10 ** power).toPrecision(3))} ${prefix}`;
  }
  return String(Number(value.toPrecision(3)));
}

/** A count of operations: 53 MFLOP. */
function flops(value) {
  const text = amount(value);
  return text.includes(" ") ? `${text}FLOP` : `${text} FLOP`;
}

function duration(value) {
  if (value === null) return "?";
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6], ["ns", 1e-9]]) {
    if (value >= size || unit === "ns") return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
}

function setting(value) {
  return value === null || value === undefined ? "–" : String(value);
}

const plural = (n, word, words = `${word}s`) => `${n.toLocaleString("en")} ${n === 1 ? word : words}`;
const range = (low, high) => `[${digits(low)}, ${digits(high)}]`;
const estimatorName = (score) => study.estimators.name[study.scores.estimator[score]];
const lineOf = (score) => study.estimators.line[study.scores.estimator[score]];

/** The vn error of a score: with its interval, or as the upper limit that is all there is. */
function errorText(score) {
  const s = study.scores;
  if (!s.problems[score]) return "failed";
  if (!s.resolved[score]) return `< ${digits(s.high[score])}`;
  return `${digits(s.error[score])} ${range(s.low[score], s.high[score])}`;
}

function ratioText(ratio) {
  const sign = { 1: "≥ ", "-1": "≤ ", 0: "" }[study.ratios.bound[ratio]];
  return sign + digits(study.ratios.value[ratio]);
}

function verdictText(ratio) {
  const verdict = study.ratios.verdict[ratio];
  return `${SIGNS[verdict]} ${study.verdicts[verdict]}`;
}

/** Sign and word of a verdict as an element; colour only underlines what the sign says. */
function verdictElement(ratio) {
  const verdict = study.ratios.verdict[ratio];
  return element("span", { class: `verdict verdict-${verdict}` }, verdictText(ratio));
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const lineColour = (line) => COLOURS[dark() ? "dark" : "light"][line % COLOURS.light.length];
// Beyond seven lines colours come again, each time with another symbol.
const lineSymbol = (line) => SYMBOLS[(line + Math.floor(line / 7)) % SYMBOLS.length];
const openSymbol = "triangle-down-open";
