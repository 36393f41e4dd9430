// Tables: figures of one family, verdicts, failures, provenance.

const PAGE = 100;
// Columns whose heads stand on the right, above their figures.
const NUMBERS = new Set(["FLOPs", "= samples", "Time", "Explained in", "Problems measured", "N",
  "N × vn error", "by the truth", "FLOPs a sample", "Time a sample", "Ratio"]);

function tableHead(table, names) {
  const cells = names.map((name) => element("th", { scope: "col",
    class: NUMBERS.has(name) ? "number" : "" }, name));
  table.tHead?.remove();
  table.append(element("thead", {}, element("tr", {}, ...cells)));
}

function tableBody(table, rows) {
  for (const body of [...table.tBodies]) body.remove();
  table.append(element("tbody", {}, ...rows));
}

const row = (...cells) => element("tr", {}, ...cells.map((c) =>
  (c instanceof HTMLTableCellElement ? c : element("td", {}, c))));
const numeric = (text) => element("td", { class: "number" }, text);
// A long name may break after its opening bracket.
const named = (text, className = "name") => element("td", { class: className },
  ...text.split(/(?<=\()/).flatMap((part, i) => (i ? [element("wbr"), part] : [part])));
const wide = (text) => element("td", { class: "wide" }, text);

/** Facts and both tables of one family. */
function familyTables(family) {
  const f = study.families;
  const s = study.scores;
  const p = study.samplings;
  const truth = f.truth_samples[family] === null
    ? "no problem could be evaluated"
    : f.truth_samples[family] === 0
      ? "truth exact, to rounding"
      : `truth: two halves of ${f.truth_samples[family].toLocaleString("en")} samples, own vn error ` +
        `${digits(f.noise[family])}, errors below ${digits(f.floor[family])} cannot be resolved`;
  byId("family-facts").textContent = `${plural(f.problems[family], "problem")}` +
    `${f.interrupted[family] ? " (interrupted)" : ""}; ${truth}; one evaluation: ` +
    `${flops(f.evaluation[family])}.`;

  const scores = shownScores().filter((i) => s.family[i] === family);
  const caption = byId("scores").caption;
  caption.textContent = scores.length ? "The figures behind the plots" : "No estimator is shown.";
  tableHead(byId("scores"), ["Estimator", "vn error [95 %]", "FLOPs", "= samples", "Time",
    "= samples", "Explained in", "Problems measured", "Trust"]);
  tableBody(byId("scores"), scores.map((i) => row(
    estimatorName(i), errorText(i), numeric(amount(s.flops[i])), numeric(amount(s.samples_at_flops[i])),
    numeric(duration(s.seconds[i])), numeric(amount(s.samples_at_seconds[i])),
    numeric(s.explained[i] === null ? "–" : duration(s.explained[i])),
    numeric(s.failures[i] ? `${s.problems[i]}, failed ${s.failures[i]}` : String(s.problems[i])),
    s.trust[i].replace("_", " "),
  )));

  tableHead(byId("samplers"), ["Sampler", "N", "N × vn error", "by the truth", "FLOPs a sample",
    "Time a sample"]);
  tableBody(byId("samplers"), rowsOf(p, family).flatMap((i) => p.measured[i].map((n, k) => row(
    k ? "" : study.opponents[p.opponent[i]], numeric(n > 1 ? n.toLocaleString("en") : "any"),
    numeric(digits(p.constants[i][k], 3)),
    numeric(p.by_truth[i][k] === null ? "–" : digits(p.by_truth[i][k])),
    numeric(amount(p.flops[i])), numeric(duration(p.seconds[i])),
  ))));
}

const order = { column: 0, falling: false };
let limit = PAGE;

// Name, what to sort by, and the cell, for each column of the table of verdicts.
const VERDICT_COLUMNS = [
  ["Family", (r) => study.scores.family[study.ratios.score[r]], (r) => named(familyOf(r), "name family")],
  ["Estimator", (r) => estimatorName(study.ratios.score[r]),
    (r) => named(estimatorName(study.ratios.score[r]))],
  ["Verdict", (r) => study.ratios.verdict[r], verdictElement],
  ["Opponent", opponentOf, opponentOf],
  ["At equal", (r) => study.ratios.budget[r], (r) => budgetName(study.ratios.budget[r])],
  ["Ratio", (r) => study.ratios.value[r] ?? Infinity, (r) => numeric(ratioText(r))],
  ["95 % interval", (r) => study.ratios.low[r],
    (r) => range(study.ratios.low[r], study.ratios.high[r])],
  ["vn error [95 %]", (r) => errorValue(study.ratios.score[r]), (r) => errorText(study.ratios.score[r])],
  ["Remark", remarkOf, (r) => named(remarkOf(r), "name remark")],
];

function familyOf(ratio) {
  return study.families.name[study.scores.family[study.ratios.score[ratio]]];
}

function opponentOf(ratio) {
  return study.opponents[study.ratios.opponent[ratio]];
}

function remarkOf(ratio) {
  return study.reasons[study.ratios.reason[ratio]];
}

const budgetName = (budget) => (study.budgets[budget] === "flops" ? "FLOPs" : study.budgets[budget]);

function errorValue(score) {
  return (study.scores.resolved[score] ? study.scores.error[score] : study.scores.high[score]) ?? Infinity;
}

function buildVerdicts(update) {
  const heads = VERDICT_COLUMNS.map(([name], column) => {
    const button = element("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      order.falling = order.column === column && !order.falling;
      order.column = column;
      update();
    });
    return element("th", { scope: "col", class: NUMBERS.has(name) ? "number" : "" }, button);
  });
  byId("ratios").append(element("thead", {}, element("tr", {}, ...heads)));
  byId("more").addEventListener("click", () => {
    limit += 5 * PAGE;
    drawVerdicts(false);
  });
}

