// Error against cost: estimators as points, samplers as lines.

const GREY = "#808890";
// The buttons are listed because Plotly's own list offers to upload the figure.
const CONFIG = {
  responsive: true, displaylogo: false, showTips: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const COSTS = {
  flops: { axis: "FLOPs of one estimate", show: flops },
  seconds: { axis: "seconds of one estimate", show: duration },
};

/** Colours and width of every figure; paper is always light. */
function look(printing) {
  const night = dark() && !printing;
  return {
    ink: night ? "#e3e7ec" : "#1c2127",
    page: night ? "#14171c" : "#ffffff",
    grid: night ? "#2d333c" : "#e4e7eb",
    box: night ? "#242a33" : "#ffffff",
    width: printing ? 640 : undefined, // that of a sheet; on the screen that of the box
  };
}

function baseLayout(colours) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colours.ink, size: 13, family: "system-ui, sans-serif" },
    hoverlabel: { bgcolor: colours.box, bordercolor: GREY, align: "left",
      font: { color: colours.ink, size: 13 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: GREY, activecolor: colours.ink },
    showlegend: false,
    width: colours.width, autosize: colours.width === undefined,
    hovermode: "closest",
  };
}

/** The symbol of a line of estimators as in the plots. */
function symbolSwatch(line) {
  const paths = {
    circle: "M8 2.5a5.5 5.5 0 1 0 .01 0z",
    square: "M3 3h10v10H3z",
    diamond: "M8 1.5 14.5 8 8 14.5 1.5 8z",
    "triangle-up": "M8 2 14 13H2z",
    pentagon: "M8 2 14.2 6.5 11.8 13.5H4.2L1.8 6.5z",
    cross: "M5.8 2h4.4v3.8H14v4.4h-3.8V14H5.8v-3.8H2V5.8h3.8z",
    x: "M4.5 2 8 5.3 11.5 2 14 4.5 10.7 8l3.3 3.5-2.5 2.5L8 10.7 4.5 14 2 11.5 5.3 8 2 4.5z",
  };
  return drawing(16, { d: paths[lineSymbol(line)], fill: lineColour(line) });
}

/** The dash of a sampler's line as in the plots. */
function dashSwatch(opponent, strong) {
  const dashes = { solid: "", dash: "8 5", dashdot: "8 4 2 4", dot: "2 3", longdash: "13 5",
    longdashdot: "13 4 2 4" };
  return drawing(34, { d: "M0 8H34", stroke: strong ? "currentColor" : GREY,
    "stroke-width": strong ? 3 : 1.6, "stroke-dasharray": dashes[dashOf(opponent)] });
}

function drawing(width, attributes) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  for (const [name, value] of Object.entries({ class: "swatch", width, height: 16,
    "aria-hidden": "true" })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries(attributes)) path.setAttribute(name, value);
  svg.append(path);
  return svg;
}

const dashOf = (opponent) => DASHES[opponent % DASHES.length];

function rowsOf(table, family) {
  return places(table).filter((i) => table.family[i] === family);
}

/** Limits of the error axis: everything shown, and the truth's floor unless it is far below. */
function errorLimits(scores, floor) {
  const s = study.scores;
  const values = scores.flatMap((i) => [s.error[i], s.low[i], s.high[i]]).filter((v) => v > 0);
  if (floor > Math.min(...values, Infinity) / 100 || !values.length) values.push(floor || 1e-3);
  return [Math.min(...values) / 3, Math.max(...values, 0.3) * 3];
}

function ratioOf(score, opponent, budget) {
  return ratiosByScore[score].find(
    (r) => study.ratios.opponent[r] === opponent && study.budgets[study.ratios.budget[r]] === budget,
  );
}
const ratiosByScore = study.scores.family ? study.scores.family.map(() => []) : [];
for (const r of places(study.ratios)) ratiosByScore[study.ratios.score[r]].push(r);

