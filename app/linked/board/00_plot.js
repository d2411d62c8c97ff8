// A plot of dots and lines for the board: marks on one canvas, what is chosen on a second one above,
// so that a click redraws only the second. It stands on `01_axes.js`; `02_pointing.js` is its other half.
//
//   this.plot = new Plot(app, {
//     name: "scatter", label: "Heads by entropy and distance",
//     describe: (mark) => `head ${mark.dot}`,               // for screen readers
//     onhover: (mark, event) => …,  onclick: (mark, event) => …, // mark: {dot: 5} | {line: 2} | null (hover ends)
//     onlasso: (dots, event) => …,                           // indices; without it dragging zooms
//   });
//   body.append(this.plot.node);                             // fills its parent
//   this.plot.show(this.spec ??= {                           // the same object again: nothing is drawn
//     x: { label: "Entropy", unit: "nats", log: false }, y: { label: "Distance", unit: "px", domain: [0, 90] },
//     dots: { x: new Float32Array(…), y: …, colour: coloursOf(values, app.tables.numbers, [0, 1]) },
//     lines: [{ x: […], y: […], colour: "#0b84a5" }],
//   });
//   this.plot.highlight({ chosen: [{ dot: 5 }], marked: [{ dot: 7 }], off: [] });
//
// An axis: {label, unit, log, domain, zero (0 is in it), whole (whole numbers), ticks [[value, text]], bare}.
// `equal: true`: both axes to one scale. `keep`: while it is the same, a zoom stays when another spec comes.
// Dots: {x, y, colour ("#rrggbb" or red green blue of each), size (radius in px), shape, hollow, low, high}; size,
// shape (index into SHAPES), hollow may be arrays; low and high draw intervals of y; NaN is left out.
// `pictures: {sprite, size, columns, width}` draws cell i of a sprite instead of dot i, its colour as a frame.
// Lines: {x, y, colour, width, dash, opacity, low, high (a band), guide: true (nobody points at it)}.

const NEAR = 14; // px from the pointer to a mark
const DRAGGED = 4; // px that make a press a drag

class Plot {
  constructor(app, { name, label, describe = () => "", onhover, onclick, onlasso }) {
    Object.assign(this, { app, describe, onhover, onclick, onlasso });
    this.marks = element("canvas", { class: "hs-plot-marks", "aria-hidden": "true" });
    this.over = element("canvas", { class: "hs-plot-over", "aria-hidden": "true" });
    this.said = element("span", { class: "hs-plot-said", "aria-live": "polite" });
    this.dots = document.createElement("canvas");
    this.modes = switchOf(`${name}-drag`, "Dragging", [
      ["lasso", "Lasso", "Dragging encircles marks; with Shift it always does"],
      ["zoom", "Zoom", "Dragging enlarges a rectangle; so do Ctrl and the wheel. Double-click: all again"],
    ], (mode) => this.drag(mode));
    this.whole = element("button", { type: "button", class: "hs-act hs-plot-whole", onclick: () => this.zoom(null) }, "Show all");
    this.node = element(
      "div", { class: "hs-plot-frame", role: "application", tabindex: "0", "aria-label": `${label}. Arrow keys move between marks, Enter chooses, plus and minus zoom.`, "data-plot": name },
      this.marks, this.over, this.said, element("div", { class: "hs-plot-tools" }, this.whole, onlasso ? this.modes.node : null),
    );
    this.node.plot = this;
    this.highlights = {};
    this.view = null;
    this.drag(onlasso ? "lasso" : "zoom");
    this.whole.hidden = true;
    this.listen();
    this.resizing = new ResizeObserver(() => this.redraw());
    this.resizing.observe(this.node);
  }

  close() {
    this.resizing.disconnect();
  }

  drag(mode) {
    this.mode = mode;
    this.modes.set(mode);
    this.node.classList.toggle("hs-plot-lassoing", mode === "lasso");
  }

  show(spec) {
    const theme = JSON.stringify(this.app.theme);
    if (spec === this.spec && theme === this.drawnTheme) return;
    const same = this.spec && spec.keep !== undefined && this.spec.keep === spec.keep;
    if (!same) this.setView(null);
    if (spec !== this.spec) this.hovered = this.cursor = null;
    this.spec = spec;
    this.redraw();
  }

  /** What is drawn on top: lists of marks by `chosen`, `marked` and `off`. */
  highlight(highlights) {
    const wanted = JSON.stringify(highlights);
    if (wanted === this.highlighted) return;
    this.highlighted = wanted;
    this.highlights = highlights;
    if (highlights.chosen?.length) this.cursor = highlights.chosen[0];
    this.drawOver();
  }

