// Error against a setting such as the width, all other settings as in the family chosen.

const MOST_TRENDS = 2;

/** The first settings of a kind that are numbers and vary, each with its families in order. */
function trendsOf(family) {
  const keys = axesOf(shown.kind);
  const numbers = keys.filter((key) =>
    ofKind(shown.kind).every((f) => typeof settingOf(f, key) === "number"));
  return numbers.slice(0, MOST_TRENDS).map((key) => {
    const same = (f) => keys.every((k) => k === key || settingOf(f, k) === settingOf(family, k));
    const families = ofKind(shown.kind).filter(same);
    return [key, families.sort((a, b) => settingOf(a, key) - settingOf(b, key))];
  }).filter(([, families]) => families.length > 1);
}

function drawTrends(family, opponent, printing = false) {
  const box = byId("trends");
  const trends = trendsOf(family);
  const s = study.scores;
  const colours = look(printing);
  for (const old of box.querySelectorAll(".plot")) Plotly.purge(old);
  box.replaceChildren(...trends.map(([key]) => element("figure", {}, element("div", {
    class: "plot", role: "group", "aria-label":
      `vn error against ${key}; the figures are in the table of verdicts` }))));
  trends.forEach(([key, families], place) => {
    const scores = places(s).filter((i) =>
      families.includes(s.family[i]) && s.problems[i] && shown.lines.has(lineOf(i)));
    const limits = errorLimits(scores, 0);
    const x = (i) => settingOf(s.family[i], key);
    const traces = [...new Set(scores.map((i) => s.estimator[i]))].map((estimator) => {
      const points = scores.filter((i) => s.estimator[i] === estimator);
      points.sort((a, b) => x(a) - x(b));
      return pointsTrace(lineOf(points[0]), points, x, limits, opponent, colours);
    });
    const values = families.map((f) => settingOf(f, key));
    const layout = {
      ...baseLayout(colours),
      margin: { l: 80, r: 12, t: 34, b: 56 },
      yaxis: { type: "log", title: { text: "vn error" }, range: limits.map(Math.log10) },
      xaxis: { type: values[0] > 0 ? "log" : "linear", title: { text: plainly(key) },
        tickvals: values, ticktext: values.map(String), gridcolor: colours.grid, linecolor: GREY,
        showline: true, ticks: "outside", tickcolor: GREY, zeroline: false },
    };
    styleAxis(layout.yaxis, colours);
    Plotly.newPlot(box.querySelectorAll(".plot")[place], traces, layout, CONFIG);
  });
}
