// Wiring: what depends on what, and the theme.

const number = (id) => Number(byId(id).value);

/** After the filters changed: everything that depends on them. */
function update() {
  const families = shownFamilies();
  byId("shown").textContent = `${plural(families.length, "family", "families")} of ` +
    `${count(study.families)}, ${plural(shown.lines.size, "estimator")} of ${study.lines.length} shown.`;
  fillSelect(byId("family"), families.map((f) => [f, study.families.name[f]]), byId("family").value);
  byId("family").disabled = !families.length;
  updateFamily();
  updateMaps();
  drawVerdicts();
}

function updateFamily(printing = false) {
  const some = shownFamilies().length > 0;
  for (const id of ["flops", "seconds", "key", "trends", "scores", "samplers"]) byId(id).hidden = !some;
  if (!some) {
    byId("family-facts").textContent = "No family matches these filters.";
    return;
  }
  familyTables(number("family"));
  if (!window.Plotly) return;
  drawCost(number("family"), number("against"), printing === true);
  drawTrends(number("family"), number("against"), printing === true);
}

function updateMaps(printing = false) {
  if (!window.Plotly) return;
  drawMaps(number("map-estimator"), number("map-opponent"), byId("map-budget").value, printing === true);
}

function showTheme() {
  byId("theme").setAttribute("aria-pressed", String(dark()));
  buildLines(update);
  updateFamily();
  updateMaps();
}

function start() {
  const cells = count(study.cells);
  const troubles = count(study.troubles);
  byId("summary").textContent = [
    plural(count(study.families), "family", "families"),
    plural(count(study.estimators), "estimator"),
    plural((study.families.problems || []).reduce((a, b) => a + b, 0), "problem"),
    `${plural(cells, "estimate")} that ended well`,
    plural(count(study.ratios), "verdict"),
    ...(troubles ? [`${plural(troubles, "entry", "entries")} under failures, gaps and doubts`] : []),
  ].join(" · ");

  shown.kind = kinds()[0];
  const opponents = study.opponents.map((name, i) => [i, name]);
  const budgets = study.budgets.map((_, i) => [i, budgetName(i)]);
  for (const id of ["against", "map-opponent"]) fillSelect(byId(id), opponents, usualOpponent());
  fillSelect(byId("map-estimator"), study.estimators.name.map((name, i) => [i, name]));
  fillSelect(byId("map-budget"), study.budgets.map((name, i) => [name, budgetName(i)]));
  fillSelect(byId("table-opponent"), [[ALL, "all"], ...opponents]);
  fillSelect(byId("table-budget"), [[ALL, "FLOPs or seconds"], ...budgets]);
  fillSelect(byId("table-verdict"), [[ALL, "all"],
    ...study.verdicts.map((name, i) => [i, `${SIGNS[i]} ${name}`])]);
  buildFilters(update);
  buildLines(update);
  buildVerdicts(drawVerdicts);

  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["family", "against", "each"]) byId(id).addEventListener("change", updateFamily);
  for (const id of ["map-estimator", "map-opponent", "map-budget"]) {
    byId(id).addEventListener("change", updateMaps);
  }
  for (const id of ["table-opponent", "table-budget", "table-verdict"]) {
    byId(id).addEventListener("change", drawVerdicts);
  }
  byId("table-search").addEventListener("input", drawVerdicts);
  byId("all").addEventListener("click", () => chooseLines(study.lines.keys(), update));
  byId("none").addEventListener("click", () => chooseLines([], update));
  byId("reset").addEventListener("click", () => {
    Object.assign(shown, { kind: kinds()[0], picks: {} });
    buildFilters(update);
    chooseLines(study.lines.keys(), update);
  });
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  addEventListener("beforeprint", () => { updateFamily(true); updateMaps(true); });
  addEventListener("afterprint", () => { updateFamily(); updateMaps(); });

  drawTroubles();
  drawProvenance();
  update();
  byId("theme").setAttribute("aria-pressed", String(dark()));
}

/** What remains to be done when Plotly, which takes a second to load, is there. */
function drawPlots() {
  updateFamily();
  updateMaps();
  document.body.dataset.ready = "true";
}

start();
