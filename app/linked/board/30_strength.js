// The panel "Strength": hop profiles of all heads, where a head looks from a patch, numbers over layers.

const STRENGTH_TABS = [
  ["profiles", "Profiles", "Attention by hop, a line for each head"],
  ["offsets", "Offsets", "Where the chosen head looks from any patch"],
  ["trend", "Trend", "A number of attention over layers"],
];

class StrengthPanel {
  constructor(app) {
    this.app = app;
    this.name = "strength";
    this.tabs = switchOf("strength-tab", "What is shown", STRENGTH_TABS, (strength) => app.look({ strength }));
    this.panel = boardPanel(app, { name: this.name, title: "Strength" }, this.tabs.node);
    this.views = { profiles: new StrengthProfiles(app), offsets: new StrengthOffsets(app), trend: new StrengthTrend(app) };
    for (const { node } of Object.values(this.views)) {
      node.hidden = true;
      this.panel.body.append(node);
    }
    this.node = this.panel.node;
  }

  draw(part) {
    const started = performance.now();
    const tab = this.app.state.looking.strength ?? "profiles";
    this.tabs.set(tab);
    this.tabs.node.hidden = this.panel.waits(part);
    if (this.tabs.node.hidden) return;
    Object.entries(this.views).forEach(([key, { node }]) => { node.hidden = key !== tab; });
    this.views[tab].draw(part);
    this.node.dataset.drawn = (performance.now() - started).toFixed(1);
  }

  close() {
    Object.values(this.views).forEach((view) => view.close());
  }
}

PANELS.push(StrengthPanel);

/** What the views have in common: controls above, a plot or a sentence, a line of text below. */
class StrengthView {
  constructor(app, name, ...controls) {
    this.app = app;
    this.frame = element("div", { class: "hs-strength-frame" });
    this.about = element("p", { class: "hs-muted hs-strength-about", "data-text": `strength-${name}`, "aria-live": "polite" });
    this.none = element("p", { class: "hs-muted hs-strength-none" });
    this.node = element(
      "div", { class: "hs-strength-view", "data-view": name },
      element("div", { class: "hs-strength-controls" }, ...controls), this.frame, this.none, this.about,
    );
  }

  /** A sentence in the plot's place; null: the plot. */
  lacks(sentence) {
    this.frame.hidden = Boolean(sentence);
    this.none.hidden = !sentence;
    setText(this.none, sentence ?? "");
    return Boolean(sentence);
  }

  /** All heads, `[[layer, head], …]`, in reading order; the same list while the heads are the same. */
  get heads() {
    const { nHeads } = this.app.state;
    if (this.headsOf !== nHeads) {
      this.headsOf = nHeads;
      this.listed = nHeads.flatMap((count, layer) => Array.from({ length: count }, (_, head) => [layer, head]));
    }
    return this.listed;
  }

  /** Of this image, or mean of so many. */
  get whose() {
    const { state } = this.app;
    return state.scope === "mean" ? `mean of ${state.data.n_chosen || state.data.n_images} images` : "this image";
  }

  overHead(at, event) {
    if (at) this.app.tooltip.overHead(this.frame, ...at, event);
    else this.app.tooltip.hide();
  }

  close() {
    this.plot?.close();
  }
}

/** Lines of heads, of which those of the chosen head's layer are stronger and its own has dots. */
class ProfilePlot extends Plot {
  outline(context, mark, colour, dash, width) {
    const { accent } = this.app.theme;
    if (mark.of === "layer") {
      context.globalAlpha = 0.5;
      super.outline(context, mark, accent, [], 1.5);
      context.globalAlpha = 1;
      return;
    }
    super.outline(context, mark, colour, dash, width);
    if (mark.of !== "head" || colour !== accent) return;
    context.fillStyle = accent;
    for (const point of this.paths[mark.line] ?? []) {
      if (!point) continue;
      context.beginPath();
      context.arc(...point, 3.5, 0, 2 * Math.PI);
      context.fill();
    }
  }
}