function hoverText(score, opponent) {
  const s = study.scores;
  const lines = [
    `<b>${plainly(estimatorName(score))}</b>`,
    `vn error ${plainly(errorText(score))}`,
    `${flops(s.flops[score])} = ${amount(s.samples_at_flops[score])} samples`,
    `${duration(s.seconds[score])} = ${amount(s.samples_at_seconds[score])} samples`,
    `on ${plural(s.problems[score], "problem")}` +
      (s.failures[score] ? `, failed on ${s.failures[score]}` : ""),
  ];
  if (s.explained[score] !== null) lines.push(`explained in ${duration(s.explained[score])}`);
  if (s.trust[score] !== "ok") lines.push(`trust: ${plainly(s.trust[score].replace("_", " "))}`);
  for (const budget of study.budgets) {
    const r = ratioOf(score, opponent, budget);
    if (r === undefined) continue;
    lines.push(`${verdictText(r)} ${plainly(study.opponents[opponent])} at equal ` +
      `${budget === "flops" ? "FLOPs" : budget}: ${ratioText(r)} ` +
      range(study.ratios.low[r], study.ratios.high[r]));
  }
  return lines.join("<br>");
}

/** Points with intervals, in the colour and with the symbol of their line of estimators. */
function pointsTrace(line, points, x, limits, opponent, colours) {
  const s = study.scores;
  const [bottom, top] = limits;
  const heights = points.map((i) => {
    const value = s.resolved[i] ? s.error[i] : s.high[i];
    return Math.min(Math.max(value ?? top, bottom), top);
  });
  const up = points.map((i, k) => (s.resolved[i] ? Math.min(s.high[i] ?? top, top) - heights[k] : 0));
  const down = points.map((i, k) => (s.resolved[i] ? heights[k] - Math.max(s.low[i], bottom) : 0));
  const colour = lineColour(line);
  return {
    type: "scatter", mode: points.length > 1 ? "lines+markers" : "markers",
    name: plainly(study.lines[line]), x: points.map(x), y: heights,
    error_y: { type: "data", symmetric: false, array: up, arrayminus: down, color: colour,
      thickness: 1.5, width: 4 },
    line: { color: colour, width: 1.2 },
    marker: { size: 11, color: colour, opacity: 1,
      symbol: points.map((i) => (s.resolved[i] ? lineSymbol(line) : openSymbol)),
      line: { color: points.map((i) => (s.resolved[i] ? colours.page : colour)),
        width: points.map((i) => (s.resolved[i] ? 1 : 2)) } },
    text: points.map((i) => hoverText(i, opponent)), hovertemplate: "%{text}<extra></extra>",
  };
}

/** One trace for each line of estimators; budgets of the same estimator are joined. */
function estimatorTraces(scores, budget, limits, opponent, colours) {
  const cost = study.scores[budget];
  return [...new Set(scores.map(lineOf))].map((line) => {
    const points = scores.filter((i) => lineOf(i) === line && cost[i] > 0);
    points.sort((a, b) => cost[a] - cost[b]);
    return pointsTrace(line, points, (i) => cost[i], limits, opponent, colours);
  });
}

/** Every problem as a small dot; errors that came out negative have no place on a log axis. */
function problemTraces(scores, budget) {
  const c = study.cells;
  const wanted = new Set(scores);
  const rows = places(c).filter((i) => wanted.has(c.score[i]));
  return [...new Set(scores.map(lineOf))].map((line) => {
    const mine = rows.filter((i) => lineOf(c.score[i]) === line);
    return {
      type: "scatter", mode: "markers", name: plainly(study.lines[line]),
      x: mine.map((i) => c[budget][i]), y: mine.map((i) => c.error[i]),
      marker: { size: 5, color: lineColour(line), opacity: 0.45, symbol: lineSymbol(line) },
      text: mine.map((i) => `${plainly(estimatorName(c.score[i]))}<br>problem ${c.problem[i]}: ` +
        `vn error ${digits(c.error[i])}<br>${plainly(COSTS[budget].show(c[budget][i]))}`),
      hovertemplate: "%{text}<extra></extra>",
    };
  });
}