  /** Shows a part, `{x: [low, high], y: [low, high]}`; null: all. */
  zoom(view) {
    this.setView(view);
    this.redraw();
  }

  setView(view) {
    this.view = view;
    this.whole.hidden = !view;
  }

  /** Where a mark is, in pixels of the plot; null where it has no place. */
  placeOf({ dot, line }) {
    if (dot !== undefined) return Number.isNaN(this.px[dot]) ? null : [this.px[dot], this.py[dot]];
    const points = this.paths[line];
    return points.find((point) => point) ?? null;
  }

  // -- marks --------------------------------------------------------------------------------------

  redraw() {
    const { spec, node } = this;
    const [width, height] = [node.clientWidth, node.clientHeight];
    if (!spec || !width || !height) return;
    const started = performance.now();
    this.drawnTheme = JSON.stringify(this.app.theme);
    this.size = [width, height];
    this.ratio = window.devicePixelRatio || 1;
    this.font = getComputedStyle(node).fontFamily;
    const context = sharp(this.marks, width, height);
    this.arrange(context);
    this.drawAxes(context);
    context.save();
    context.beginPath();
    context.rect(...this.area);
    context.clip();
    this.placeMarks();
    (spec.lines ?? []).forEach((line, i) => this.drawLine(context, line, this.paths[i]));
    if (spec.dots) this.drawDots(context);
    context.restore();
    this.drawOver();
    Object.assign(node.dataset, { drawn: (performance.now() - started).toFixed(1), marks: String(this.nDrawn) });
  }

  /** Axes, their ticks and the area between them. */
  arrange(context) {
    const { spec } = this;
    const [width, height] = this.size;
    const values = (axis) => [
      ...(spec.dots ? [spec.dots[axis], ...(axis === "y" ? [spec.dots.low, spec.dots.high] : [])] : []),
      ...(spec.lines ?? []).filter(({ guide }) => !guide).flatMap((line) => [line[axis], ...(axis === "y" ? [line.low, line.high] : [])]),
    ].filter(Boolean);
    const ends = (axis) => this.view?.[axis] ?? spec[axis].domain ?? plotDomain(values(axis), { ...spec[axis], margin: spec.pictures ? 0.09 : 0.04 });
    let [xs, ys] = [ends("x"), ends("y")];
    const bare = [spec.x.bare, spec.y.bare];
    const bottom = height - (bare[0] ? 4 : 38);
    const top = 6;
    const count = Math.max(2, Math.round((bottom - top) / 46));
    const yTicks = spec.y.ticks ? { ticks: spec.y.ticks, power: 0 } : plotTicks({ low: ys[0], high: ys[1], log: spec.y.log }, count, spec.y);
    context.font = `11px ${this.font}`;
    const wide = Math.max(...yTicks.ticks.map(([, text]) => context.measureText(text).width), 12);
    const left = bare[1] ? 4 : Math.ceil(wide) + 28;
    const right = width - 8;
    if (spec.equal && !this.view) [xs, ys] = toOneScale(xs, ys, (right - left) / (bottom - top));
    this.area = [left, top, right - left, bottom - top];
    this.x = plotScale(xs, [left, right], spec.x.log);
    this.y = plotScale(ys, [bottom, top], spec.y.log);
    this.ticks = {
      x: spec.x.ticks ? { ticks: spec.x.ticks, power: 0 } : plotTicks(this.x, Math.max(2, Math.round((right - left) / 80)), spec.x),
      y: yTicks,
    };
  }

