// Every head's map for the query that is drawn, on one canvas: layers as rows, heads as columns.

class Montage {
  constructor(app) {
    this.app = app;
    this.canvas = element("canvas", { class: "hs-montage", role: "img" });
    this.frame = element("div", { class: "hs-montage-frame" }, this.canvas);
    this.title = element("span", { class: "hs-muted", "data-text": "montage" });
    this.node = element(
      "section", { class: "hs-panel hs-panel-montage", "aria-label": "Maps of all heads" },
      element("header", {}, element("h2", {}, "All maps"), this.title),
      this.frame,
    );
    this.sprite = document.createElement("canvas");
    this.canvas.addEventListener("click", (event) => {
      const head = this.headAt(event);
      if (head) app.choose(head);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const head = this.headAt(event);
      if (head) app.tooltip.overHead(this.canvas, head.layer, head.head, event);
      else app.tooltip.hide();
    });
    this.canvas.addEventListener("pointerleave", () => app.tooltip.hide());
  }

  headAt({ offsetX, offsetY }) {
    if (!this.place) return null;
    const { left, pitchX, pitchY } = this.place;
    const head = Math.floor((offsetX - left) / pitchX);
    const layer = Math.floor(offsetY / pitchY);
    const heads = this.app.state.nHeads[layer] ?? 0;
    return head >= 0 && head < heads ? { layer, head } : null;
  }

  draw() {
    const { state, tables } = this.app;
    const { nHeads, layout, query, feed, patches } = state;
    const width = this.frame.clientWidth;
    const height = this.frame.clientHeight;
    setText(this.title, layout ? `query: ${state.labelOf(query)}` : "");
    if (!width || !height) return;
    const context = sharp(this.canvas, width, height);
    this.place = null;
    if (!layout || !nHeads.length) return;
    const [rows, columns] = layout.grid;
    const most = Math.max(...nHeads);
    const left = 24;
    const gap = most > 8 ? 2 : 4;
    const pitch = Math.min((width - left) / most, (height / nHeads.length) * (columns / rows));
    const cellWidth = Math.max(4, Math.floor(pitch - gap));
    const cellHeight = Math.max(4, Math.floor(cellWidth * (rows / columns)));
    this.place = { left, pitchX: cellWidth + gap, pitchY: cellHeight + gap };
    const shared = state.looking.scale === "shared" ? state.sharedMaximum(query) : null;
    const { theme } = this.app;
    context.font = `11px ${getComputedStyle(this.frame).fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    if (this.sprite.width !== columns || this.sprite.height !== rows) {
      this.sprite.width = columns;
      this.sprite.height = rows;
    }
    const painter = this.sprite.getContext("2d");
    const image = painter.createImageData(columns, rows);
    nHeads.forEach((heads, layer) => {
      const y = layer * this.place.pitchY;
      context.fillStyle = theme.muted;
      context.fillText(String(layer), left - 8, y + cellHeight / 2);
      for (let head = 0; head < heads; head += 1) {
        const x = left + head * this.place.pitchX;
        const row = rowOf(feed, layer, head, query);
        if (!row) {
          context.fillStyle = theme.empty;
          context.fillRect(x, y, cellWidth, cellHeight);
          continue;
        }
        paintMap(image, row, patches, shared, tables.attention);
        painter.putImageData(image, 0, 0);
        context.drawImage(this.sprite, x, y, cellWidth, cellHeight);
      }
    });
    const chosen = state.head;
    context.strokeStyle = theme.accent;
    context.lineWidth = 2;
    context.strokeRect(
      left + chosen.head * this.place.pitchX - 1, chosen.layer * this.place.pitchY + (chosen.layer ? -1 : 1),
      cellWidth + 2, cellHeight + (chosen.layer ? 2 : 0),
    );
    this.canvas.setAttribute("aria-label", `Attention maps of all heads for the query ${state.labelOf(query)}`);
  }
}

/** One pixel for each patch, coloured by its weight. */
function paintMap(image, row, patches, maximum, table) {
  let top = maximum === null ? 0 : maximum / row.scale;
  if (maximum === null) for (const token of patches) if (row.bytes[token] > top) top = row.bytes[token];
  const factor = top > 0 ? 255 / top : 0;
  patches.forEach((token, patch) => {
    const i = 3 * Math.min(255, Math.round(row.bytes[token] * factor));
    image.data[4 * patch] = table[i];
    image.data[4 * patch + 1] = table[i + 1];
    image.data[4 * patch + 2] = table[i + 2];
    image.data[4 * patch + 3] = 255;
  });
}
