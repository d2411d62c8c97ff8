// Importance: heads by two numbers and a third as colour, the ranking with intervals, parts of heads.

const TOP = 20; // heads that the ranking lists
const SKEWED = 10; // largest over smallest, from which a logarithm helps

/** Ranks from 1, ties share their mean. */
function ranksOf(values) {
  const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
  const ranks = new Array(values.length);
  for (let i = 0; i < order.length;) {
    let end = i;
    while (end < order.length && values[order[end]] === values[order[i]]) end += 1;
    for (let k = i; k < end; k += 1) ranks[order[k]] = (i + end + 1) / 2;
    i = end;
  }
  return ranks;
}

/** Spearman's ρ over the pairs that have both values: `{rho, n}`; rho is null below 4, or where one is constant. */
function spearman(x, y) {
  const both = Array.from(x.keys()).filter((i) => Number.isFinite(x[i]) && Number.isFinite(y[i]));
  const [a, b] = [x, y].map((values) => ranksOf(both.map((i) => values[i])));
  const n = both.length;
  const middle = (n + 1) / 2;
  const product = (p, q) => p.reduce((sum, each, i) => sum + (each - middle) * (q[i] - middle), 0);
  const size = Math.sqrt(product(a, a) * product(b, b));
  return { rho: n < 4 || size === 0 ? null : product(a, b) / size, n };
}

class Importance {
  constructor(app) {
    this.app = app;
    this.name = "importance";
    this.tabs = switchOf("importance-tab", "Importance shows", [
      ["scatter", "Scatter", "Heads by two numbers, a third as colour"],
      ["ranking", "Ranking", "Heads by the atlas' metric, with intervals over images"],
      ["parts", "Parts", "What each ablation of the chosen head costs: the whole head, and parts of it"],
    ], (tab) => {
      this.tab = tab;
      this.draw(this.part);
    });
    this.tab = "scatter";
    this.panel = boardPanel(app, { name: this.name, title: "Importance" }, this.tabs.node);
    this.node = this.panel.node;
    this.views = { scatter: new HeadScatter(app), ranking: new HeadRanking(app), parts: new HeadParts(app) };
    this.panel.body.append(...Object.values(this.views).map(({ node }) => node));
  }

  draw(part) {
    this.part = part;
    const { state } = this.app;
    this.tabs.set(this.tab);
    const nothing = state.metric ? null : { waiting: part?.waiting ?? state.data.waiting };
    if (this.panel.waits(nothing ?? {})) return;
    for (const [tab, view] of Object.entries(this.views)) view.node.hidden = tab !== this.tab;
    this.views[this.tab].draw(part ?? {});
  }

  close() {
    this.views.scatter.plot.close();
  }
}

PANELS.push(Importance);

/** All heads in order: `[layer, head]` of each place of a flat list. */
function allHeads(nHeads) {
  return nHeads.flatMap((n, layer) => Array.from({ length: n }, (_, head) => [layer, head]));
}

/** Values of a metric of all heads in order; NaN where there is none. */
function flatValues(state, metric) {
  return Float64Array.from(state.valuesOf(metric).flat(), (value) => value ?? NaN);
}

const scopeText = (state) => {
  const { n_images: all, n_chosen: chosen } = state.data;
  return state.scope === "mean" ? `mean over ${chosen || all} images` : "this image";
};

