// How a plot is pointed at: the nearest mark, clicks, lassos, zoom, keys. Part of `00_plot.js`.

/** Places of dots by cells of a grid, so that the nearest is found among few. */
class PlotIndex {
  constructor(px, py, [left, top, width, height], cell) {
    Object.assign(this, { px, py, left, top, cell });
    this.columns = Math.max(1, Math.ceil(width / cell));
    this.rows = Math.max(1, Math.ceil(height / cell));
    this.starts = new Int32Array(this.columns * this.rows + 1);
    const cells = new Int32Array(px.length);
    for (let i = 0; i < px.length; i += 1) {
      const column = Math.floor((px[i] - left) / cell);
      const row = Math.floor((py[i] - top) / cell);
      const inside = column >= 0 && column < this.columns && row >= 0 && row < this.rows;
      cells[i] = inside ? row * this.columns + column : -1;
      if (inside) this.starts[cells[i] + 1] += 1;
    }
    for (let i = 1; i < this.starts.length; i += 1) this.starts[i] += this.starts[i - 1];
    const next = this.starts.slice();
    this.order = new Int32Array(this.starts.at(-1));
    cells.forEach((at, i) => {
      if (at < 0) return;
      this.order[next[at]] = i;
      next[at] += 1;
    });
  }

  /** The dot nearest to a place, within a cell's length; the later drawn of two; null: none. */
  nearest(x, y) {
    const column = Math.floor((x - this.left) / this.cell);
    const row = Math.floor((y - this.top) / this.cell);
    let best = null;
    let least = this.cell ** 2;
    for (let r = Math.max(0, row - 1); r <= Math.min(this.rows - 1, row + 1); r += 1) {
      const first = r * this.columns;
      const from = this.starts[first + Math.max(0, column - 1)];
      const to = this.starts[first + Math.min(this.columns - 1, column + 1) + 1];
      for (let k = from; k < to; k += 1) {
        const i = this.order[k];
        const far = (this.px[i] - x) ** 2 + (this.py[i] - y) ** 2;
        if (far <= least) [best, least] = [i, far];
      }
    }
    return best;
  }
}

