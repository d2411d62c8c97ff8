// Two lists of the importance panel: heads in order, and what each ablation of one head costs.

/** Value of a head by a metric and its interval over images: `{value, low, high, n}`. */
function withInterval(state, part, metric, layer, head) {
  const at = state.nHeads.slice(0, layer).reduce((sum, n) => sum + n, 0) + head;
  const interval = part.intervals?.[metric.key];
  return {
    value: state.valuesOf(metric)[layer][head] ?? NaN,
    low: interval?.low[at] ?? NaN, high: interval?.high[at] ?? NaN, n: interval?.n ?? 0,
  };
}

/** What dots and lines of a list are, in one sentence. */
function intervalWords(state, part, metric) {
  if (part.busy) return part.busy;
  const interval = part.intervals?.[metric.key];
  const share = Math.round(100 * (part.confidence ?? 0.95));
  if (!interval) return part.intervals ? "One number of all images together: there is no interval." : "";
  if (interval.n < 3) return `${interval.n} image${interval.n === 1 ? "" : "s"}: an interval over images takes 3.`;
  return state.scope === "mean"
    ? `Dot: mean over ${interval.n} images; line: its ${share} % interval (Student's t).`
    : `Dot: this image; line: ${share} % interval of the mean over ${interval.n} images (Student's t).`;
}

class HeadRanking {
  constructor(app) {
    this.app = app;
    this.list = element("div", { class: "hs-importance-list", role: "listbox", "aria-label": "Heads by the atlas' metric", "data-text": "ranking" });
    this.title = element("p", { class: "hs-plot-note", "data-text": "ranking-title" });
    this.note = element("p", { class: "hs-plot-note", "data-text": "ranking-note" });
    this.node = element("div", { class: "hs-importance-view" }, this.title, this.list, this.note);
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.rows = [];
  }

  key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const at = this.rows.findIndex(({ node }) => node === event.target);
    const next = this.rows[at + step];
    if (!step || !next) return;
    event.preventDefault();
    next.node.focus();
    this.app.choose({ layer: next.layer, head: next.head });
  }

  draw(part) {
    const { state } = this.app;
    const { metric } = state;
    const { layer, head } = state.head;
    const values = flatValues(state, metric);
    if (this.drawnPart !== part || this.drawnValues !== state.valuesOf(metric)) {
      const heads = allHeads(state.nHeads);
      const order = Array.from(values.keys()).filter((i) => Number.isFinite(values[i])).sort((a, b) => values[b] - values[a] || a - b);
      this.ranked = order.map((i, place) => ({ layer: heads[i][0], head: heads[i][1], place, ...withInterval(state, part, metric, ...heads[i]) }));
      this.range = stripRange(this.ranked);
      Object.assign(this, { drawnPart: part, drawnValues: state.valuesOf(metric) });
      this.listed = false;
      setText(this.title, `${metric.label}${metric.unit ? ` (${metric.unit})` : ""}, ${scopeText(state)}, largest first`);
      setText(this.note, intervalWords(state, part, metric));
    }
    const own = this.ranked.find((each) => each.layer === layer && each.head === head);
    if (!this.listed) this.build(metric);
    this.showLast(own && own.place >= TOP ? own : null, metric);
    for (const row of this.rows) {
      const chosen = row.layer === layer && row.head === head;
      row.node.setAttribute("aria-selected", String(chosen));
      row.node.tabIndex = chosen || (!own && row === this.rows[0]) ? 0 : -1;
      row.node.classList.toggle("hs-importance-marked", state.isMarked(row.layer, row.head));
      row.node.classList.toggle("hs-importance-off", state.isOff(row.layer, row.head));
      if (chosen && this.shownHead !== row) this.reveal(row.node);
      if (chosen) this.shownHead = row;
    }
  }

  /** Scrolls the list alone, not the page, until a row is seen. */
  reveal({ offsetTop, offsetHeight }) {
    const { list } = this;
    const top = offsetTop - list.offsetTop;
    list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + offsetHeight - list.clientHeight));
  }

  /** The first heads; the chosen one stands below them where it is not among them. */
  build(metric) {
    const focused = this.rows.findIndex(({ node }) => node === document.activeElement);
    this.top = this.ranked.slice(0, TOP).map((each) => this.row(each, metric));
    this.last = null;
    this.rows = this.top;
    this.list.replaceChildren(...this.rows.map(({ node }) => node));
    this.rows[focused]?.node.focus();
    if (!this.rows.length) this.list.append(element("p", { class: "hs-muted" }, "No head has a value by this metric."));
    this.listed = true;
  }

  showLast(own, metric) {
    if (this.last?.place === own?.place) return;
    const focused = this.last?.node === document.activeElement;
    this.last?.node.remove();
    this.last = own ? this.row(own, metric) : null;
    if (this.last) this.list.append(this.last.node);
    if (focused) (this.last ?? this.top.at(-1)).node.focus();
    this.rows = this.last ? [...this.top, this.last] : this.top;
  }

  row(each, metric) {
    const { app } = this;
    const { times, write } = ruler(...this.range);
    const strip = new Strip();
    strip.show(each, this.range);
    const interval = Number.isFinite(each.low) ? `, interval ${write(each.low)} to ${write(each.high)}` : "";
    const node = element(
      "button", {
        type: "button", role: "option", class: `hs-importance-row${each.place > TOP ? " hs-importance-apart" : ""}`,
        "aria-label": `${ordinal(each.place + 1)}: layer ${each.layer}, head ${each.head}, ${write(each.value)} ${times}${metric.unit}${interval}`,
        "data-layer": String(each.layer), "data-head": String(each.head),
        onclick: (event) => app.pick(each, event),
        onpointerenter: () => app.tooltip.overHead(node, each.layer, each.head),
        onpointerleave: () => app.tooltip.hide(),
      },
      element("span", { class: "hs-unit" }, String(each.place + 1)), element("span", {}, `L${each.layer} H${each.head}`),
      strip.node, element("span", { class: "hs-value" }, `${write(each.value)}${times ? ` ${times.trim()}` : ""}`),
    );
    return { node, layer: each.layer, head: each.head, place: each.place };
  }
}

