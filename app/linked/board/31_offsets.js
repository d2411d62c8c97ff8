// Where a head looks from any patch: attention by rows and columns from the query. Part of "Strength".

const OFFSET_STEPS = 254; // of a share that came as one byte: `steps` in the payload
const OFFSET_MARGIN = { left: 50, right: 46, top: 34, bottom: 36 };

class StrengthOffsets extends StrengthView {
  constructor(app) {
    const bar = element("span", { class: "hs-bar" }, element("i"));
    const [low, high, unit] = [element("span", {}, "0"), element("span"), element("span", { class: "hs-unit" })];
    super(app, "offsets", element("div", { class: "hs-legend hs-strength-legend", "data-legend": "offsets" }, low, bar, high, unit));
    Object.assign(this, { bar, high, unit });
    this.canvas = element("canvas", { class: "hs-strength-offsets", tabindex: "0", role: "application", "data-plot": "offsets" });
    this.more = element("button", { type: "button", class: "hs-act hs-opens", onclick: () => app.open({ part: "Strength" }) }, "Open Strength");
    this.frame.append(this.canvas);
    this.none.after(this.more);
    this.sprite = document.createElement("canvas");
    this.canvas.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.point(null));
    this.resizing = new ResizeObserver(() => this.of && this.paint());
    this.resizing.observe(this.frame);
  }

  close() {
    this.resizing.disconnect();
  }

  draw(part) {
    const { state, theme } = this.app;
    const { layer, head } = state.head;
    const single = state.scope === "image" && part.of_image;
    const layers = single ? part.of_image : part.offsets?.layers;
    const found = layers?.[layer];
    const there = found && found !== "left out" && !Number.isNaN(found.ends[head]);
    this.whole = state.data.n_images > 1 && !single ? `mean of ${part.n_images} images` : "this image";
    this.more.hidden = found !== "left out";
    this.bar.parentNode.style.visibility = there ? "" : "hidden";
    const why = found === "left out"
      ? `The maps of all heads are too large to be sent together (more than ${Math.round(part.offsets.most / 1e6)} MB): those of this layer stayed behind. The part Strength below draws them one by one.`
      : "There is no map of offsets for this head: its patches attend to no patches on a grid, or the study was made without it.";
    if (this.lacks(there ? null : why)) {
      this.of = null;
      return setText(this.about, "");
    }
    const shared = state.looking.scale === "shared";
    const of = [found, head, shared, layers, theme];
    if (this.of && of.every((value, i) => value === this.of[i])) return undefined;
    this.of = of;
    const ends = shared ? layers.flatMap((each) => (each?.ends ? Array.from(each.ends) : [])) : [found.ends[head]];
    this.end = ends.reduce((most, end) => (end > most ? end : most), 0);
    this.cell = null;
    this.label();
    return this.paint();
  }

  /** Share of the cell at a row and column of the drawn map; NaN where no two patches are so far apart. */
  share(row, column) {
    const [{ rows, columns, shares, ends }, head] = this.of;
    const value = shares[(head * rows.length + row) * columns.length + column];
    if (!(shares instanceof Uint8Array)) return value;
    return value === 0 ? NaN : ends[head] * ((value - 1) / OFFSET_STEPS) ** 2;
  }

  label() {
    const { state } = this.app;
    const { layer, head } = state.head;
    this.bar.style.backgroundImage = gradient(state.data.palette.attention);
    this.bar.firstChild.style.left = "50%";
    setText(this.high, percent(this.end));
    const whose = state.looking.scale === "shared" ? "share, one scale for all heads" : "share, own scale";
    setText(this.unit, `${whose}, square root: middle ${percent(this.end / 4)}`);
    this.unit.title = "Colours grow with the square root of the share, so that faint attention is seen beside strong.";
    this.canvas.setAttribute("aria-label", `Layer ${layer}, head ${head}: attention by rows and columns from the query, from 0 to ${percent(this.end)}, ${this.whole}. Arrow keys read it cell by cell.`);
    this.tell();
  }

  paint() {
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight];
    if (!width || !height || !this.of) return;
    const [{ rows, columns, patch_px: [patchHigh, patchWide] }] = this.of;
    const { left, right, top, bottom } = OFFSET_MARGIN;
    const scale = Math.min((width - left - right) / (columns.length * patchWide), (height - top - bottom) / (rows.length * patchHigh));
    const [wide, high] = [Math.max(1, scale * patchWide), Math.max(1, scale * patchHigh)];
    const x = Math.round(left + (width - left - right - wide * columns.length) / 2);
    this.place = { x, y: top, wide, high };
    const context = sharp(this.canvas, width, height);
    this.colour();
    context.fillStyle = this.app.theme.empty;
    const area = [x, top, Math.round(wide * columns.length), Math.round(high * rows.length)];
    context.fillRect(...area);
    context.drawImage(this.sprite, ...area);
    this.axes(context);
    this.frameCell(context, rows.indexOf(0), columns.indexOf(0), ["#000", "#fff"]);
    if (this.cell) this.frameCell(context, ...this.cell, [this.app.theme.paper, this.app.theme.accent]);
  }

  /** One pixel for each cell. */
  colour() {
    const [{ rows, columns }] = this.of;
    const table = this.app.tables.attention;
    Object.assign(this.sprite, { width: columns.length, height: rows.length });
    const painter = this.sprite.getContext("2d");
    const image = painter.createImageData(columns.length, rows.length);
    for (let row = 0; row < rows.length; row += 1) {
      for (let column = 0; column < columns.length; column += 1) {
        const value = this.share(row, column);
        if (Number.isNaN(value)) continue;
        const step = 3 * (this.end > 0 ? Math.min(255, Math.round(255 * Math.sqrt(value / this.end))) : 0);
        const at = 4 * (row * columns.length + column);
        image.data[at] = table[step];
        image.data[at + 1] = table[step + 1];
        image.data[at + 2] = table[step + 2];
        image.data[at + 3] = 255;
      }
    }
    painter.putImageData(image, 0, 0);
  }

  /** Patches below and to the left, pixels above and to the right. */
  axes(context) {
    const [{ rows, columns, patch_px: [patchHigh, patchWide] }] = this.of;
    const { x, y, wide, high } = this.place;
    const { ink, muted } = this.app.theme;
    const family = (this.family ??= getComputedStyle(this.frame).fontFamily);
    const [right, bottom] = [x + wide * columns.length, y + high * rows.length];
    const middle = [(x + right) / 2, (y + bottom) / 2];
    const every = (side, room) => [1, 2, 5, 10, 20, 50].find((step) => step * side >= room) ?? 100;
    Object.assign(context, { font: `11px ${family}`, fillStyle: muted, textAlign: "center" });
    const stepX = every(wide, 34);
    columns.forEach((offset, i) => {
      if (offset % stepX) return;
      const at = x + (i + 0.5) * wide;
      context.textBaseline = "top";
      context.fillText(signedText(offset), at, bottom + 4);
      context.textBaseline = "bottom";
      context.fillText(signedText(offset * patchWide), at, y - 3);
    });
    context.textBaseline = "middle";
    const stepY = every(high, 18);
    rows.forEach((offset, i) => {
      if (offset % stepY) return;
      const at = y + (i + 0.5) * high;
      context.textAlign = "right";
      context.fillText(signedText(offset), x - 5, at);
      context.textAlign = "left";
      context.fillText(signedText(offset * patchHigh), right + 5, at);
    });
    Object.assign(context, { fillStyle: ink, font: `12px ${family}`, textAlign: "center" });
    context.textBaseline = "alphabetic";
    context.fillText("columns to the right (patches)", middle[0], bottom + 30);
    context.fillText("px", middle[0], y - 20);
    for (const [text, at] of [["rows down (patches)", x - 36], ["px", right + 40]]) {
      context.save();
      context.translate(at, middle[1]);
      context.rotate(-Math.PI / 2);
      context.fillText(text, 0, 0);
      context.restore();
    }
  }

  frameCell(context, row, column, colours) {
    if (row < 0 || column < 0) return;
    const { x, y, wide, high } = this.place;
    const [left, top] = [Math.round(x + column * wide), Math.round(y + row * high)];
    const box = [left + 0.5, top + 0.5, Math.round(x + (column + 1) * wide) - left - 1, Math.round(y + (row + 1) * high) - top - 1];
    colours.forEach((colour, i) => {
      context.lineWidth = i ? 1.5 : 3;
      context.strokeStyle = colour;
      context.strokeRect(...box);
    });
  }

  cellAt({ offsetX, offsetY }) {
    if (!this.of) return null;
    const [{ rows, columns }] = this.of;
    const { x, y, wide, high } = this.place;
    const [row, column] = [Math.floor((offsetY - y) / high), Math.floor((offsetX - x) / wide)];
    return row >= 0 && column >= 0 && row < rows.length && column < columns.length ? [row, column] : null;
  }

  key(event) {
    const step = STEPS[event.key];
    if (!step || !this.of) return;
    event.preventDefault();
    const [{ rows, columns }] = this.of;
    const [row, column] = this.cell ? this.cell.map((at, i) => at + step[i]) : [rows.indexOf(0), columns.indexOf(0)];
    this.point([Math.max(0, Math.min(rows.length - 1, row)), Math.max(0, Math.min(columns.length - 1, column))]);
  }

  point(cell) {
    if (!this.of || cell?.join() === this.cell?.join()) return;
    this.cell = cell;
    this.tell();
    this.paint();
  }

  tell() {
    if (!this.cell) return setText(this.about, `${this.whole}: the framed cell is the query's own patch. Point at a cell to read it.`);
    const [row, column] = this.cell;
    const [{ rows, columns, patch_px: [patchHigh, patchWide] }] = this.of;
    const way = (offset, px, unit, [more, less]) => `${Math.abs(offset)} ${unit}${Math.abs(offset) === 1 ? "" : "s"} ${offset >= 0 ? more : less} (${inWords(Math.abs(offset) * px)} px)`;
    const share = this.share(row, column);
    const words = Number.isNaN(share) ? "no two patches are so far apart" : `${percent(share)} of a patch's attention`;
    return setText(this.about, `${way(rows[row], patchHigh, "row", ["down", "up"])}, ${way(columns[column], patchWide, "column", ["right", "left"])}: ${words}`);
  }
}

/** A whole number with its sign, as axes of offsets write it. */
function signedText(value) {
  const text = String(Number(Math.abs(value).toPrecision(4)));
  return value < 0 ? `−${text}` : text;
}
