// What is shown: one kind of family, settings, and lines of estimators.

const ALL = "";
const shown = { kind: "", picks: {}, lines: new Set(study.lines.keys()) };

const kinds = () => Object.keys(study.kinds);
const axesOf = (kind) => study.kinds[kind];
const ofKind = (kind) => places(study.families).filter((f) => study.families.kind[f] === kind);
const settingOf = (family, key) => study.parameters[key][family];

/** Distinct values of a setting, numbers in order, as [key, text] pairs. */
function valuesOf(key, families) {
  const values = [...new Set(families.map((f) => settingOf(f, key)))];
  if (values.every((v) => typeof v === "number")) values.sort((a, b) => a - b);
  return values;
}

/** The families that the filters leave. */
function shownFamilies() {
  return ofKind(shown.kind).filter((family) =>
    Object.entries(shown.picks).every(
      ([key, value]) => value === ALL || JSON.stringify(settingOf(family, key) ?? null) === value,
    ),
  );
}

/** The scores that the filters leave. */
function shownScores() {
  const families = new Set(shownFamilies());
  const s = study.scores;
  return places(s).filter((i) => families.has(s.family[i]) && shown.lines.has(lineOf(i)));
}

/** The selects for kind and settings; made anew when the kind changes. */
function buildFilters(update) {
  const form = byId("filters");
  const selects = [];
  if (kinds().length > 1) {
    const kind = element("select", { id: "kind" });
    fillSelect(kind, kinds().map((k) => [k, k || "other"]), shown.kind);
    kind.addEventListener("change", () => {
      shown.kind = kind.value;
      shown.picks = {};
      buildFilters(update);
      byId("kind").focus();
      update();
    });
    selects.push(element("label", {}, "Kind of family", kind));
  }
  const families = ofKind(shown.kind);
  for (const key of axesOf(shown.kind)) {
    const select = element("select", { "data-setting": key });
    const options = valuesOf(key, families).map((v) => [JSON.stringify(v ?? null), setting(v)]);
    fillSelect(select, [[ALL, "all"], ...options], shown.picks[key]);
    select.addEventListener("change", () => {
      shown.picks[key] = select.value;
      update();
    });
    selects.push(element("label", {}, key, select));
  }
  form.replaceChildren(...selects);
}

/** One checkbox for each line of estimators, with its symbol. */
function buildLines(update) {
  const boxes = study.lines.map((name, line) => {
    const box = element("input", { type: "checkbox", "data-line": line });
    box.checked = shown.lines.has(line);
    box.addEventListener("change", () => {
      shown.lines[box.checked ? "add" : "delete"](line);
      update();
    });
    return element("label", {}, box, symbolSwatch(line), name);
  });
  byId("lines").replaceChildren(...boxes);
}

function chooseLines(lines, update) {
  shown.lines = new Set(lines);
  for (const box of byId("lines").querySelectorAll("input")) {
    box.checked = shown.lines.has(Number(box.dataset.line));
  }
  update();
}

/** The opponent that a study is judged by until the reader chooses another: not the weakest. */
function usualOpponent() {
  const strong = study.opponents.indexOf("moment-matched");
  return Math.max(strong, 0);
}