class HeadScatter {
  constructor(app) {
    this.app = app;
    this.axes = { x: null, y: null, colour: "atlas" };
    this.log = false;
    const select = (key, label) => element("select", {
      class: "hs-select", "aria-label": label, "data-select": `scatter-${key}`,
      onchange: ({ target }) => {
        this.axes[key] = target.value;
        this.draw();
      },
    });
    this.selects = { y: select("y", "Vertical axis"), x: select("x", "Horizontal axis"), colour: select("colour", "Colour of heads") };
    this.scale = switchOf("scatter-scale", "Scale of the axes", [
      ["linear", "Linear", "Equal steps are equal differences"],
      ["log", "Log", "Equal steps are equal ratios, on axes whose numbers are all positive and spread tenfold or more"],
    ], (scale) => {
      this.log = scale === "log";
      this.draw();
    });
    this.legend = new PlotLegend();
    this.note = element("p", { class: "hs-plot-note", "data-text": "scatter-note" });
    this.plot = new Plot(app, {
      name: "scatter", label: "Heads by two numbers",
      describe: ({ dot }) => this.inWords(dot),
      onhover: (mark, event) => (mark ? app.tooltip.overHead(this.plot.node, ...this.heads[mark.dot], event) : app.tooltip.hide()),
      onclick: ({ dot }, event) => app.pick({ layer: this.heads[dot][0], head: this.heads[dot][1] }, event),
      onlasso: (dots, event) => {
        const marked = dots.map((dot) => this.heads[dot]);
        app.lasso(marked, event);
      },
    });
    const { x, y, colour } = this.selects;
    this.node = element(
      "div", { class: "hs-importance-view" },
      element("div", { class: "hs-plot-row hs-importance-axes" }, element("label", {}, "y", y), element("label", {}, "x", x), element("label", {}, "Colour", colour)),
      element("div", { class: "hs-plot-row" }, this.legend.node, element("span", { class: "hs-push" }), this.scale.node),
      element("div", { class: "hs-plot-place" }, this.plot.node),
      this.note,
    );
  }

  metricOf(key) {
    const { state } = this.app;
    return key === "atlas" ? state.metric : state.data.metrics.find((metric) => metric.key === key) ?? null;
  }

  draw() {
    const { state } = this.app;
    const { metrics } = state.data;
    const first = (...groups) => metrics.find(({ group }) => groups.includes(group)) ?? metrics[0];
    if (!this.metricOf(this.axes.y)) this.axes.y = "atlas";
    if (!this.metricOf(this.axes.x)) this.axes.x = (metrics.find(({ key }) => key === "distance") ?? first("Attention")).key;
    if (this.axes.colour !== "layer" && !this.metricOf(this.axes.colour)) this.axes.colour = "layer";
    const options = metrics.map(({ key, label, group }) => [key, label, group]);
    const atlas = ["atlas", "Atlas' metric"];
    fillSelect(this.selects.y, [atlas, ...options], this.axes.y);
    fillSelect(this.selects.x, [atlas, ...options], this.axes.x);
    fillSelect(this.selects.colour, [["layer", "Layer"], atlas, ...options], this.axes.colour);
    const [x, y, colour] = ["x", "y", "colour"].map((axis) => this.metricOf(this.axes[axis]));
    const key = JSON.stringify([x.key, y.key, colour?.key, this.log, state.scope, this.app.theme]);
    if (this.drawn !== key || this.drawnData !== metrics) {
      Object.assign(this, { drawn: key, drawnData: metrics });
      this.build(x, y, colour);
    }
    this.plot.show(this.spec);
    const places = (list) => list.map(([layer, head]) => ({ dot: this.placed.get(`${layer}.${head}`) })).filter(({ dot }) => dot !== undefined);
    this.plot.highlight({
      chosen: places([[state.head.layer, state.head.head]]), marked: places(state.headsOf("marked")), off: places(state.headsOf("off")),
    });
  }