/** The rows that filters and search leave, in order. */
function verdictRows() {
  const scores = new Set(shownScores());
  const chosen = (id) => byId(id).value;
  const [opponent, budget, verdict] = ["table-opponent", "table-budget", "table-verdict"].map(chosen);
  const words = chosen("table-search").toLowerCase().split(/\s+/).filter(Boolean);
  const r = study.ratios;
  const rows = places(r).filter((i) =>
    scores.has(r.score[i]) &&
    (opponent === ALL || r.opponent[i] === Number(opponent)) &&
    (budget === ALL || r.budget[i] === Number(budget)) &&
    (verdict === ALL || r.verdict[i] === Number(verdict)) &&
    (!words.length || matches(i, words)));
  const key = VERDICT_COLUMNS[order.column][1];
  const sign = order.falling ? -1 : 1;
  const keys = new Map(rows.map((i) => [i, key(i)]));
  return rows.sort((a, b) => sign * compare(keys.get(a), keys.get(b)) || a - b);
}

function matches(ratio, words) {
  const r = study.ratios;
  const text = [familyOf(ratio), estimatorName(r.score[ratio]), opponentOf(ratio),
    study.verdicts[r.verdict[ratio]], remarkOf(ratio)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
  return a === b ? 0 : a < b ? -1 : 1;
}

function drawVerdicts(fresh = true) {
  if (fresh) limit = PAGE;
  const rows = verdictRows();
  const table = byId("ratios");
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const sorted = order.falling ? "descending" : "ascending";
    cell.setAttribute("aria-sort", column === order.column ? sorted : "none");
  });
  tableBody(table, rows.slice(0, limit).map((r) => row(...VERDICT_COLUMNS.map(([, , cell]) => cell(r)))));
  const tally = study.verdicts.map((name, v) => {
    const n = rows.reduce((sum, r) => sum + (study.ratios.verdict[r] === v), 0);
    return `${SIGNS[v]} ${name} ${n.toLocaleString("en")}`;
  });
  byId("counts").textContent = rows.length
    ? `${plural(rows.length, "verdict")}: ${tally.join(", ")}` : "No verdict matches these filters.";
  const left = rows.length - limit;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${Math.min(left, 5 * PAGE)} more of ${left.toLocaleString("en")}`;
}

function listTable(label, names, rows) {
  const table = element("table");
  tableHead(table, names);
  tableBody(table, rows);
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
}

function drawTroubles() {
  const t = study.troubles;
  const rows = places(t);
  const box = byId("trouble-box");
  if (!rows.length) {
    box.replaceChildren(element("p", {}, "Every cell has a value that its estimator trusts, and every sampler ran."));
    return;
  }
  const first = rows.slice(0, 5 * PAGE);
  box.replaceChildren(listTable("Failures, gaps and doubts",
    ["Family", "Who", "What", "Reason", "Problems"],
    first.map((i) => row(named(study.families.name[t.family[i]], "name family"), named(t.who[i]), t.what[i], wide(t.reason[i]),
      wide(t.problems[i])))));
  if (first.length < rows.length) {
    box.append(element("p", { class: "hint" },
      `The first ${first.length} of ${rows.length.toLocaleString("en")} are shown; the store has all.`));
  }
}

function drawProvenance() {
  const p = study.provenance;
  const rows = places(p);
  const values = (i) => rows.filter((j) => p.entry[j] === p.entry[i]).length;
  const differing = new Set(rows.filter((i) => values(i) > 1).map((i) => p.entry[i]));
  const families = count(study.families);
  byId("provenance-box").replaceChildren(
    element("p", {}, differing.size
      ? `Rows differ in: ${[...differing].join(", ")}.` : "All rows agree in everything listed."),
    listTable("Provenance", ["What", "Value", "Families"], rows.map((i) => row(
      p.entry[i], wide(p.value[i]),
      p.families[i] < families ? `${p.families[i]} of ${families}` : "all"))),
  );
}
