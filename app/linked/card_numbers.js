// Every number of the chosen head, each with its place among all heads; a click colours the atlas by it.

class Numbers {
  constructor(app) {
    this.app = app;
    this.node = element("div", { class: "hs-numbers", "data-text": "numbers" });
  }

  draw(layer, head) {
    const { state } = this.app;
    const { metrics } = state.data;
    const shape = metrics.map(({ key }) => key).join();
    if (this.listed !== shape) this.build(metrics, shape);
    if (!metrics.length) setText(this.node, state.data.waiting);
    metrics.forEach((metric, i) => this.drawRow(this.rows[i], metric, layer, head));
  }

  build(metrics, shape) {
    this.listed = shape;
    this.rows = metrics.map((metric) => element(
      "button",
      { type: "button", class: "hs-number", "data-metric": metric.key, title: `Colour the atlas by: ${metric.label}`, onclick: () => this.app.choose({ metric: metric.key }) },
      element("span", { class: "hs-name" }, metric.label), element("span", { class: "hs-value" }),
      element("span", { class: "hs-unit" }), element("span", { class: "hs-place" }, element("i")),
    ));
    const lines = metrics.map((metric, i) => element("div", { class: "hs-number-line" }, this.rows[i], whatIs(this.app, () => metric.key, metric.label)));
    // A heading stands where a group begins.
    this.node.replaceChildren(...metrics.flatMap(({ group }, i) => (
      group === metrics[i - 1]?.group ? [lines[i]] : [element("h4", {}, group), lines[i]]
    )));
  }

  drawRow(row, metric, layer, head) {
    const { state } = this.app;
    const value = state.valuesOf(metric)[layer][head] ?? null;
    const range = state.range(metric);
    const mass = metric.mass ? metric.mass[state.scope][layer][head] : null;
    const { times, write } = ruler(...(range ?? [0, 0]));
    setText(row.querySelector(".hs-value"), write(value));
    const unit = times + metric.unit + (mass === null ? "" : `, on ${percent(mass)} of the attention`);
    setText(row.querySelector(".hs-unit"), value === null ? missing(state, metric, layer) : unit);
    const at = range && value !== null && range[1] > range[0] ? (value - range[0]) / (range[1] - range[0]) : null;
    row.querySelector("i").style.left = at === null ? "-9em" : `${100 * at}%`;
    row.setAttribute("aria-pressed", String(metric === state.metric));
  }
}