class StrengthProfiles extends StrengthView {
  constructor(app) {
    const kind = switchOf("strength-profile", "Lines show", [
      ["sum", "Sum per hop", "All attention at that hop: falls to 0 where few patches are so far away"],
      ["mean", "Mean per neighbour", "Attention on one patch at that hop: the sum divided by the number of patches there"],
    ], (profile) => app.look({ profile }));
    const scale = switchOf("strength-scale", "Axis of attention", [
      ["linear", "Linear", "From 0"], ["log", "Log", "Equal steps are equal ratios: faint attention is seen beside strong"],
    ], (strengthScale) => app.look({ strengthScale }));
    super(app, "profiles", kind.node, element("span", { class: "hs-push" }), scale.node);
    Object.assign(this, { kind, scale });
    this.plot = new ProfilePlot(app, {
      name: "profiles", label: "Hop profiles of all heads",
      describe: ({ line }) => this.inWords(this.lines[line]),
      onhover: (mark, event) => this.overHead(mark ? this.lines[mark.line] : null, event),
      onclick: ({ line }, event) => app.pick({ layer: this.lines[line][0], head: this.lines[line][1] }, event),
    });
    this.frame.append(this.plot.node);
  }

  draw() {
    const { state } = this.app;
    const { profile: kind, strengthScale: scale = "linear" } = state.looking;
    this.kind.set(kind);
    this.scale.set(scale);
    const { profile } = state.data;
    const lacking = !profile?.hops.some((hops) => hops > 0);
    setText(this.about, lacking ? "" : this.caption());
    if (this.lacks(lacking ? "There are no hop profiles: no patch attends to patches, or they were not asked for." : null)) return;
    const of = [profile, state.scope, kind, scale, this.app.theme.muted];
    if (!this.of || of.some((value, i) => value !== this.of[i])) {
      this.of = of;
      this.spec = this.makeSpec(profile[state.scope][kind === "sum" ? "hop_sum" : "hop_mean"], profile.hops);
    }
    this.plot.show(this.spec);
    this.plot.highlight(this.highlights());
  }

  caption() {
    const { state } = this.app;
    const n = state.headsOf("marked").length;
    return `${this.whose}: thick line layer ${state.head.layer}, head ${state.head.head} · coloured lines its layer${n ? " · dashed lines the head set" : ""} · hop 0 is the patch itself`;
  }

  makeSpec(values, hops) {
    const { state, theme } = this.app;
    const summing = state.looking.profile === "sum";
    this.lines = this.heads.filter(([layer, head]) => hops[layer] && values[layer][head]?.some((value) => value !== null));
    const px = new Set(state.layers.map((layer) => Math.max(...coarseGrid(layer.queries, layer.keys).unit)));
    const unit = px.size === 1 ? `patches of ${inWords([...px][0])} px` : "patches of the layer's grid";
    const log = state.looking.strengthScale === "log";
    return {
      x: { label: "Hop", unit, whole: true, domain: [-0.3, Math.max(...hops) - 0.7] },
      y: { label: summing ? "Attention at the hop" : "Attention on one patch", unit: "%", zero: !log, log },
      lines: this.lines.map(([layer, head]) => {
        const own = values[layer][head].slice(0, hops[layer]);
        return { x: own.map((_, hop) => hop), y: own.map((value) => (value === null ? null : 100 * value)), colour: theme.muted, width: 1, opacity: 0.45 };
      }),
    };
  }

  highlights() {
    const { state } = this.app;
    const { layer, head } = state.head;
    const found = { marked: [], off: [], chosen: [] };
    this.lines.forEach(([l, h], line) => {
      if (l === layer && h === head) found.chosen.push({ line, of: "head" });
      else if (l === layer) found.marked.push({ line, of: "layer" });
    });
    this.lines.forEach(([l, h], line) => {
      if (state.isMarked(l, h)) found.marked.push({ line });
      if (state.isOff(l, h)) found.off.push({ line });
    });
    return found;
  }

  inWords([layer, head]) {
    const { state } = this.app;
    const values = state.data.profile[state.scope][state.looking.profile === "sum" ? "hop_sum" : "hop_mean"][layer][head];
    return `layer ${layer}, head ${head}: ${percent(values[0])} at hop 0, ${percent(values[1])} at hop 1`;
  }
}

class StrengthTrend extends StrengthView {
  constructor(app) {
    const metric = element("select", {
      class: "hs-select", "aria-label": "Number over layers", "data-select": "trend", onchange: () => app.look({ trend: metric.value }),
    });
    const key = element("span", { class: "hs-muted hs-strength-key" });
    super(app, "trend", metric, key);
    Object.assign(this, { metric, key });
    this.plot = new Plot(app, {
      name: "trend", label: "A number of attention of every head, over layers",
      describe: (mark) => this.inWords(mark),
      onhover: (mark, event) => this.hover(mark, event),
      onclick: ({ dot }, event) => {
        if (dot !== undefined) app.pick({ layer: this.dots[dot][0], head: this.dots[dot][1] }, event);
      },
      onlasso: (dots, event) => app.lasso(dots.map((dot) => this.dots[dot]), event),
    });
    this.frame.append(this.plot.node);
  }

