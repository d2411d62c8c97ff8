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
    this.canvas.addEventListener("pointermove", (event) => this.over(this.placeAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.over(null));
    this.canvas.addEventListener("click", (event) => {
      const place = this.placeAt(event);
      if (place && app.state.layer.queries.hasPatches) app.choose({ place });
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** The centre of the query patch under the pointer; where no patch attends, of the key patch. */
  placeAt({ offsetX, offsetY }) {
    const { layer, data } = this.app.state;
    if (!layer || !this.size) return null;
    const side = layer.queries.hasPatches ? layer.queries : layer.keys;
    if (!side.hasPatches) return null;
    const [height, width] = data.size;
    const at = [(offsetY / this.size[1]) * height, (offsetX / this.size[0]) * width];
    return at[0] >= 0 && at[0] < height && at[1] >= 0 && at[1] < width ? { at: side.centre(side.nearest(at)) } : null;
  }

  over(place) {
    this.pointed = place;
    const attends = this.app.state.layer?.queries.hasPatches;
    this.app.preview(attends ? place : null);
    if (!attends) this.draw();
  }

  key(event) {
    const step = STEPS[event.key];
    const { state } = this.app;
    const { queries } = state.layer ?? {};
    if (!step || !queries?.hasPatches || queries.scattered) return;
    event.preventDefault();
    const [rows, columns] = queries.grid;
    const from = queries.patchOf.get(state.token);
    const [row, column] = from === undefined
      ? [Math.floor(rows / 2), Math.floor(columns / 2)]
      : [
        Math.max(0, Math.min(rows - 1, Math.floor(from / columns) + step[0])),
        Math.max(0, Math.min(columns - 1, (from % columns) + step[1])),
      ];
    this.app.choose({ place: { at: queries.centre(row * columns + column) } });
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
    const { state } = this.app;
    const { feed, layer: of, looking } = state;
    this.scale.set(looking.scale);
    this.opacity.value = String(Math.round(100 * looking.opacity));
    this.bar.style.backgroundImage = gradient(state.data.palette.attention);
    const [imageHeight, imageWidth] = state.data.size;
    this.frame.style.aspectRatio = `${imageWidth} / ${imageHeight}`;
    const fit = Math.min(this.frame.clientWidth / imageWidth, this.frame.clientHeight / imageHeight);
    const width = Math.floor(imageWidth * fit);
    const height = Math.floor(imageHeight * fit);
    if (!width || !height) return;
    this.size = [width, height];
    const context = sharp(this.canvas, width, height);
    if (!feed || !of) {
      setText(this.range, "–");
      setText(this.readout, state.data.waiting);
      return;
    }
    this.paintPicture(feed);
    context.drawImage(this.picture, 0, 0, width, height);
    const { layer, head } = state.head;
    const { query } = state;
    const map = state.patchWeights(layer, head, query);
    let top = 0;
    if (map) {
      top = (looking.scale === "shared" ? state.sharedMaximum : null) ?? map.largest;
      if (of.keys.raster) this.paint(context, of.keys.raster, map.values, top, [width, height]);
    } else this.app.want();
    this.mark(context, of.queries, query, [width / imageWidth, height / imageHeight]);
    setText(this.range, map ? percent(top) : "–");
    this.tell(map);
    const label = state.queryLabel(layer);
    const keys = of.queries.hasPatches ? "; arrow keys move the query" : "";
    this.canvas.setAttribute("aria-label", `Attention of layer ${layer}, head ${head} for the query ${label}${keys}`);
    this.canvas.dataset.query = label;
  }

  /** The map, cell by cell. */
  paint(context, { rows, columns, patch }, values, top, [width, height]) {
    const { looking } = this.app.state;
    const edgeX = (column) => Math.round((column * width) / columns);
    const edgeY = (row) => Math.round((row * height) / rows);
    context.globalAlpha = looking.opacity;
    patch.forEach((key, cell) => {
      const row = Math.floor(cell / columns);
      const column = cell % columns;
      context.fillStyle = `rgb(${colourAt(this.app.tables.attention, top > 0 ? values[key] / top : 0).join()})`;
      context.fillRect(edgeX(column), edgeY(row), edgeX(column + 1) - edgeX(column), edgeY(row + 1) - edgeY(row));
    });
    context.globalAlpha = 1;
  }

  /** A frame around the query's patch. */
  mark(context, queries, query, [scaleX, scaleY]) {
    const patch = queries.patchOf.get(query);
    if (patch === undefined) return;
    const [y, x] = queries.centre(patch);
    const [high, wide] = queries.patchPx;
    const left = Math.round((x - wide / 2) * scaleX);
    const top = Math.round((y - high / 2) * scaleY);
    const box = [left - 0.5, top - 0.5, Math.round(wide * scaleX) + 1, Math.round(high * scaleY) + 1];
    for (const [line, colour] of [[3, "#000"], [1.5, "#fff"]]) {
      context.lineWidth = line;
      context.strokeStyle = colour;
      context.strokeRect(...box);
    }
  }

  tell(map) {
    const { state } = this.app;
    const { layer, head } = state.head;
    const { queries, keys } = state.layer;
    const attends = queries.hasPatches;
    if (!map) {
      setText(this.readout, state.data.no_maps ?? "This head's map is on its way.");
      return;
    }
    if (!this.pointed || (attends && state.hover === null)) {
      setText(this.readout, attends ? "Point at a patch to see it as the query." : `Only ${queries.summary} attends; point at a patch for its weight.`);
      return;
    }
    const chosen = state.patchWeights(layer, head, state.token);
    const name = attends ? queries.label(queries.tokenAt(this.pointed)) : keys.label(keys.tokenAt(this.pointed));
    const gets = chosen && keys.hasPatches ? percent(chosen.values[keys.nearest(this.pointed.at)]) : null;
    const from = state.queryLabel(layer, state.place);
    const what = keys === queries || !attends ? "which gets" : "whose key patch gets";
    setText(this.readout, [attends ? `Preview of ${name}` : name, ...(gets ? [`${what} ${gets} from ${from}`] : [])].join(", ") + ".");
  }
}
