// Heat maps: the ratio to sampling over two settings, one map for each setting of the others.

const MOST_MAPS = 6;

/** Families that share all settings but the two axes, by those settings in words. */
function facets(families, others) {
  const groups = new Map();
  for (const family of families) {
    const name = others.map((key) => `${key} = ${setting(settingOf(family, key))}`).join(", ");
    groups.set(name, [...(groups.get(name) || []), family]);
  }
  return groups;
}

function drawMaps(estimator, opponent, budget, printing = false) {
  const box = byId("maps");
  const [across, down, ...others] = axesOf(shown.kind);
  const s = study.scores;
  const scores = new Map(places(s).filter((i) => s.estimator[i] === estimator)
    .map((i) => [s.family[i], i]));
  const ratioFor = (family) => (scores.has(family)
    ? ratioOf(scores.get(family), opponent, budget) : undefined);
  const known = [...facets(shownFamilies(), others)]
    .filter(([, members]) => members.some((family) => ratioFor(family) !== undefined));
  const groups = across === undefined ? [] : known.slice(0, MOST_MAPS);
  for (const old of box.querySelectorAll(".plot")) Plotly.purge(old);
  box.replaceChildren();
  byId("map-note").textContent = mapNote(across, known.length);
  const wanted = groups.flatMap(([, members]) => members).map(ratioFor)
    .filter((r) => r !== undefined);
  const far = wanted.map((r) => Math.abs(height(r)));
  const reach = Math.min(Math.max(...far, 0.5), 3);
  // All boxes are laid out before anything is drawn into them, so that their sizes are final.
  const plots = groups.map(([name]) => {
    const plot = element("div", { class: "plot", role: "group", "aria-label":
      `Heat map of the ratio over ${across}${down ? ` and ${down}` : ""} ${name}; ` +
      "the figures are in the table of verdicts" });
    const figure = element("figure", {}, plot);
    if (name) figure.prepend(element("figcaption", {}, name));
    box.append(figure);
    return plot;
  });
  groups.forEach(([, members], i) => {
    drawMap(plots[i], members, [across, down], ratioFor, reach, look(printing));
  });
}

function mapNote(across, maps) {
  if (across === undefined) {
    return "There is one family of this kind: the plots and tables say all there is.";
  }
  if (!maps) return "There is no ratio of this estimator to this opponent here.";
  return maps > MOST_MAPS
    ? `Showing ${MOST_MAPS} maps; choose among ${maps - MOST_MAPS} more with the filters above.` : "";
}

/** Where a ratio stands on the scale of colours; a ratio without end stands at its end. */
function height(ratio) {
  const value = study.ratios.value[ratio];
  if (value === null) return 3;
  return Math.max(Math.min(Math.log10(Math.max(value, 1e-9)), 3), -3);
}

function drawMap(plot, families, [across, down], ratioFor, reach, colours) {
  const xs = valuesOf(across, families);
  const ys = down === undefined ? [null] : valuesOf(down, families);
  const cells = ys.map(() => xs.map(() => undefined));
  for (const family of families) {
    const y = down === undefined ? 0 : ys.indexOf(settingOf(family, down));
    cells[y][xs.indexOf(settingOf(family, across))] = ratioFor(family);
  }
  const each = (f, otherwise) => cells.map((row) => row.map((r) => (r === undefined ? otherwise : f(r))));
  const r = study.ratios;
  const ticks = [0.001, 0.01, 0.1, 0.3, 1, 3, 10, 100, 1000].filter((v) => {
    const place = Math.abs(Math.log10(v));
    return place <= reach + 1e-9 && (reach < 1.2 || ![0.3, 3].includes(v));
  });
  const trace = {
    type: "heatmap", x: xs.map((v) => plainly(setting(v))), y: ys.map((v) => plainly(setting(v))),
    z: each(height, null), zmin: -reach, zmax: reach, xgap: 3, ygap: 3, hoverongaps: false,
    colorscale: [[0, "#b35806"], [0.25, "#f1a340"], [0.5, "#f3f3f3"], [0.75, "#74aed4"],
      [1, "#08519c"]],
    text: each((i) => `${SIGNS[r.verdict[i]]} ${ratioText(i)}`, ""), texttemplate: "%{text}",
    customdata: each((i) => `${verdictText(i)}: ${ratioText(i)} ${range(r.low[i], r.high[i])}` +
      `<br>vn error ${plainly(errorText(r.score[i]))}<br>` +
      plainly(study.families.name[study.scores.family[r.score[i]]]), ""),
    hovertemplate: "%{customdata}<extra></extra>",
    colorbar: { thickness: 12, outlinewidth: 0, tickvals: ticks.map(Math.log10),
      ticktext: ticks.map(String), title: { text: "ratio", side: "top" } },
  };
  const axis = { type: "category", showgrid: false, zeroline: false, linecolor: GREY };
  Plotly.newPlot(plot, [trace], {
    ...baseLayout(colours),
    margin: { l: 66, r: 8, t: 30, b: 56 },
    xaxis: { ...axis, title: { text: plainly(across) } },
    yaxis: { ...axis, title: { text: plainly(down ?? "") },
      showticklabels: down !== undefined },
  }, CONFIG);
}