function samplerTraces(family, budget, opponent, colours) {
  const p = study.samplings;
  return rowsOf(p, family).filter((i) => p[budget][i] > 0).map((i) => {
    const strong = p.opponent[i] === opponent;
    const name = plainly(study.opponents[p.opponent[i]]);
    const unit = p[budget][i];
    return {
      type: "scatter", mode: "lines", name, x: p.samples[i].map((n) => n * unit), y: p.errors[i],
      line: { color: strong ? colours.ink : GREY, width: strong ? 2.6 : 1.3,
        dash: dashOf(p.opponent[i]) },
      text: p.samples[i].map((n, k) => `<b>${name}</b><br>N = ${amount(n)}: vn error ` +
        `${digits(p.errors[i][k])}<br>${COSTS[budget].show(n * unit)}`),
      hovertemplate: "%{text}<extra></extra>",
    };
  });
}

function styleAxis(axis, colours) {
  const decades = axis.range[1] - axis.range[0];
  Object.assign(axis, { gridcolor: colours.grid, linecolor: GREY, showline: true, ticks: "outside",
    tickcolor: GREY, exponentformat: "power", zeroline: false,
    dtick: decades > 1.2 ? Math.ceil(decades / 7) : "D2" });
}

function drawCost(family, opponent, printing = false) {
  const s = study.scores;
  const colours = look(printing);
  const floor = study.families.floor[family];
  const scores = shownScores().filter((i) => s.family[i] === family && s.problems[i]);
  const limits = errorLimits(scores, floor);
  for (const budget of study.budgets) {
    const p = study.samplings;
    const units = rowsOf(p, family).map((i) => p[budget][i]).filter((v) => v > 0);
    const costs = scores.map((i) => s[budget][i]).filter((v) => v > 0);
    const left = Math.min(...costs, ...units.map((u) => 1.5 * u), Infinity) / 2;
    const right = Math.max(...costs, ...(costs.length ? [] : units.map((u) => 1e3 * u)), left) * 8;
    const traces = [
      ...samplerTraces(family, budget, opponent, colours),
      ...(byId("each").checked ? problemTraces(scores, budget) : []),
      ...estimatorTraces(scores, budget, limits, opponent, colours),
    ];
    const shaded = floor > limits[0];
    const layout = {
      ...baseLayout(colours),
      margin: { l: 80, r: 12, t: 34, b: 56 },
      xaxis: { type: "log", title: { text: COSTS[budget].axis },
        range: (left < Infinity ? [left, right] : [1, 10]).map(Math.log10) },
      yaxis: { type: "log", title: { text: "vn error" },
        range: limits.map(Math.log10) },
      shapes: shaded ? [{ type: "rect", xref: "paper", x0: 0, x1: 1, y0: limits[0] / 1e6, y1: floor,
        fillcolor: GREY, opacity: 0.22, line: { width: 0 }, layer: "below" }] : [],
      annotations: shaded ? [{ xref: "paper", x: 0.01, y: Math.log10(floor), yanchor: "top",
        xanchor: "left", showarrow: false, text: "noise of the truth", font: { size: 12 } }] : [],
    };
    styleAxis(layout.xaxis, colours);
    styleAxis(layout.yaxis, colours);
    byId(budget).setAttribute("aria-label", `vn error against ${COSTS[budget].axis}: ` +
      `${plural(scores.length, "estimator")} and ${plural(units.length, "sampler")}; ` +
      "the figures are in the tables below");
    Plotly.react(byId(budget), traces, layout, CONFIG);
  }
  drawKey(scores, family, opponent);
}

function drawKey(scores, family, opponent) {
  const lines = [...new Set(scores.map(lineOf))];
  const p = study.samplings;
  byId("key").replaceChildren(
    ...lines.map((line) => element("span", {}, symbolSwatch(line), study.lines[line])),
    ...rowsOf(p, family).map((i) => element("span", {},
      dashSwatch(p.opponent[i], p.opponent[i] === opponent), study.opponents[p.opponent[i]])),
  );
}
