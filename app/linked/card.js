// The head card: title, selection in words, what the query attends to, the head's numbers.

class Card {
  constructor(app) {
    this.app = app;
    this.overlay = new Overlay(app);
    this.profile = new Profile(app);
    this.title = element("h2", { "data-text": "head", "aria-live": "polite" });
    this.subtitle = element("p", { class: "hs-muted hs-rank", "data-text": "rank" });
    const select = (name, label, onchange) => element("select", { class: "hs-select", "aria-label": label, "data-select": name, onchange });
    this.layer = select("layer", "Layer", () => {
      const layer = Number(this.layer.value);
      app.choose({ layer, head: Math.min(app.state.head.head, app.state.nHeads[layer] - 1) });
    });
    this.head = select("head", "Head", () => app.choose({ layer: app.state.head.layer, head: Number(this.head.value) }));
    this.token = select("token", "Query token", () => app.choose({ token: Number(this.token.value) }));
    this.query = element("h3", { "data-text": "query" });
    this.chips = element("div", { class: "hs-chips", role: "group", "aria-label": "Prefix tokens" });
    this.rest = element("div", { class: "hs-rest" });
    this.numbers = element("div", { class: "hs-numbers", "data-text": "numbers" });
    this.node = element(
      "section", { class: "hs-panel hs-panel-card", "aria-label": "Head card" },
      element(
        "header", {}, this.title, element("span", { class: "hs-push" }),
        element("label", {}, "Layer", this.layer), element("label", {}, "Head", this.head), element("label", {}, "Query", this.token),
      ),
      this.subtitle,
      element(
        "div", { class: "hs-card-body" },
        this.overlay.node,
        element(
          "div", { class: "hs-side" }, this.query, this.chips, this.rest,
          element("h3", {}, "Numbers"), this.numbers,
        ),
      ),
      this.profile.node,
    );
  }

  draw() {
    const { state } = this.app;
    const { layer, head } = state.head;
    setText(this.title, state.nHeads.length ? `Layer ${layer}, head ${head}` : "Head card");
    const metric = state.metric;
    const rank = metric ? state.rank(metric, layer, head) : null;
    const nHeads = state.nHeads.reduce((sum, heads) => sum + heads, 0);
    setText(this.subtitle, rank
      ? `${rank.place === 1 ? "largest" : `${ordinal(rank.place)} largest`} of ${rank.of} by ${metric.label.toLowerCase()}`
      : nHeads ? `one of ${nHeads} heads` : "");
    fillSelect(this.layer, state.nHeads.map((_, i) => [i, String(i)]), layer);
    fillSelect(this.head, Array.from({ length: state.nHeads[layer] ?? 0 }, (_, i) => [i, String(i)]), head);
    if (state.layout) fillSelect(this.token, [...state.prefix, ...state.patches].map((token) => [token, state.labelOf(token)]), state.token);
    this.overlay.draw();
    this.drawQuery(layer, head);
    this.drawNumbers(layer, head);
    this.profile.draw();
  }

  /** Where the attention of the query goes: prefix tokens one by one, patches together. */
  drawQuery(layer, head) {
    const { state } = this.app;
    if (!state.layout) return;
    const { query } = state;
    setText(this.query, `Query ${state.labelOf(query)} attends to`);
    const map = state.patchWeights(layer, head, query);
    const shape = state.prefix.join();
    if (this.shape !== shape) {
      this.shape = shape;
      this.chips.replaceChildren(...state.prefix.map((token) => element(
        "button",
        { type: "button", class: "hs-chip", "data-token": String(token), title: `Take ${state.labelOf(token)} as the query`, onclick: () => this.app.choose({ token }) },
        element("span", { class: "hs-fill" }), element("span", { class: "hs-name" }, state.labelOf(token)), element("span", { class: "hs-value" }),
      )));
      this.rest.replaceChildren(element("span", { class: "hs-fill" }), element("span", { class: "hs-name" }, "patches, together"), element("span", { class: "hs-value" }));
    }
    let onPrefix = 0;
    for (const chip of this.chips.children) {
      const token = Number(chip.dataset.token);
      const weight = map ? map.row[token] * map.scale : null;
      onPrefix += weight ?? 0;
      fillShare(chip, weight);
      chip.setAttribute("aria-pressed", String(token === state.token));
    }
    fillShare(this.rest, map ? Math.max(0, 1 - onPrefix) : null);
  }

  drawNumbers(layer, head) {
    const { state } = this.app;
    const { metrics } = state.data;
    const shape = metrics.map(({ key }) => key).join();
    if (this.listed !== shape) {
      this.listed = shape;
      this.numbers.replaceChildren(...metrics.map((metric) => element(
        "button",
        { type: "button", class: "hs-number", "data-metric": metric.key, title: `${metric.description} Click to colour the atlas by it.`, onclick: () => this.app.choose({ metric: metric.key }) },
        element("span", { class: "hs-name" }, metric.label), element("span", { class: "hs-value" }),
        element("span", { class: "hs-unit" }), element("span", { class: "hs-place" }, element("i")),
      )));
    }
    if (!metrics.length) setText(this.numbers, state.data.waiting);
    metrics.forEach((metric, i) => {
      const row = this.numbers.children[i];
      const value = state.valuesOf(metric)[layer][head] ?? null;
      const range = state.range(metric);
      const mass = metric.mass ? metric.mass[state.scope][layer][head] : null;
      const { times, write } = ruler(...(range ?? [0, 0]));
      setText(row.querySelector(".hs-value"), write(value));
      setText(row.querySelector(".hs-unit"), times + metric.unit + (mass === null ? "" : `, on ${percent(mass)} of the attention`));
      const at = range && value !== null && range[1] > range[0] ? (value - range[0]) / (range[1] - range[0]) : null;
      row.querySelector("i").style.left = at === null ? "-9em" : `${100 * at}%`;
      row.setAttribute("aria-pressed", String(metric === state.metric));
    });
  }
}

function fillShare(row, share) {
  row.querySelector(".hs-fill").style.width = `${100 * Math.min(1, share ?? 0)}%`;
  setText(row.querySelector(".hs-value"), percent(share));
}
