// The head card: title, selection in words, facts, what the query attends to, the head's numbers.

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
    this.numbers = new Numbers(app);
    this.facts = new Facts(app);
    this.onPart = ({ detail }) => {
      if (detail === "card" && app.state.data) this.facts.draw();
    };
    partStore().events.addEventListener("part", this.onPart);
    this.node = element(
      "section", { class: "hs-panel hs-panel-card", "aria-label": "Head card" },
      element(
        "header", {}, this.title, element("span", { class: "hs-push" }),
        element("label", {}, "Layer", this.layer), element("label", {}, "Head", this.head), element("label", {}, "Query", this.token),
      ),
      this.subtitle,
      this.attention,
      this.facts.node,
      element(
        "div", { class: "hs-card-body" },
        this.overlay.node,
        element(
          "div", { class: "hs-side" }, this.query, this.chips, this.rest,
          element("h3", {}, "Numbers"), this.numbers.node,
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
    this.numbers.draw(layer, head);
    this.facts.draw();
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

  close() {
    partStore().events.removeEventListener("part", this.onPart);
  }
}

function fillShare(row, share) {
  row.querySelector(".hs-fill").style.width = `${100 * Math.min(1, share ?? 0)}%`;
  setText(row.querySelector(".hs-value"), percent(share));
}
