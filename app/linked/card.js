// The head card: title, selection in words, what the query attends to, the head's numbers.

class Card {
  constructor(app) {
    this.app = app;
    this.overlay = new Overlay(app);
    this.profile = new Profile(app);
    this.title = element("h2", { "data-text": "head", "aria-live": "polite" });
    this.subtitle = element("p", { class: "hs-muted hs-rank", "data-text": "rank" });
    const select = (name, label, onchange) => element("select", { class: "hs-select", "aria-label": label, "data-select": name, onchange });
    this.attention = element("p", { class: "hs-muted hs-attention", "data-text": "attention" });
    this.layer = select("layer", "Layer", () => {
      const layer = Number(this.layer.value);
      app.choose({ layer, head: Math.min(app.state.head.head, app.state.nHeads[layer] - 1) });
    });
    this.head = select("head", "Head", () => app.choose({ layer: app.state.head.layer, head: Number(this.head.value) }));
    this.token = select("token", "Query token", () => {
      const chosen = this.token.value;
      app.choose({ place: chosen === MEAN ? { named: MEAN } : app.state.layer.queries.placeOf(Number(chosen)) });
    });
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
      this.attention,
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
      ? `${rank.place === 1 ? "largest" : `${ordinal(rank.place)} largest`} of ${rank.of} by ${metric.label[0].toLowerCase()}${metric.label.slice(1)}`
      : nHeads ? `one of ${nHeads} heads` : "");
    fillSelect(this.layer, state.nHeads.map((_, i) => [i, String(i)]), layer);
    fillSelect(this.head, Array.from({ length: state.nHeads[layer] ?? 0 }, (_, i) => [i, String(i)]), head);
    this.drawQueries();
    setText(this.attention, state.layer ? this.inWords() : "");
    this.attention.title = this.attention.textContent;
    this.overlay.draw();
    this.drawQuery(layer, head);
    this.drawNumbers(layer, head);
    this.profile.draw();
  }

  /** The queries that can be chosen: those of the layer; the mean, where there are several. */
  drawQueries() {
    const { state } = this.app;
    if (!state.layer) return;
    const { queries } = state.layer;
    if (this.queriesOf !== queries) {
      this.queriesOf = queries;
      const options = [...queries.prefix, ...queries.patches].map((token) => [token, queries.label(token)]);
      if (options.length > 1) options.unshift([MEAN, "mean over queries"]);
      fillSelect(this.token, options, state.token ?? MEAN);
    }
    const chosen = String(state.token ?? MEAN);
    if (this.token.value !== chosen) this.token.value = chosen;
  }

  /** The layer's kind of attention: who attends to whom, and what the maps are. */
  inWords() {
    const { state } = this.app;
    const { attention, queries, keys } = state.layer;
    const table = state.feed?.layers[state.head.layer]?.table;
    const sides = queries === keys ? `${queries.summary} tokens` : `${queries.summary} queries → ${keys.summary} keys`;
    return [
      attention[0].toUpperCase() + attention.slice(1),
      sides,
      ...(table && table.windows > 1 ? [`${table.windows} windows${table.queries === table.keys ? ` of ${table.queries}` : ""}`] : []),
      ...(attention.includes("talking heads") ? ["maps before mixing"] : []),
    ].join(" · ");
  }

  /** Where the attention of the query goes: keys that are no patches one by one, patches together. */
  drawQuery(layer, head) {
    const { state } = this.app;
    if (!state.layer) return;
    const { query } = state;
    const { keys, queries } = state.layer;
    const label = state.queryLabel(layer);
    setText(this.query, query === null ? `${label[0].toUpperCase()}${label.slice(1)} attends to` : `Query ${label} attends to`);
    const map = state.patchWeights(layer, head, query);
    if (this.chipsOf !== state.layer) {
      this.chipsOf = state.layer;
      this.chips.replaceChildren(...keys.prefix.map((token) => this.chip(token, keys.label(token), queries)));
      this.rest.replaceChildren(element("span", { class: "hs-fill" }), element("span", { class: "hs-name" }, keys.hasPatches ? "patches, together" : "patches: none"), element("span", { class: "hs-value" }));
    }
    const chosen = state.token === null ? null : queries.label(state.token);
    for (const chip of this.chips.children) {
      fillShare(chip, map ? map.row[Number(chip.dataset.token)] : null);
      if (chip.type) chip.setAttribute("aria-pressed", String(chip.dataset.name === chosen));
    }
    fillShare(this.rest, map ? map.values.reduce((sum, value) => sum + value, 0) : null);
  }

  /** A key that is no patch; where such a token attends too, a button that makes it the query. */
  chip(token, name, queries) {
    const attends = queries.tokenAt({ named: name }) !== null;
    return element(
      attends ? "button" : "div",
      {
        ...(attends ? { type: "button", title: `Take ${name} as the query`, onclick: () => this.app.choose({ place: { named: name } }) } : { title: name === "padding" ? "What the model fills windows up with: keys of no image content" : name }),
        class: "hs-chip", "data-token": String(token), "data-name": name,
      },
      element("span", { class: "hs-fill" }), element("span", { class: "hs-name" }, name), element("span", { class: "hs-value" }),
    );
  }

  drawNumbers(layer, head) {
    const { state } = this.app;
    const { metrics } = state.data;
    const shape = metrics.map(({ key }) => key).join();
    if (this.listed !== shape) {
      this.listed = shape;
      this.rows = metrics.map((metric) => element(
        "button",
        { type: "button", class: "hs-number", "data-metric": metric.key, title: `${metric.description} Click to colour the atlas by it.`, onclick: () => this.app.choose({ metric: metric.key }) },
        element("span", { class: "hs-name" }, metric.label), element("span", { class: "hs-value" }),
        element("span", { class: "hs-unit" }), element("span", { class: "hs-place" }, element("i")),
      ));
      // A heading stands where a group begins.
      this.numbers.replaceChildren(...metrics.flatMap(({ group }, i) => (
        group === metrics[i - 1]?.group ? [this.rows[i]] : [element("h4", {}, group), this.rows[i]]
      )));
    }
    if (!metrics.length) setText(this.numbers, state.data.waiting);
    metrics.forEach((metric, i) => {
      const row = this.rows[i];
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
    });
  }
}

function fillShare(row, share) {
  row.querySelector(".hs-fill").style.width = `${100 * Math.min(1, share ?? 0)}%`;
  setText(row.querySelector(".hs-value"), percent(share));
}
