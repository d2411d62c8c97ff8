// One head's map over the image that the model saw.

class Overlay {
  constructor(app) {
    this.app = app;
    this.canvas = element("canvas", { class: "hs-overlay", tabindex: "0", role: "application" });
    this.frame = element("div", { class: "hs-overlay-frame" }, this.canvas);
    this.readout = element("div", { class: "hs-readout", "data-text": "readout" });
    this.range = element("span", { "data-text": "range" });
    this.bar = element("span", { class: "hs-bar" });
    this.opacity = element("input", {
      type: "range", min: "0", max: "100", class: "hs-range", "aria-label": "Opacity of the map, per cent", title: "Opacity of the map",
      oninput: () => app.look({ opacity: Number(this.opacity.value) / 100 }),
    });
    this.scale = switchOf("scale", "Colour scale", [
      ["own", "Own scale", "Every map is coloured up to its own largest weight"],
      ["shared", "One for all", "All heads are coloured up to the largest weight of any head for this query, so that maps can be compared"],
    ], (scale) => app.look({ scale }));
    this.node = element(
      "div", { class: "hs-look" },
      this.frame,
      element("div", { class: "hs-legend", "data-legend": "map" }, element("span", {}, "0"), this.bar, this.range),
      this.readout,
      element("div", { class: "hs-controls" }, element("label", { class: "hs-opacity" }, "Opacity", this.opacity), this.scale.node),
    );
    this.picture = document.createElement("canvas");
    this.canvas.addEventListener("pointermove", (event) => this.over(this.patchAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.over(null));
    this.canvas.addEventListener("click", (event) => {
      const patch = this.patchAt(event);
      if (patch !== null) app.choose({ token: app.state.patches[patch] });
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  patchAt({ offsetX, offsetY }) {
    const { layout } = this.app.state;
    if (!layout || !this.size) return null;
    const [rows, columns] = layout.grid;
    const column = Math.floor((offsetX / this.size[0]) * columns);
    const row = Math.floor((offsetY / this.size[1]) * rows);
    return row >= 0 && row < rows && column >= 0 && column < columns ? row * columns + column : null;
  }

  over(patch) {
    this.pointed = patch;
    this.app.preview(patch === null ? null : this.app.state.patches[patch]);
  }

  key(event) {
    const step = STEPS[event.key];
    const { state } = this.app;
    if (!step || !state.layout) return;
    event.preventDefault();
    const [rows, columns] = state.layout.grid;
    const from = state.patchOf.get(state.token);
    const [row, column] = from === undefined
      ? [Math.floor(rows / 2), Math.floor(columns / 2)]
      : [
        Math.max(0, Math.min(rows - 1, Math.floor(from / columns) + step[0])),
        Math.max(0, Math.min(columns - 1, (from % columns) + step[1])),
      ];
    this.app.choose({ token: state.patches[row * columns + column] });
  }

  /** The pixels, once for each feed. */
  paintPicture(feed) {
    if (this.painted === feed.id) return;
    this.painted = feed.id;
    this.picture.width = feed.width;
    this.picture.height = feed.height;
    const context = this.picture.getContext("2d");
    const image = context.createImageData(feed.width, feed.height);
    for (let i = 0, n = feed.width * feed.height; i < n; i += 1) {
      image.data[4 * i] = feed.pixels[3 * i];
      image.data[4 * i + 1] = feed.pixels[3 * i + 1];
      image.data[4 * i + 2] = feed.pixels[3 * i + 2];
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  draw() {
    const { state, tables } = this.app;
    const { feed, layout, query, looking } = state;
    this.scale.set(looking.scale);
    this.opacity.value = String(Math.round(100 * looking.opacity));
    this.bar.style.backgroundImage = gradient(state.data.palette.attention);
    const [gridRows, gridColumns] = layout?.grid ?? [1, 1];
    const shape = feed ? [feed.width, feed.height] : [gridColumns, gridRows];
    this.frame.style.aspectRatio = shape.join(" / ");
    const fit = Math.min(this.frame.clientWidth / shape[0], this.frame.clientHeight / shape[1]);
    const width = Math.floor(shape[0] * fit);
    const height = Math.floor(shape[1] * fit);
    if (!width || !height) return;
    this.size = [width, height];
    const context = sharp(this.canvas, width, height);
    if (!feed || !layout) {
      setText(this.range, "–");
      setText(this.readout, state.data.waiting);
      return;
    }
    this.paintPicture(feed);
    context.drawImage(this.picture, 0, 0, width, height);
    const { layer, head } = state.head;
    const map = state.patchWeights(layer, head, query);
    const edgeX = (column) => Math.round((column * width) / gridColumns);
    const edgeY = (row) => Math.round((row * height) / gridRows);
    const box = (patch) => {
      const row = Math.floor(patch / gridColumns);
      const column = patch % gridColumns;
      return [edgeX(column), edgeY(row), edgeX(column + 1) - edgeX(column), edgeY(row + 1) - edgeY(row)];
    };
    let top = 0;
    if (map) {
      top = (looking.scale === "shared" ? state.sharedMaximum(query) : null) ?? map.largest;
      context.globalAlpha = looking.opacity;
      map.values.forEach((value, patch) => {
        context.fillStyle = `rgb(${colourAt(tables.attention, top > 0 ? value / top : 0).join()})`;
        context.fillRect(...box(patch));
      });
      context.globalAlpha = 1;
    } else this.app.want(layer, head, query);
    const at = state.patchOf.get(query);
    if (at !== undefined) {
      const [x, y, w, h] = box(at);
      context.lineWidth = 3;
      context.strokeStyle = "#000";
      context.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
      context.lineWidth = 1.5;
      context.strokeStyle = "#fff";
      context.strokeRect(x - 0.5, y - 0.5, w + 1, h + 1);
    }
    setText(this.range, map ? percent(top) : "–");
    this.tell(map);
    this.canvas.setAttribute("aria-label", `Attention of layer ${layer}, head ${head} for the query ${state.labelOf(query)}; arrow keys move the query`);
    this.canvas.dataset.query = state.labelOf(query);
  }

  tell(map) {
    const { state } = this.app;
    const { layer, head } = state.head;
    if (!map) {
      setText(this.readout, "This head's map is on its way.");
      return;
    }
    if (this.pointed === null || this.pointed === undefined || state.hover === null) {
      setText(this.readout, "Point at a patch to see it as the query.");
      return;
    }
    const chosen = state.patchWeights(layer, head, state.token);
    const name = state.labelOf(state.patches[this.pointed]);
    setText(this.readout, chosen
      ? `Preview of ${name}, which gets ${percent(chosen.values[this.pointed])} from ${state.labelOf(state.token)}.`
      : `Preview of ${name}.`);
  }
}
