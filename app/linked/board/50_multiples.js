// Small multiples: the chosen head's map over images of the study, one image for each decile of a number,
// the weakest first, all on one colour scale.

class Multiples {
  constructor(app) {
    this.app = app;
    this.name = "multiples";
    this.by = null; // the atlas' number
    this.order = element("select", {
      class: "hs-select", "aria-label": "Images ordered by", "data-select": "multiples",
      onchange: () => {
        this.by = this.order.value || null;
        this.draw(partStore().parts.get(this.name) ?? null);
      },
    });
    this.what = whatIs(app, () => this.shown?.by ?? null, "the number that images are ordered by");
    const label = element("label", {}, "Deciles of", this.order);
    this.panel = boardPanel(app, { name: this.name, title: "Over images", label: "The head's map over images of the study" }, label, this.what);
    this.node = this.panel.node;
    this.caption = element("p", { class: "hs-multiples-caption hs-muted", "data-text": "multiples" });
    this.top = element("span", { "data-text": "multiples-range" });
    this.bar = element("span", { class: "hs-bar" });
    this.tiles = element("div", { class: "hs-multiples-tiles" });
    this.panel.body.classList.add("hs-multiples-body");
    this.panel.body.append(
      this.caption, this.tiles,
      element("div", { class: "hs-legend", "data-legend": "multiples" }, element("span", {}, "0"), this.bar, this.top, element("span", { class: "hs-unit" }, "of the query's attention, one scale for all")),
    );
    this.sprite = document.createElement("canvas");
  }

  draw(part) {
    const { state } = this.app;
    if (part?.choices) this.offer(part.choices);
    this.order.parentNode.hidden = this.what.hidden = !part?.choices;
    if (this.panel.waits(part?.unordered ? { waiting: part.unordered } : part)) {
      if (part?.unordered) this.want(part);
      return;
    }
    if (this.shown && this.shown.of !== part.of) { // of another study, whose images are not here
      this.shown = null;
      this.tiles.replaceChildren();
      this.canvases = [];
    }
    if (part.items && part !== this.shown) this.take(part);
    this.want(part);
    if (!this.shown) {
      setText(this.caption, "The maps are being computed…");
      return;
    }
    const { shown } = this;
    const missing = this.drawMaps();
    const metric = state.data.metrics.find(({ key }) => key === shown.by);
    const chosen = state.head;
    const stale = part.running || missing || shown.layer !== chosen.layer || shown.head !== chosen.head || shown.by !== this.expected(part);
    this.node.classList.toggle("hs-stale", Boolean(stale));
    this.node.dataset.state = stale ? "waiting" : "complete";
    const n = shown.items.length;
    setText(this.caption, [
      `Layer ${shown.layer}, head ${shown.head}`,
      `${n} image${n === 1 ? "" : "s"}, from the lowest to the highest ${metric ? asWords(metric.label) : shown.by}${metric?.unit ? ` (${metric.unit})` : ""}${part.stands_in ? ": the atlas' number is none of single images" : ""}`,
    ].join(" · "));
    this.caption.title = this.caption.textContent;
  }

  /** The numbers that images can be ordered by. */
  offer(choices) {
    const { metrics } = this.app.state.data;
    const there = metrics.filter(({ key }) => choices.includes(key)).map(({ key, label, group }) => [key, label, group]);
    fillSelect(this.order, [["", "the atlas' number"], ...there], this.by ?? "");
  }

  /** What images will be ordered by once Python has heard of everything. */
  expected(part) {
    const ofAtlas = this.app.state.metric?.key;
    return this.by ?? (part.choices.includes(ofAtlas) ? ofAtlas : part.by);
  }

