// How far a head looks: attention by hop, beside what goes to the prefix tokens.

/** plotly.js from the plotly wheel, asked for once in each page. */
function plotly(address) {
  window.headscopePlotly ??= new Promise((resolve, reject) => {
    if (window.Plotly) resolve(window.Plotly);
    document.head.append(element("script", {
      src: new URL(address, document.baseURI).href,
      onload: () => resolve(window.Plotly),
      onerror: () => reject(new Error(`plotly.js is not at ${address}`)),
    }));
  });
  return window.headscopePlotly;
}

class Profile {
  constructor(app) {
    this.app = app;
    this.kind = switchOf("profile", "Bars show", [
      ["sum", "Sum per hop", "All attention at that hop: bars and prefix tokens together sum to 1"],
      ["mean", "Mean per neighbour", "Attention on one patch at that hop: the sum divided by the number of patches there"],
    ], (profile) => app.look({ profile }));
    this.caption = element("span", { class: "hs-muted", "data-text": "profile" });
    this.plot = element("div", { class: "hs-plot", "data-plot": "profile" });
    this.node = element(
      "section", { class: "hs-profile", "aria-label": "Hop profile" },
      element("header", {}, element("h3", {}, "Hop profile"), this.caption, element("span", { class: "hs-push" }), this.kind.node),
      this.plot,
    );
  }

  /** Attention of one query patch by hop, from its map: sums and numbers of patches. */
  ofQuery(patch, values, nHops) {
    const { queries, keys } = this.app.state.layer;
    const grid = coarseGrid(queries, keys);
    const [row, column] = grid.cell(queries, patch);
    const sums = new Array(nHops).fill(0);
    const counts = sums.map(() => 0);
    values.forEach((value, key) => {
      const [r, c] = grid.cell(keys, key);
      const hop = Math.max(Math.abs(r - row), Math.abs(c - column));
      sums[hop] += value;
      counts[hop] += 1;
    });
    return { sums, counts };
  }

  draw() {
    const { state } = this.app;
    const { profile } = state.data;
    const { layer, head } = state.head;
    this.kind.set(state.looking.profile);
    const summing = state.looking.profile === "sum";
    const nHops = profile?.hops[layer] ?? 0;
    this.plot.classList.toggle("hs-idle", !nHops);
    this.plot.classList.toggle("hs-none", !nHops);
    if (!nHops) {
      setText(this.caption, profile || state.data.measured ? "none: no patch attends here" : "");
      return;
    }
    const numbers = profile[state.scope];
    const prefix = profile.prefix[layer].map(({ at, kind, tokens }) => ({
      name: tokens > 1 ? `${kind}s` : kind,
      value: (numbers.prefix[layer][head]?.[at] ?? null) / (summing ? 1 : tokens),
    }));
    const bars = ((summing ? numbers.hop_sum : numbers.hop_mean)[layer][head] ?? []).slice(0, nHops);
    const { query } = state;
    const patch = state.layer.queries.patchOf.get(query);
    const map = patch === undefined ? null : state.patchWeights(layer, head, query);
    let dots = null;
    if (map) {
      const { sums, counts } = this.ofQuery(patch, map.values, nHops);
      dots = sums.map((sum, hop) => (counts[hop] ? sum / (summing ? 1 : counts[hop]) : null));
    }
    setText(this.caption, dots ? `bars: mean query · dots: ${state.queryLabel(layer)}` : "mean of patch queries");
    const { unit } = coarseGrid(state.layer.queries, state.layer.keys);
    this.latest = { prefix, bars, dots, hops: Array.from({ length: nHops }, (_, hop) => hop), px: Math.max(...unit), summing };
    plotly(state.data.plotly).then((Plotly) => this.render(Plotly), (error) => setText(this.caption, error.message));
  }

  render(Plotly) {
    const { prefix, bars, dots, hops, px, summing } = this.latest;
    const far = hops.map((hop) => `${Number((hop * px).toPrecision(3))} px`);
    const { theme } = this.app;
    const { muted } = theme;
    const family = getComputedStyle(this.plot).fontFamily;
    const share = prefix.length ? 0.03 + 0.08 * prefix.length : 0;
    const unit = "%{y:.2~%}";
    const traces = [
      { type: "bar", x: prefix.map(({ name }) => name), y: prefix.map(({ value }) => value), marker: { color: theme.prefix }, hovertemplate: `%{x}: ${unit}<extra></extra>` },
      { type: "bar", x: hops, y: bars, customdata: far, xaxis: "x2", marker: { color: theme.hop }, hovertemplate: `hop %{x} (%{customdata}): ${unit}<extra></extra>` },
      { type: "scatter", mode: "markers", x: hops, y: dots ?? [], xaxis: "x2", marker: { color: theme.ink, size: 5 }, cliponaxis: false, hovertemplate: `this query, hop %{x}: ${unit}<extra></extra>`, visible: Boolean(dots) },
    ];
    const axis = { showgrid: false, zeroline: false, fixedrange: true, ticks: "", tickfont: { color: muted }, title: { font: { color: muted, size: 11 }, standoff: 6 } };
    const layout = {
      margin: { l: 46, r: 4, t: 6, b: 34 }, bargap: 0.25, showlegend: false, height: this.plot.clientHeight, width: this.plot.clientWidth,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: family, size: 11, color: theme.ink },
      xaxis: { ...axis, domain: [0, Math.max(0.001, share - 0.03)], type: "category", tickangle: 0, title: { ...axis.title, text: prefix.length ? "prefix" : "" } },
      xaxis2: { ...axis, domain: [share, 1], type: "linear", dtick: Math.ceil(hops.length / 16), range: [-0.6, hops.length - 0.4], title: { ...axis.title, text: "hop (patches)" } },
      yaxis: { ...axis, showgrid: true, gridcolor: theme.line, rangemode: "tozero", tickformat: ".2~%", nticks: 5, title: { ...axis.title, text: summing ? "share of attention" : "share per token" } },
      hoverlabel: { font: { family: family, size: 12 } },
    };
    Plotly.react(this.plot, traces, layout, { displayModeBar: false, responsive: false });
  }
}

/** The coarser of two grids, on which hops are counted: its unit in pixels, and cells of patches. */
function coarseGrid(queries, keys) {
  const coarse = [0, 1].map((axis) => Math.min(queries.grid[axis], keys.grid[axis]));
  const unit = [0, 1].map((axis) => Math.max(queries.patchPx[axis], keys.patchPx[axis]));
  const cell = (tokens, patch) => {
    const own = !tokens.scattered && tokens.grid.join() === coarse.join();
    if (own) return [Math.floor(patch / coarse[1]), patch % coarse[1]];
    return tokens.centre(patch).map((place, axis) => Math.min(Math.floor(place / unit[axis]), Math.max(coarse[axis] - 1, 0)));
  };
  return { unit, cell };
}