/** Whether a place is inside a polygon (even-odd rule). */
function insidePolygon(x, y, points) {
  let inside = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i, i += 1) {
    const [[ax, ay], [bx, by]] = [points[i], points[j]];
    if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

function distanceToSegment(x, y, [ax, ay], [bx, by]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const t = length ? Math.max(0, Math.min(1, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
  return Math.hypot(ax + t * (bx - ax) - x, ay + t * (by - ay) - y);
}

const sameMark = (a, b) => a?.dot === b?.dot && a?.line === b?.line;

Object.assign(Plot.prototype, {
  listen() {
    const { node, over } = this;
    over.addEventListener("pointerdown", (event) => this.press(event));
    over.addEventListener("pointermove", (event) => this.move(event));
    over.addEventListener("pointerup", (event) => this.release(event));
    over.addEventListener("pointercancel", () => this.endPress());
    over.addEventListener("pointerleave", (event) => this.hover(null, event));
    over.addEventListener("dblclick", () => this.view && this.zoom(null));
    over.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    node.addEventListener("keydown", (event) => this.key(event));
    node.addEventListener("blur", (event) => this.hover(null, event));
  },

  /** The mark under a place of the plot: a dot where one is near, else a line. */
  markAt(x, y) {
    if (!this.area || !this.spec) return null;
    const [left, top, width, height] = this.area;
    if (x < left || y < top || x > left + width || y > top + height) return null;
    const dot = this.index.nearest(x, y);
    if (dot !== null) return { dot };
    let [best, least] = [null, NEAR];
    this.paths.forEach((points, line) => {
      if (this.spec.lines[line].guide) return;
      points.forEach((point, i) => {
        if (!point) return;
        const far = distanceToSegment(x, y, point, points[i - 1] ?? point);
        if (far < least) [best, least] = [{ line }, far];
      });
    });
    return best;
  },

  hover(mark, event) {
    if (!mark && !this.hovered) return;
    const same = sameMark(mark, this.hovered);
    this.hovered = mark;
    this.over.style.cursor = mark ? "pointer" : "";
    this.onhover?.(mark, event);
    if (!same) this.drawOver();
  },

  press(event) {
    if (event.button !== 0) return;
    this.pressed = [event.offsetX, event.offsetY];
    this.lassoing = Boolean(this.onlasso) && (this.mode === "lasso" || event.shiftKey);
    this.over.setPointerCapture(event.pointerId);
  },

  move(event) {
    const at = [event.offsetX, event.offsetY];
    if (!this.pressed) return this.hover(this.markAt(...at), event);
    if (!this.path && Math.hypot(at[0] - this.pressed[0], at[1] - this.pressed[1]) <= DRAGGED) return undefined;
    this.hover(null, event);
    this.path ??= { points: [this.pressed], box: !this.lassoing };
    this.path.points.push(at);
    return this.drawOver();
  },

  release(event) {
    const { pressed, path, lassoing } = this;
    this.endPress();
    if (!pressed) return;
    if (!path) {
      const mark = this.markAt(event.offsetX, event.offsetY);
      if (mark) this.choose(mark, event);
    } else if (lassoing) this.onlasso(this.dotsWithin(path.points), event);
    else this.zoomTo(path.points[0], path.points.at(-1));
  },

  endPress() {
    this.pressed = this.path = null;
    this.drawOver();
  },

  choose(mark, event) {
    this.cursor = mark;
    this.onclick?.(mark, event);
  },

  /** Dots in a polygon of places, in order. */
  dotsWithin(points) {
    const found = [];
    for (let i = 0; i < this.px.length; i += 1) {
      if (!Number.isNaN(this.px[i]) && insidePolygon(this.px[i], this.py[i], points)) found.push(i);
    }
    return found;
  },

  zoomTo([ax, ay], [bx, by]) {
    if (Math.abs(bx - ax) < 8 || Math.abs(by - ay) < 8) return;
    const { x, y } = this;
    const sorted = (a, b) => [Math.min(a, b), Math.max(a, b)];
    this.zoom({ x: sorted(x.from(ax), x.from(bx)), y: sorted(y.from(ay), y.from(by)) });
  },

  /** Enlarges by a factor about a place, which stays where it is. */
  enlarge(factor, [px, py]) {
    const [left, top, width, height] = this.area;
    const ends = (scale, at, low, high) => [scale.from(at + (low - at) / factor), scale.from(at + (high - at) / factor)];
    this.zoom({ x: ends(this.x, px, left, left + width), y: ends(this.y, py, top + height, top) });
  },

  wheel(event) {
    if (!(event.ctrlKey || event.metaKey) || !this.area) return; // a bare wheel scrolls the page
    event.preventDefault();
    this.enlarge(Math.exp(-event.deltaY / 400), [event.offsetX, event.offsetY]);
  },

  key(event) {
    if (event.target !== this.node || !this.area || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [left, top, width, height] = this.area;
    const middle = [left + width / 2, top + height / 2];
    if (steps[event.key]) this.step(steps[event.key], event);
    else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.choose(this.cursor, event);
    else if (event.key === "+") this.enlarge(1.5, middle);
    else if (event.key === "-" && this.view) this.enlarge(1 / 1.5, middle);
    else if (event.key === "0" && this.view) this.zoom(null);
    else if (event.key === "Escape") this.hover(null, event);
    else return;
    event.preventDefault();
  },

  /** The keyboard's mark: the next one in a direction; the first time the one that is chosen. */
  step(way, event) {
    const from = this.hovered ?? this.cursor;
    const next = from && this.hovered ? this.nextMark(from, way) : from ?? this.firstMark();
    if (!next) return;
    this.cursor = next;
    const place = this.placeOf(next) ?? [0, 0];
    const box = this.node.getBoundingClientRect();
    const { altKey, shiftKey } = event;
    this.hover(next, { clientX: box.left + place[0], clientY: box.top + place[1], altKey, shiftKey });
    setText(this.said, this.describe(next));
  },

  firstMark() {
    const dot = this.px.findIndex((at) => !Number.isNaN(at));
    return dot >= 0 ? { dot } : this.spec.lines?.length ? { line: 0 } : null;
  },

  nextMark(from, [dx, dy]) {
    if (from.line !== undefined) {
      const line = from.line + (dx || dy);
      return this.paths[line] && !this.spec.lines[line].guide ? { line } : from;
    }
    const place = this.placeOf(from);
    if (!place) return this.firstMark();
    let [best, least] = [from.dot, Infinity];
    for (let i = 0; i < this.px.length; i += 1) {
      const [x, y] = [this.px[i] - place[0], this.py[i] - place[1]];
      const along = x * dx + y * dy;
      const aside = Math.abs(x * dy - y * dx);
      if (i === from.dot || !(along > 0.5 || (along > -0.5 && aside < 0.5 && i > from.dot))) continue;
      const far = Math.max(along, 0) + 2 * aside;
      if (far < least) [best, least] = [i, far];
    }
    return { dot: best };
  },
});