class HeadParts {
  constructor(app) {
    this.app = app;
    this.title = element("p", { class: "hs-plot-note", "data-text": "parts-title" });
    this.list = element("div", { class: "hs-importance-list", "data-text": "parts" });
    this.note = element("p", { class: "hs-plot-note", "data-text": "parts-note" });
    this.sentence = element("p", { class: "hs-muted" });
    this.command = element("code", { class: "hs-importance-command", tabindex: "0", "aria-label": "Command", "data-text": "parts-command" });
    this.missing = element("div", { class: "hs-importance-missing", "data-text": "parts-missing" }, this.sentence, this.command);
    this.node = element("div", { class: "hs-importance-view" }, this.title, this.list, this.note, this.missing);
  }

  draw(part) {
    const { state } = this.app;
    const { metrics } = state.data;
    const families = part.families ?? {};
    const base = state.metric.key.split(":")[0];
    const family = families[base] ?? Object.values(families)[0];
    const { layer, head } = state.head;
    const rows = (part.parts ?? []).flatMap((each) => {
      const metric = metrics.find(({ key }) => key === family?.[each.name]);
      return metric ? [{ ...each, metric, ...withInterval(state, part, metric, layer, head) }] : [];
    });
    const some = rows.some(({ is_part: cut }) => cut);
    this.missing.hidden = !part.command || some;
    setText(this.sentence, rows.length
      ? "This study cuts no parts of heads. This command measures them, too:"
      : "This study was made without importance. This command measures heads and parts of them:");
    setText(this.command, part.command ?? "");
    this.list.hidden = !rows.length;
    if (!rows.length) {
      setText(this.title, part.waiting ?? "");
      setText(this.note, "");
      return;
    }
    const { metric } = rows[0];
    const label = metric.label.replace(/ \([^()]* ablation\)$/, "");
    setText(this.title, `${label} (${metric.unit}) by what is done to layer ${layer}, head ${head}`);
    setText(this.note, [intervalWords(state, part, metric), rows.some((row) => row.is_converse) ? "* All other heads of the layer are removed: less is more important." : ""].filter(Boolean).join(" "));
    const range = stripRange(rows);
    const { times, write } = ruler(...range);
    const shape = rows.map(({ metric: { key } }) => key).join();
    if (this.shape !== shape) this.build(rows, shape);
    rows.forEach((row, i) => {
      const { node, strip, value } = this.rows[i];
      strip.show(row, range);
      const interval = Number.isFinite(row.low) ? ` (${write(row.low)} to ${write(row.high)})` : "";
      setText(value, `${Number.isFinite(row.value) ? write(row.value) : "–"}${interval}${times ? ` ${times.trim()}` : ""}`);
      node.setAttribute("aria-pressed", String(row.metric === state.metric));
    });
  }

  build(rows, shape) {
    this.rows = rows.map(({ name, words, is_part: cut, is_converse: converse, metric }) => {
      const strip = new Strip();
      const value = element("span", { class: "hs-value" });
      const node = element(
        "button", { type: "button", class: "hs-importance-part", "data-part": name, title: `${words} Click to colour the atlas by it.`, onclick: () => this.app.choose({ metric: metric.key }) },
        element("span", { class: "hs-importance-name" }, `${name}${converse ? " *" : ""}`, element("span", { class: "hs-unit" }, cut ? "part" : "whole head")),
        strip.node, value,
        element("span", { class: "hs-unit hs-importance-words" }, words),
      );
      return { node, strip, value };
    });
    const focused = Array.from(this.list.children).indexOf(document.activeElement);
    this.list.replaceChildren(...this.rows.map(({ node }) => node));
    this.rows[focused]?.node.focus();
    this.shape = shape;
  }
}