  /** Tells Python what is wanted beyond the selection that it hears of anyway. */
  want(part) {
    const { state } = this.app;
    const rows = part.items && !part.weights && state.layers[part.layer];
    const wants = JSON.stringify({
      by: this.by,
      head: state.chosen.layer === null ? [state.head.layer, state.head.head] : null,
      token: rows ? state.queryIn(part.layer) : null,
    });
    if (wants === (this.asked ?? JSON.stringify({ by: null, head: null, token: null }))) return;
    this.asked = wants;
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.app.ask(this.name, JSON.parse(wants)), PUSH_AFTER);
  }

  take(part) {
    this.shown = part;
    this.pictures = part.items.map(({ picture }) => {
      const image = new Image();
      image.src = picture;
      image.decode().then(() => this.shown === part && this.drawMaps(), () => {});
      return image;
    });
    const metric = this.app.state.data.metrics.find(({ key }) => key === part.by);
    const values = part.items.map(({ value }) => value);
    const { times, write } = ruler(values[0], values.at(-1));
    this.canvases = part.items.map(() => element("canvas", { "aria-hidden": "true" }));
    this.tiles.replaceChildren(...part.items.map(({ image, part: place, n_parts: of, value }, i) => {
      const which = of === 10 ? `${ordinal(place)} decile` : `${place} of ${of}`;
      const said = `${write(value)} ${times}${metric?.unit ?? ""}`;
      return element(
        "button",
        { type: "button", class: "hs-multiples-tile", "data-image": image, title: `${image}\n${which}: ${said}\nClick to look at this image`, "aria-label": `${image}, ${which}: ${said}. Show this image`, onclick: () => this.app.open({ image }) },
        element("span", { class: "hs-multiples-frame" }, this.canvases[i]),
        element("span", { class: "hs-multiples-place" }, element("span", { class: "hs-muted" }, of === 10 ? ordinal(place) : String(place)), element("b", {}, write(value))),
        element("span", { class: "hs-multiples-name hs-muted" }, image),
      );
    }));
    this.times = times;
  }

  /** Weights on the patches for an image and a query: null while they are not on this side. */
  weights(image, query, keys) {
    const { shown } = this;
    const { mean, weights, scale, row } = shown;
    const n = mean.shape[1];
    let of = null;
    let factor = 1;
    if (query === null) of = mean.subarray(image * n, (image + 1) * n);
    else if (weights) {
      const at = image * weights.shape[1] + query;
      of = weights.subarray(at * n, (at + 1) * n);
      factor = scale[at] / 255;
    } else if (row?.token === query) of = row.values.subarray(image * n, (image + 1) * n);
    return of && keys.patches.map((token) => of[token] * factor);
  }

  /** All maps for the query that is drawn; true where they are not on this side yet. */
  drawMaps() {
    const { state, tables } = this.app;
    const { shown } = this;
    const of = state.layers[shown.layer];
    this.bar.style.backgroundImage = gradient(state.data.palette.attention);
    for (const tile of this.tiles.children) tile.setAttribute("aria-pressed", String(tile.dataset.image === state.data.image));
    if (!of?.keys.raster) {
      setText(this.top, "this layer's keys are no patches");
      return false;
    }
    const query = state.queryIn(shown.layer);
    const maps = this.canvases.map((_, image) => this.weights(image, query, of.keys));
    if (maps.some((map) => !map)) return true;
    const top = Math.max(...maps.map((map) => map.reduce((a, b) => Math.max(a, b), 0)));
    setText(this.top, percent(top));
    this.node.dataset.query = state.queryLabel(shown.layer);
    const [height, width] = state.data.size;
    const frame = this.canvases[0].parentNode;
    const fit = Math.min(frame.clientWidth / width, frame.clientHeight / height);
    const size = [Math.floor(width * fit), Math.floor(height * fit)];
    if (!size[0] || !size[1]) return false;
    this.canvases.forEach((canvas, image) => {
      const context = sharp(canvas, ...size);
      if (this.pictures[image].complete && this.pictures[image].naturalWidth) {
        context.imageSmoothingEnabled = true;
        context.drawImage(this.pictures[image], 0, 0, ...size);
        context.imageSmoothingEnabled = false;
      }
      paintMap(this.sprite, of.keys.raster, { values: maps[image], largest: top }, top, tables.attention);
      context.globalAlpha = state.looking.opacity;
      context.drawImage(this.sprite, 0, 0, ...size);
      context.globalAlpha = 1;
      this.mark(context, of.queries, query, size[0] / width);
    });
    return false;
  }

  /** A frame around the query's patch. */
  mark(context, queries, query, scale) {
    const patch = queries.patchOf.get(query);
    if (patch === undefined) return;
    const [y, x] = queries.centre(patch);
    const [high, wide] = queries.patchPx;
    context.lineWidth = 1;
    context.strokeStyle = "#fff";
    context.strokeRect((x - wide / 2) * scale, (y - high / 2) * scale, wide * scale, high * scale);
  }

  close() {
    clearTimeout(this.asking);
  }
}

PANELS.push(Multiples);

function asWords(text) {
  return /^[A-Z][a-z]/.test(text) ? text[0].toLowerCase() + text.slice(1) : text;
}
