// The head atlas: one cell for each head, coloured by a metric.

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };


/** Keys on a focused head, as the click that does the same. */
const TOGGLES = { x: { altKey: true }, m: { shiftKey: true } };

class Atlas {
  constructor(app) {
    this.app = app;
    this.metric = element("select", {
      class: "hs-select", "aria-label": "Metric of the atlas", "data-select": "metric",
      onchange: () => app.choose({ metric: this.metric.value }),
    });
    this.what = whatIs(app, () => app.state.metric?.key);
    this.scope = switchOf("scope", "Numbers of", [
      ["image", "This image", "The numbers of the image that is shown"],
      ["mean", "Mean", "The mean over all images of the study"],
    ], (scope) => app.choose({ scope }));
    this.byRank = switchOf("colours", "Colours", [
      ["rank", "colour by rank", "Colours grow with the rank, not the value, so that a few large values do not hide the others"],
    ], (colours) => app.look({ colours: app.state.looking.colours === colours ? "linear" : colours }));
    this.clicks = switchOf("clicks", "A click on a head", [
      ["choose", "choose", "A click chooses a head: card, maps and plots show it"],
      ["mark", "add to set", "A click adds a head to the head set, or takes it out (also: Shift-click, or m on a focused head)"],
      ["off", "switch off", "A click switches a head off, or on (also: Alt-click, or x on a focused head)"],
    ], (clicks) => app.look({ clicks }));
    this.allOn = element("button", { type: "button", class: "hs-atlas-all-on", "data-action": "all-on", title: "Bring all heads back", onclick: () => app.choose({ off: null }) });
    this.grid = element("div", { class: "hs-atlas", role: "grid", "aria-label": "Head atlas: layers as rows, heads as columns", "aria-keyshortcuts": "x m" });
    this.about = element("p", { class: "hs-about" });
    this.low = element("span");
    this.high = element("span");
    this.unit = element("span", { class: "hs-unit" });
    this.zero = element("i", { title: "0" });
    this.bar = element("span", { class: "hs-bar" }, this.zero);
    this.node = element(
      "section", { class: "hs-panel hs-panel-atlas", "aria-label": "Head atlas" },
      element("header", {}, element("h2", {}, "Head atlas"), element("span", { class: "hs-push" }), this.metric, this.what),
      element("div", { class: "hs-legend", "data-legend": "atlas" }, this.low, this.bar, this.high, this.unit, element("span", { class: "hs-push" }), this.scope.node),
      element("div", { class: "hs-axis-x" }, "head", this.byRank.node),
      element("div", { class: "hs-atlas-frame" }, element("div", { class: "hs-axis-y" }, element("span", {}, "layer")), this.grid),
      element("div", { class: "hs-atlas-clicks" }, element("span", { class: "hs-muted", "aria-hidden": "true" }, "Clicks"), this.clicks.node, element("span", { class: "hs-push" }), this.allOn),
      this.about,
    );
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("click", (event) => {
      const cell = event.target.closest("[data-head]");
      if (cell) app.pick({ layer: Number(cell.dataset.layer), head: Number(cell.dataset.head) }, event);
    });
    this.grid.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("[data-head]");
      if (cell) app.tooltip.overHead(cell, Number(cell.dataset.layer), Number(cell.dataset.head));
    });
    this.grid.addEventListener("pointerleave", () => app.tooltip.hide());
  }

  key(event) {
    const cell = event.target.closest("[data-head]");
    const toggle = event.ctrlKey || event.metaKey || event.altKey ? null : TOGGLES[event.key.toLowerCase()];
    if (cell && toggle) {
      event.preventDefault();
      this.app.pick({ layer: Number(cell.dataset.layer), head: Number(cell.dataset.head) }, toggle);
      return;
    }
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const { nHeads, head } = this.app.state;
    const layer = Math.max(0, Math.min(nHeads.length - 1, head.layer + step[0]));
    const next = Math.max(0, Math.min(nHeads[layer] - 1, head.head + step[1]));
    this.app.choose({ layer, head: next });
    this.cells[layer][next].focus();
  }

  build(nHeads) {
    const shape = nHeads.join();
    if (this.shape === shape) return;
    this.shape = shape;
    const columns = Math.max(1, ...nHeads);
    this.columns = columns;
    this.grid.style.setProperty("--columns", columns);
    this.grid.style.setProperty("--rows", nHeads.length);
    this.grid.classList.toggle("hs-dense", columns > 8 || nHeads.length > 14);
    this.grid.classList.toggle("hs-wide", columns > 16);
    this.grid.classList.toggle("hs-many", nHeads.length > 14);
    this.node.classList.toggle("hs-bare", nHeads.length === 0);
    this.cells = nHeads.map((heads, layer) => Array.from({ length: heads }, (_, head) => element("button", {
      type: "button", role: "gridcell", class: "hs-cell", tabindex: "-1",
      "data-layer": String(layer), "data-head": String(head),
    })));
    const corner = element("span", { class: "hs-tick", "aria-hidden": "true" });
    const heads = Array.from({ length: columns }, (_, head) => element("span", { class: "hs-tick", "aria-hidden": "true" }, String(head)));
    const rows = this.cells.map((cells, layer) => element(
      "div", { role: "row", class: "hs-row" },
      element("span", { class: "hs-tick", role: "rowheader" }, String(layer)),
      ...cells,
      ...Array.from({ length: columns - cells.length }, () => element("span", { class: "hs-no-head" })),
    ));
    this.grid.replaceChildren(element("div", { class: "hs-row", "aria-hidden": "true" }, corner, ...heads), ...rows);
  }

  draw() {
    const { state, tables } = this.app;
    const { metrics, n_images: nImages, n_chosen: nChosen } = state.data;
    this.build(state.nHeads);
    const metric = state.metric;
    this.scope.node.hidden = !(nImages > 1);
    this.scope.set(state.scope);
    setText(this.scope.node.lastChild, `Mean of ${nChosen || nImages}`);
    this.scope.node.lastChild.title = nChosen ? `The mean over the ${nChosen} images that are chosen below` : "The mean over all images of the study";
    this.metric.disabled = !metric;
    fillSelect(this.metric, metric ? metrics.map(({ key, label, group }) => [key, label, group]) : [["", state.data.waiting]], metric?.key ?? "");
    this.metric.title = metric?.label ?? "";
    this.what.hidden = !metric;
    this.byRank.node.hidden = !metric;
    this.byRank.set(state.looking.colours);
    const values = state.valuesOf(metric);
    const range = metric ? state.range(metric) : null;
    const [low, high] = range ?? [0, 0];
    const { times, write } = ruler(low, high);
    setText(this.unit, metric ? times + metric.unit : "");
    this.unit.title = this.unit.textContent;
    setText(this.low, range ? write(low) : "");
    setText(this.high, range ? write(high) : "");
    this.zero.hidden = !(low < 0 && high > 0);
    this.zero.style.left = `${(100 * -low) / (high - low || 1)}%`;
    setText(this.about, metric ? metric.description : "");
    this.about.title = metric ? metric.description : "";
    this.clicks.set(state.looking.clicks);
    this.node.dataset.clicks = state.looking.clicks;
    const nOff = state.headsOf("off").length;
    setText(this.allOn, nOff ? `${nOff} off ×` : "");
    this.allOn.style.visibility = nOff ? "" : "hidden";
    this.allOn.setAttribute("aria-label", `${nOff} head${nOff === 1 ? " is" : "s are"} off: bring all back`);
    tellOff(state.chosen.off ?? null);
    const palette = metric?.signed ? "signed" : "numbers";
    this.bar.style.backgroundImage = gradient(state.data.palette[palette]);
    const share = state.shares(metric);
    this.bar.classList.toggle("hs-idle", !range);
    const { layer, head } = state.head;
    this.cells.forEach((cells, l) => cells.forEach((cell, h) => {
      const value = values ? values[l][h] : null;
      const chosen = l === layer && h === head;
      if (value === null) {
        cell.style.background = "";
        cell.style.color = "";
      } else {
        const colour = colourAt(tables[palette], share(value));
        cell.style.background = `rgb(${colour.join()})`;
        cell.style.color = inkOn(colour);
      }
      cell.classList.toggle("hs-undefined", Boolean(metric) && value === null);
      setText(cell, this.columns > 8 || value === null ? "" : write(value));
      cell.classList.toggle("hs-marked", state.isMarked(l, h));
      cell.classList.toggle("hs-off", state.isOff(l, h));
      cell.setAttribute("aria-selected", String(chosen));
      cell.setAttribute("aria-label", `layer ${l}, head ${h}: ${value === null ? missing(state, metric, l) : `${write(value)} ${times}${metric.unit}`}${state.isMarked(l, h) ? ", marked" : ""}${state.isOff(l, h) ? ", switched off" : ""}`);
      cell.tabIndex = chosen ? 0 : -1;
    }));
  }
}

/** Why a head has no value. */
function missing(state, metric, layer) {
  return metric && state.isUndefined(metric, layer) ? "not defined for this layer" : "no value";
}

/** Whoever draws what depends on the heads that are off hears at once that they are others. */
function tellOff(off) {
  if (window.headscopeOff === off) return;
  window.headscopeOff = off;
  window.dispatchEvent(new CustomEvent("headscope-off"));
}