  drawAxes(context) {
    const { spec, ticks, x, y } = this;
    const { ink, muted, line } = this.app.theme;
    const [left, top, wide, high] = this.area;
    const [right, bottom] = [left + wide, top + high];
    Object.assign(context, { lineWidth: 1, strokeStyle: line, fillStyle: muted, font: `11px ${this.font}` });
    const within = (value, { low, high: most }) => value >= low && value <= most;
    context.beginPath();
    if (!spec.y.bare) {
      Object.assign(context, { textAlign: "right", textBaseline: "middle" });
      for (const [value, text] of ticks.y.ticks.filter(([each]) => within(each, y))) {
        const at = Math.round(y.at(value)) + 0.5;
        context.moveTo(left, at);
        context.lineTo(right, at);
        context.fillText(text, left - 6, at);
      }
    }
    if (!spec.x.bare) {
      Object.assign(context, { textAlign: "center", textBaseline: "top" });
      let free = -Infinity;
      for (const [value, text] of ticks.x.ticks.filter(([each]) => within(each, x))) {
        const at = Math.round(x.at(value)) + 0.5;
        context.moveTo(at, top);
        context.lineTo(at, bottom);
        const half = context.measureText(text).width / 2;
        if (at - half < free) continue;
        free = at + half + 4;
        context.fillText(text, Math.min(at, this.size[0] - half), bottom + 6);
      }
    }
    context.stroke();
    context.fillStyle = ink;
    Object.assign(context, { textAlign: "center", font: `12px ${this.font}` });
    if (!spec.x.bare) {
      context.textBaseline = "bottom";
      context.fillText(axisText(spec.x, ticks.x.power), left + wide / 2, this.size[1] - 1, wide);
    }
    if (!spec.y.bare) {
      context.save();
      context.translate(1, top + high / 2);
      context.rotate(-Math.PI / 2);
      context.textBaseline = "top";
      context.fillText(axisText(spec.y, ticks.y.power), 0, 0, high);
      context.restore();
    }
  }

  /** Where all marks are; dots also by cells of a grid, in which the nearest is found. */
  placeMarks() {
    const { x, y, spec } = this;
    const { dots } = spec;
    const visible = (value, { log }) => value !== null && Number.isFinite(value) && (!log || value > 0);
    this.paths = (spec.lines ?? []).map((line) => Array.from(line.x, (at, i) => (
      visible(at, x) && visible(line.y[i], y) ? [x.at(at), y.at(line.y[i])] : null)));
    const n = dots ? dots.x.length : 0;
    this.px = new Float32Array(n).fill(NaN);
    this.py = new Float32Array(n).fill(NaN);
    this.nDrawn = 0;
    for (let i = 0; i < n; i += 1) {
      if (!visible(dots.x[i], x) || !visible(dots.y[i], y)) continue;
      this.px[i] = x.at(dots.x[i]);
      this.py[i] = y.at(dots.y[i]);
      this.nDrawn += 1;
    }
    this.reach = spec.pictures ? Math.max(NEAR, (spec.pictures.width * Math.SQRT2) / 2) : NEAR;
    this.index = new PlotIndex(this.px, this.py, this.area, this.reach);
  }

  drawLine(context, { colour, width = 1.5, dash = [], opacity = 1, low, high, x, guide }, points) {
    const { muted } = this.app.theme;
    if (low && high) {
      context.globalAlpha = 0.18 * opacity;
      context.fillStyle = colour ?? muted;
      context.beginPath();
      const ends = points.flatMap((point, i) => (point && Number.isFinite(low[i]) && Number.isFinite(high[i]) ? [i] : []));
      ends.forEach((i) => context.lineTo(this.x.at(x[i]), this.y.at(high[i])));
      ends.reverse().forEach((i) => context.lineTo(this.x.at(x[i]), this.y.at(low[i])));
      context.fill();
    }
    context.globalAlpha = opacity;
    trace(context, points, colour ?? muted, width, guide && !dash.length ? [3, 3] : dash);
    context.globalAlpha = 1;
  }

  drawDots(context) {
    const { spec: { dots, pictures }, ratio, px, py } = this;
    const [left, top, wide, high] = this.area;
    const { low, high: upper } = dots;
    if (low && upper) this.drawIntervals(context, dots);
    if (pictures) return this.drawPictures(context, dots, pictures);
    const n = px.length;
    const [width, height] = [Math.round(wide * ratio), Math.round(high * ratio)];
    if (!n || width < 1 || height < 1) return undefined;
    Object.assign(this.dots, { width, height });
    const paint = this.dots.getContext("2d");
    const image = paint.createImageData(width, height);
    const many = n > 4000;
    const edge = channels(this.app.theme.muted);
    const each = (value, usual) => (typeof value === "object" ? value : new Float32Array(n).fill(value ?? usual));
    const [sizes, shapes, hollows] = [each(dots.size, many ? 2 : 4.5), each(dots.shape, 0), each(dots.hollow, 0)];
    const one = typeof dots.colour === "string" ? channels(dots.colour) : null;
    const colour = one ? new Uint8ClampedArray(3 * n).map((_, i) => one[i % 3]) : dots.colour;
    let last = {};
    for (let i = 0; i < n; i += 1) {
      if (Number.isNaN(px[i])) continue;
      const hollow = Boolean(hollows[i]);
      const radius = Math.round(2 * ratio * sizes[i]) / 2;
      if (last.radius !== radius || last.shape !== shapes[i] || last.hollow !== hollow) {
        const rim = hollow ? 1.6 * ratio : many ? 0 : 0.8 * ratio;
        last = { radius, hollow, shape: shapes[i], stamp: stampOf(SHAPES[shapes[i]], radius, rim) };
      }
      const at = 3 * i;
      stampOn(
        image, last.stamp, Math.round((px[i] - left) * ratio), Math.round((py[i] - top) * ratio),
        colour[at], colour[at + 1], colour[at + 2], hollow ? colour.subarray(at, at + 3) : edge, many ? 0.75 : 0.92, hollow,
      );
    }
    paint.putImageData(image, 0, 0);
    return context.drawImage(this.dots, left, top, wide, high);
  }

