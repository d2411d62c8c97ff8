// Every head's map for the query that is drawn, on one canvas, each on the grid of its layer's keys.

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
      if (head) app.pick(head, event);
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
    const { width, height, gap, at } = this.place;
    for (const [layer, heads] of at.entries()) {
      const head = heads.findIndex(([x, y]) => offsetX >= x && offsetX < x + width + gap && offsetY >= y && offsetY < y + height + gap);
      if (head >= 0) return { layer, head };
    }
    return null;
  }

  draw() {
    const { state, tables, theme } = this.app;
    const { nHeads, layers, feed } = state;
    const width = this.frame.clientWidth;
    const height = this.frame.clientHeight;
    const ready = layers?.length && nHeads.length;
    setText(this.title, ready ? `query: ${state.placeLabel}` : "");
    if (!width || !height) return;
    const context = sharp(this.canvas, width, height);
    this.place = null;
    if (!ready) return;
    this.place = arrange(nHeads, [width, height], state.data.size[1] / state.data.size[0]);
    const cell = this.place;
    const shared = state.looking.scale === "shared" ? state.sharedMaximum : null;
    context.font = `11px ${getComputedStyle(this.frame).fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const ratio = window.devicePixelRatio || 1;
    let missing = false;
    nHeads.forEach((heads, layer) => {
      const [left, middle] = [cell.at[layer][0][0], cell.at[layer][0][1] + cell.height / 2];
      const { raster } = layers[layer].keys;
      const query = state.queryIn(layer);
      if (cell.height >= 11 || layer % 2 === 0) {
        context.fillStyle = theme.muted;
        context.fillText(String(layer), left - 6, middle);
      }
      for (let head = 0; head < heads; head += 1) {
        const at = [...cell.at[layer][head], cell.width, cell.height];
        const map = feed && raster ? state.patchWeights(layer, head, query) : null;
        missing ||= feed && raster && !map;
        if (map) {
          paintMap(this.sprite, raster, map, shared, tables.attention, cell.width * ratio);
          context.drawImage(this.sprite, ...at);
        } else {
          context.fillStyle = theme.empty;
          context.fillRect(...at);
        }
        if (state.isOff(layer, head)) strike(context, at, theme);
        if (state.isMarked(layer, head)) {
          context.strokeStyle = theme.ink;
          context.lineWidth = 1.5;
          context.setLineDash([3, 2]);
          context.strokeRect(at[0] - 0.5, at[1] - 0.5, at[2] + 1, at[3] + 1);
          context.setLineDash([]);
        }
      }
    });
    if (missing) this.app.want();
    const chosen = state.head;
    const [x, y] = cell.at[chosen.layer][chosen.head];
    context.strokeStyle = theme.accent;
    context.lineWidth = 2;
    context.strokeRect(x - 1, Math.max(1, y - 1), cell.width + 2, cell.height + (y ? 2 : 0));
    this.canvas.setAttribute("aria-label", `Attention maps of all heads for the query ${state.placeLabel}`);
  }
}

/**
 * Where the maps go: one line for each layer, or, where that makes much larger maps, layers one
 * after the other in reading order. `{at[layer][head]: [x, y], gap, width, height}`.
 */
function arrange(nHeads, [width, height], aspect) {
  const most = Math.max(...nHeads);
  const left = 24;
  const gap = most > 8 || nHeads.length > 14 ? 2 : 4;
  const sized = (side) => ({ gap, width: side, height: Math.max(3, Math.floor(side / aspect)) });
  const pitch = Math.min((width - left) / most, (height / nHeads.length) * aspect);
  const plain = sized(Math.max(4, Math.floor(pitch - gap)));
  for (let side = 96; side >= 1.3 * plain.width; side -= 1) {
    const cell = sized(side);
    const at = flow(nHeads, cell, left, width + gap);
    if (at && at.at(-1).at(-1)[1] + cell.height <= height) return { ...cell, at };
  }
  const line = (heads, layer) => Array.from({ length: heads }, (_, head) => [left + head * (plain.width + gap), layer * (plain.height + gap)]);
  return { ...plain, at: nHeads.map(line) };
}

/** Layers one after the other; one that is longer than a line goes on in the next. */
function flow(nHeads, cell, left, width) {
  const [pitchX, pitchY] = [cell.width + cell.gap, cell.height + cell.gap];
  const perLine = Math.floor((width - left) / pitchX);
  if (perLine < 1) return null;
  let [x, y] = [0, 0];
  return nHeads.map((heads) => {
    if (x > 0 && x + left + heads * pitchX > width) [x, y] = [0, y + pitchY];
    const start = x + left;
    const at = Array.from({ length: heads }, (_, head) => [start + (head % perLine) * pitchX, y + Math.floor(head / perLine) * pitchY]);
    [x, y] = heads > perLine ? [0, at.at(-1)[1] + pitchY] : [start + heads * pitchX, y];
    return at;
  });
}

/**
 * One pixel for each cell of the image, coloured by the weight of the patch that has it. Where the
 * map is drawn on fewer pixels than it has cells, each is coloured by its largest cell.
 */
function paintMap(sprite, { rows, columns, patch }, { values, largest }, maximum, table, most = Infinity) {
  const step = Math.max(1, Math.ceil(columns / most));
  const [high, wide] = [Math.ceil(rows / step), Math.ceil(columns / step)];
  if (sprite.width !== wide || sprite.height !== high) Object.assign(sprite, { width: wide, height: high });
  const painter = sprite.getContext("2d");
  const image = painter.createImageData(wide, high);
  const pooled = new Float32Array(wide * high);
  for (let cell = 0; cell < patch.length; cell += 1) {
    const at = Math.floor(cell / columns / step) * wide + Math.floor((cell % columns) / step);
    pooled[at] = Math.max(pooled[at], values[patch[cell]]);
  }
  const top = maximum ?? largest;
  const factor = top > 0 ? 255 / top : 0;
  for (let at = 0; at < pooled.length; at += 1) {
    const i = 3 * Math.min(255, Math.round(pooled[at] * factor));
    image.data[4 * at] = table[i];
    image.data[4 * at + 1] = table[i + 1];
    image.data[4 * at + 2] = table[i + 2];
    image.data[4 * at + 3] = 255;
  }
  painter.putImageData(image, 0, 0);
}

/** A head that is off: faded into the page, and struck through. */
function strike(context, [x, y, width, height], { paper, ink }) {
  context.save();
  context.globalAlpha = 0.72;
  context.fillStyle = paper;
  context.fillRect(x, y, width, height);
  context.globalAlpha = 0.75;
  context.strokeStyle = ink;
  context.lineWidth = Math.max(1, Math.min(2, height / 16));
  context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  context.beginPath();
  context.moveTo(x, y + height);
  context.lineTo(x + width, y);
  context.stroke();
  context.restore();
}