  draw(part) {
    const { state, theme } = this.app;
    const byKey = new Map(state.data.metrics.map((metric) => [metric.key, metric]));
    const there = part.trends.filter(({ key }) => byKey.has(key));
    const wanted = state.looking.trend ?? "distance";
    const trend = there.find(({ key }) => key === wanted) ?? there[0];
    fillSelect(this.metric, there.map(({ key }) => [key, byKey.get(key).label]), trend?.key ?? "");
    this.metric.disabled = !there.length;
    if (this.lacks(trend ? null : "There are no numbers of attention.")) return setText(this.about, "");
    const metric = byKey.get(trend.key);
    this.metric.title = metric.description;
    this.trend = trend;
    this.unit = metric.unit;
    this.values = state.valuesOf(metric);
    const of = [trend, this.values, theme.muted];
    if (!this.of || of.some((value, i) => value !== this.of[i])) {
      this.of = of;
      this.spec = this.makeSpec(metric);
    }
    setText(this.key, `dots: heads, ${this.whose}`);
    if (!this.pointed) setText(this.about, this.caption());
    this.plot.show(this.spec);
    const at = ([layer, head], test) => test(layer, head);
    const where = (test) => this.dots.flatMap((each, dot) => (at(each, test) ? [{ dot }] : []));
    return this.plot.highlight({
      chosen: where((layer, head) => layer === state.head.layer && head === state.head.head),
      marked: where((layer, head) => state.isMarked(layer, head)),
      off: where((layer, head) => state.isOff(layer, head)),
    });
  }

  makeSpec(metric) {
    const { state, theme } = this.app;
    const { nHeads } = state;
    const { trend, values } = this;
    this.dots = this.heads.filter(([layer, head]) => values[layer][head] !== null);
    // Heads of a layer stand beside each other in their order, within half of its width.
    const place = ([layer, head]) => layer + (0.5 * (head - (nHeads[layer] - 1) / 2)) / Math.max(1, nHeads[layer] - 1);
    const layers = nHeads.map((_, layer) => layer);
    return {
      x: { label: "Layer", ticks: layers.map((layer) => [layer, String(layer)]), domain: [-0.5, nHeads.length - 0.5] },
      y: { label: metric.label, unit: metric.unit },
      dots: {
        x: Float32Array.from(this.dots, place), y: Float32Array.from(this.dots, ([layer, head]) => values[layer][head]),
        colour: theme.prefix, size: this.dots.length > 200 ? 3 : 4.5,
      },
      lines: trend.mean ? [{ x: layers, y: trend.mean, low: trend.low, high: trend.high, colour: theme.ink, width: 2 }] : [],
    };
  }

  caption() {
    const { trend } = this;
    if (!trend.mean) return trend.reason;
    const n = Math.max(...trend.n_images);
    const line = `Line: mean over the heads of a layer${n > 1 ? ` and ${n} images` : ""}`;
    const method = { bca: "BCa bootstrap", percentile: "percentile bootstrap", t: "Student's t" }[trend.method] ?? trend.method;
    const sure = trend.low.some(Number.isFinite) ? `; band: ${percent(trend.confidence)} interval over images (${method})` : "";
    return `${line}${sure}. ${trend.reason}`;
  }

  hover(mark, event) {
    this.pointed = mark?.line !== undefined;
    if (this.pointed) {
      this.app.tooltip.hide();
      const layer = Math.max(0, Math.min(this.app.state.nHeads.length - 1, Math.round(this.plot.x.from(event.offsetX ?? 0))));
      setText(this.about, this.ofLayer(layer));
      return;
    }
    if (this.trend) setText(this.about, this.caption());
    this.overHead(mark ? this.dots[mark.dot] : null, event);
  }

  ofLayer(layer) {
    const { mean, low, high, n_images: n } = this.trend;
    const { times, write } = ruler(Math.min(...mean.filter(Number.isFinite)), Math.max(...mean.filter(Number.isFinite)));
    const sure = Number.isFinite(low[layer]) ? ` (${write(low[layer])} to ${write(high[layer])})` : "";
    return `Layer ${layer}: mean ${Number.isFinite(mean[layer]) ? write(mean[layer]) : "–"}${sure} ${times}${this.unit}, ${n[layer]} image${n[layer] === 1 ? "" : "s"}.`;
  }

  inWords({ dot, line }) {
    if (line !== undefined) return "mean of each layer";
    const [layer, head] = this.dots[dot];
    return `layer ${layer}, head ${head}: ${inWords(this.values[layer][head])} ${this.unit}`;
  }
}