  build(x, y, colour) {
    const { state, tables, theme } = this.app;
    this.heads = allHeads(state.nHeads);
    this.placed = new Map(this.heads.map((head, i) => [head.join("."), i]));
    const values = { x: flatValues(state, x), y: flatValues(state, y) };
    this.values = { ...values, of: { x, y } };
    const canLog = Object.fromEntries(["x", "y"].map((axis) => [axis, isSkewed(values[axis])]));
    this.scale.node.hidden = !canLog.x && !canLog.y;
    this.scale.set(this.log ? "log" : "linear");
    const axis = (name, { label, unit }) => ({ label: label + (this.log && canLog[name] ? ", log" : ""), unit, log: this.log && canLog[name] });
    let shown;
    if (colour) {
      const all = flatValues(state, colour);
      const [low, high] = state.range(colour) ?? [0, 1];
      const palette = colour.signed ? "signed" : "numbers";
      shown = {
        colour: coloursOf(all, tables[palette], [low, high], { none: theme.empty }),
        legend: { bar: { low, high, anchors: state.data.palette[palette], label: colour.label, unit: colour.unit, zero: colour.signed } },
      };
    } else {
      const layers = Float32Array.from(this.heads, ([layer]) => layer);
      const last = state.nHeads.length - 1;
      shown = {
        colour: coloursOf(layers, tables.numbers, [0, last || 1]),
        legend: { bar: { low: 0, high: last, anchors: state.data.palette.numbers, label: "layer", unit: "" } },
      };
    }
    this.spec = {
      x: axis("x", x), y: axis("y", y), keep: `${x.key} ${y.key} ${this.log}`,
      dots: { ...values, colour: shown.colour, size: this.heads.length > 500 ? 3.5 : 5 },
      lines: [x, y].flatMap((metric, i) => (metric.signed ? [{ ...zeroLine(i, values), guide: true }] : [])),
    };
    this.legend.show(shown.legend);
    const { rho, n } = spearman(values.x, values.y);
    const said = rho === null ? `no rank correlation: ${n < 4 ? `${n} heads have both numbers` : "one number is the same for all"}` : `Spearman's ρ = ${rho < 0 ? "−" : ""}${Math.abs(rho).toFixed(2)} over ${n} heads`;
    setText(this.note, `${said}, ${scopeText(state)}. Click chooses, Shift-click or a lasso marks heads.`);
  }

  inWords(dot) {
    const { x, y, of } = this.values;
    const [layer, head] = this.heads[dot];
    return `layer ${layer}, head ${head}: ${of.x.label} ${inWords(x[dot])} ${of.x.unit}, ${of.y.label} ${inWords(y[dot])} ${of.y.unit}`;
  }
}

/** The line where a signed number is 0, across the other axis. */
function zeroLine(axis, { x, y }) {
  const ends = plotDomain([axis ? x : y], { margin: 0.04 });
  return axis ? { x: ends, y: [0, 0] } : { x: [0, 0], y: ends };
}

/** Whether all values are positive, and spread so far that a logarithm helps. */
function isSkewed(values) {
  const there = values.filter(Number.isFinite);
  const [low, high] = there.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  return low > 0 && high / low >= SKEWED;
}

/** A line from low to high with a dot on it, over a shared range; and the line where 0 is. */
class Strip {
  constructor() {
    this.zero = element("i", { class: "hs-importance-zero" });
    this.line = element("i", { class: "hs-importance-line" });
    this.dot = element("i", { class: "hs-importance-dot" });
    this.node = element("span", { class: "hs-importance-strip", "aria-hidden": "true" }, this.zero, this.line, this.dot);
  }

  show({ value, low, high }, [from, to]) {
    const at = (number) => `${(100 * (number - from)) / (to - from || 1)}%`;
    this.zero.hidden = !(from <= 0 && to >= 0);
    this.zero.style.left = at(0);
    this.line.hidden = !(Number.isFinite(low) && Number.isFinite(high));
    if (!this.line.hidden) Object.assign(this.line.style, { left: at(low), width: `${(100 * (high - low)) / (to - from || 1)}%` });
    this.dot.hidden = !Number.isFinite(value);
    if (!this.dot.hidden) this.dot.style.left = at(value);
  }
}

/** The range of values and their intervals, with 0 in it. */
function stripRange(rows) {
  const all = rows.flatMap(({ value, low, high }) => [value, low, high]).filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  return low < high ? [low - (low < 0 ? 0.03 : 0) * (high - low), high + 0.03 * (high - low)] : [0, 1];
}