  drawIntervals(context, { low, high }) {
    context.strokeStyle = this.app.theme.muted;
    context.beginPath();
    this.px.forEach((at, i) => {
      if (Number.isNaN(at) || !Number.isFinite(low[i]) || !Number.isFinite(high[i])) return;
      context.moveTo(at, this.y.at(low[i]));
      context.lineTo(at, this.y.at(high[i]));
    });
    context.stroke();
  }

  drawPictures(context, { colour }, { sprite, size, columns, width }) {
    context.imageSmoothingEnabled = true;
    const order = Array.from(this.px.keys()).filter((i) => !Number.isNaN(this.px[i]));
    for (const i of order) {
      const [x, y] = [this.px[i] - width / 2, this.py[i] - width / 2];
      context.fillStyle = typeof colour === "string" ? colour : `rgb(${colour.slice(3 * i, 3 * i + 3).join()})`;
      context.fillRect(x - 2.5, y - 2.5, width + 5, width + 5);
      context.drawImage(sprite, (i % columns) * size, Math.floor(i / columns) * size, size, size, x, y, width, width);
    }
  }

  // -- what is chosen -----------------------------------------------------------------------------

  drawOver() {
    if (!this.area) return;
    const started = performance.now();
    const context = sharp(this.over, ...this.size);
    const { accent, ink, muted, paper } = this.app.theme;
    context.save();
    context.beginPath();
    context.rect(...this.area);
    context.clip();
    const { chosen = [], marked = [], off = [] } = this.highlights;
    marked.forEach((mark) => this.outline(context, mark, ink, [3, 2], 1.5));
    off.forEach((mark) => this.strike(context, mark, ink));
    if (this.hovered) this.outline(context, this.hovered, muted, [], 2);
    chosen.forEach((mark) => {
      this.outline(context, mark, paper, [], 5);
      this.outline(context, mark, accent, [], 2.5);
    });
    if (this.path) this.drawPath(context, this.path);
    context.restore();
    this.node.dataset.highlighted = (performance.now() - started).toFixed(1);
  }

  outline(context, { dot, line }, colour, dash, width) {
    if (line !== undefined) {
      if (this.paths[line]) trace(context, this.paths[line], colour, width, dash);
      return;
    }
    if (dot >= this.px.length || Number.isNaN(this.px[dot])) return;
    const { pictures, dots } = this.spec;
    context.beginPath();
    if (pictures) {
      const half = pictures.width / 2 + 3;
      context.rect(this.px[dot] - half, this.py[dot] - half, 2 * half, 2 * half);
    } else {
      const radius = typeof dots.size === "object" ? dots.size[dot] : dots.size ?? (this.px.length > 4000 ? 2 : 4.5);
      context.arc(this.px[dot], this.py[dot], radius + 2.5, 0, 2 * Math.PI);
    }
    Object.assign(context, { strokeStyle: colour, lineWidth: width });
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  strike(context, mark, colour) {
    const at = mark.dot !== undefined && this.px[mark.dot] !== undefined ? this.placeOf(mark) : null;
    if (mark.line !== undefined) this.outline(context, mark, colour, [1, 4], 1.5);
    if (at) trace(context, [[at[0] - 6, at[1] + 6], [at[0] + 6, at[1] - 6]], colour, 2, []);
  }

  drawPath(context, { points, box }) {
    const { accent } = this.app.theme;
    const [[x, y], [a, b]] = [points[0], points.at(-1)];
    context.beginPath();
    if (box) context.rect(Math.min(x, a), Math.min(y, b), Math.abs(a - x), Math.abs(b - y));
    else points.forEach((point) => context.lineTo(...point));
    Object.assign(context, { fillStyle: accent, strokeStyle: accent, lineWidth: 1.5, globalAlpha: 0.15 });
    context.fill();
    context.globalAlpha = 1;
    context.stroke();
  }
}
