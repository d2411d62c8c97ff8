// What plots stand on: scales with round ticks, dots stamped into pixels, colours of numbers, legends.

const SHAPES = ["disc", "square", "diamond", "triangle", "cross"];

/**
 * A scale from values to pixels, `{at(value), from(pixel), low, high}`; `log` where asked and where
 * all values are positive. The first pixel stands for the low end.
 */
function plotScale([low, high], [first, last], log = false) {
  const way = log ? Math.log10 : (value) => value;
  const back = log ? (value) => 10 ** value : (value) => value;
  const [a, b] = [way(low), way(high)];
  const factor = (last - first) / (b - a || 1);
  return { low, high, log, at: (value) => first + (way(value) - a) * factor, from: (pixel) => back(a + (pixel - first) / factor) };
}

/** The ends of some arrays of numbers, and a margin on each side; NaN and what a log lacks left out. */
function plotDomain(arrays, { log = false, margin = 0.04, zero = false } = {}) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of arrays) {
    for (const value of values) {
      if (!Number.isFinite(value) || value === null || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return log ? [0.1, 1] : [0, 1];
  if (log) {
    const spread = Math.max((high / low) ** margin, 1.05);
    return [low / spread, high * spread];
  }
  if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const more = high > low ? margin * (high - low) : 0.5 * Math.abs(high) || 0.5;
  return [zero && low === 0 ? 0 : low - more, zero && high === 0 ? 0 : high + more];
}

/**
 * Round places on a scale, about `count`, `[[value, text], …]`, and the power of ten that the texts
 * leave out (for the label): `{ticks, power}`.
 */
function plotTicks({ low, high, log }, count, { whole = false } = {}) {
  if (log && high / low > 8) {
    const steps = high / low > 10 ** (count / 1.5) ? [1] : high / low > 100 ? [1, 3] : [1, 2, 5];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const step of steps) {
        const value = step * 10 ** power;
        if (value >= low && value <= high) ticks.push([value, inPowers(step, power)]);
      }
    }
    const every = Math.ceil(ticks.length / count);
    return { ticks: ticks.filter((_, i) => i % every === 0), power: 0 };
  }
  const rough = (high - low) / Math.max(1, count);
  const size = 10 ** Math.floor(Math.log10(rough));
  let step = size * [1, 2, 5, 10].find((each) => each * size >= rough * 0.999);
  if (whole) step = Math.max(1, Math.round(step));
  const largest = Math.max(Math.abs(low), Math.abs(high));
  const power = largest >= 1e5 || largest < 1e-2 ? Math.floor(Math.log10(largest)) : 0;
  const decimals = Math.max(0, power - Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) {
    const value = i * step;
    const text = Math.abs(value / 10 ** power).toFixed(decimals);
    ticks.push([value, (value < 0 && Number(text) ? "−" : "") + text]);
  }
  return { ticks, power };
}

function inPowers(step, power) {
  if (power >= -2 && power <= 4) return String(Number((step * 10 ** power).toPrecision(1)));
  return `${step === 1 ? "" : `${step}·`}10${raised(power)}`;
}

function raised(power) {
  return (power < 0 ? "⁻" : "") + String(Math.abs(power)).replace(/\d/g, (digit) => SUPERSCRIPT[digit]);
}

/** What stands beside an axis: label, power of ten, unit. */
function axisText({ label = "", unit = "" }, power) {
  const scale = [power ? `10${raised(power)}` : "", unit].filter(Boolean).join(" ");
  return scale ? `${label} (${scale})` : label;
}

/** [red, green, blue] of "#rrggbb" or "rgb(…)". */
function channels(colour) {
  if (Array.isArray(colour)) return colour;
  if (colour.startsWith("#")) return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/** Colours of values by a 256-colour table, red green blue of each; `none` where there is no value. */
function coloursOf(values, table, [low, high], { log = false, none = "rgb(138,148,158)" } = {}) {
  const colours = new Uint8ClampedArray(3 * values.length);
  const way = log ? Math.log10 : (value) => value;
  const from = way(low);
  const factor = 255 / (way(high) - from || 1);
  const grey = channels(none);
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i];
    if (value === null || Number.isNaN(value)) {
      colours.set(grey, 3 * i);
      continue;
    }
    const at = 3 * Math.max(0, Math.min(255, Math.round((way(value) - from) * factor)));
    colours[3 * i] = table[at];
    colours[3 * i + 1] = table[at + 1];
    colours[3 * i + 2] = table[at + 2];
  }
  return colours;
}

/** Colours of categories: `indices` into `colours` ("#rrggbb"); below 0 is no category. */
function coloursOfKinds(indices, colours, none = "rgb(138,148,158)") {
  const found = colours.map(channels);
  const grey = channels(none);
  const made = new Uint8ClampedArray(3 * indices.length);
  indices.forEach((index, i) => made.set(index < 0 ? grey : found[index % found.length], 3 * i));
  return made;
}

/** How far a point is inside a shape of radius 1 (negative: outside), about the middle. */
const INSIDE = {
  disc: (x, y) => 1 - Math.hypot(x, y),
  square: (x, y) => 0.88 - Math.max(Math.abs(x), Math.abs(y)),
  diamond: (x, y) => (1.2 - Math.abs(x) - Math.abs(y)) / Math.SQRT2,
  triangle: (x, y) => Math.min(0.62 - y, (1.1 + y - 1.9 * Math.abs(x)) / 2.15),
  cross: (x, y) => Math.min(1 - Math.max(Math.abs(x), Math.abs(y)), 0.36 - Math.abs(Math.abs(x) - Math.abs(y)) / Math.SQRT2),
};

const STAMPS = new Map();

/**
 * The pixels that a shape of a radius (device pixels) covers about its middle: column, row, and the
 * share of each that its inside (`fill`) and its edge take.
 */
function stampOf(shape, radius, edge) {
  const key = `${shape} ${radius} ${edge}`;
  const kept = STAMPS.get(key);
  if (kept) return kept;
  const half = Math.ceil(1.25 * radius + 1);
  const pixels = [];
  for (let row = -half; row <= half; row += 1) {
    for (let column = -half; column <= half; column += 1) {
      const shares = [0, 0];
      for (let sub = 0; sub < 16; sub += 1) {
        const x = column + ((sub % 4) + 0.5) / 4 - 0.5;
        const y = row + (Math.floor(sub / 4) + 0.5) / 4 - 0.5;
        const inside = INSIDE[shape](x / radius, y / radius) * radius;
        if (inside >= 0) shares[inside < edge ? 1 : 0] += 1 / 16;
      }
      if (shares[0] + shares[1]) pixels.push([column, row, ...shares]);
    }
  }
  const stamp = {
    half, n: pixels.length,
    columns: Int32Array.from(pixels, ([column]) => column), rows: Int32Array.from(pixels, ([, row]) => row),
    fill: Float32Array.from(pixels, ([, , fill]) => fill), edge: Float32Array.from(pixels, ([, , , side]) => side),
  };
  if (STAMPS.size > 400) STAMPS.clear();
  STAMPS.set(key, stamp);
  return stamp;
}

/** Lays a stamp over the pixels of an image around a place; `hollow` leaves the inside as it is. */
function stampOn({ data, width, height }, stamp, x, y, red, green, blue, edge, opacity, hollow) {
  const { half, n, columns, rows } = stamp;
  const whole = x >= half && y >= half && x < width - half && y < height - half;
  for (let k = 0; k < n; k += 1) {
    const column = x + columns[k];
    const row = y + rows[k];
    if (!whole && (column < 0 || row < 0 || column >= width || row >= height)) continue;
    const inner = hollow ? 0 : stamp.fill[k];
    const outer = stamp.edge[k];
    const share = (inner + outer) * opacity;
    if (share === 0) continue;
    const i = 4 * (row * width + column);
    const under = (data[i + 3] / 255) * (1 - share);
    const all = share + under;
    const over = share / all;
    const w = outer ? inner / (inner + outer) : 1;
    data[i] += over * (w * red + (1 - w) * edge[0] - data[i]);
    data[i + 1] += over * (w * green + (1 - w) * edge[1] - data[i + 1]);
    data[i + 2] += over * (w * blue + (1 - w) * edge[2] - data[i + 2]);
    data[i + 3] = 255 * all;
  }
}

/**
 * A legend: `show({kinds: [{label, colour, shape}], title})` for categories, or `show({bar: {low,
 * high, anchors, label, unit, log}})` for numbers (anchors as in `data.palette`); `show(null)`: none.
 */
class PlotLegend {
  constructor() {
    this.node = element("div", { class: "hs-plot-legend", "data-text": "legend" });
  }

  show(legend) {
    const wanted = JSON.stringify(legend);
    if (this.shown === wanted) return;
    this.shown = wanted;
    this.node.hidden = !legend;
    if (legend?.bar) this.node.replaceChildren(...this.bar(legend.bar));
    else this.node.replaceChildren(...(legend ? this.kinds(legend) : []));
  }

  bar({ low, high, anchors, label, unit, log = false, zero = false }) {
    const { times, write } = ruler(low, high);
    const bar = element("span", { class: "hs-bar" });
    bar.style.backgroundImage = gradient(anchors);
    if (zero && low < 0 && high > 0) {
      const tick = element("i", { title: "0" });
      tick.style.left = `${(100 * -low) / (high - low)}%`;
      bar.append(tick);
    }
    const text = `${label}${unit || times ? `, ${times}${unit}` : ""}${log ? ", log" : ""}`;
    return [
      element("span", {}, log ? inWords(low) : write(low)), bar, element("span", {}, log ? inWords(high) : write(high)),
      element("span", { class: "hs-unit", title: text }, text),
    ];
  }

  kinds({ kinds, title = "" }) {
    const marks = kinds.map(({ label, colour, shape = "disc" }) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      const context = sharp(canvas, 12, 12);
      const ratio = window.devicePixelRatio || 1;
      const image = context.createImageData(canvas.width, canvas.height);
      const middle = Math.round(6 * ratio);
      stampOn(image, stampOf(shape, 4.5 * ratio, 0), middle, middle, ...channels(colour), [0, 0, 0], 1, false);
      context.putImageData(image, 0, 0);
      return element("span", { class: "hs-plot-kind", title: label }, canvas, element("span", {}, label));
    });
    return [...(title ? [element("span", { class: "hs-unit" }, title)] : []), ...marks];
  }
}

/** Draws a line through points; null is a gap, and a point between two gaps is a small dot. */
function trace(context, points, colour, width, dash) {
  Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
  context.setLineDash(dash);
  context.beginPath();
  points.forEach((point, i) => {
    if (!point) return;
    if (points[i - 1]) context.lineTo(...point);
    else context.moveTo(...point);
    if (!points[i - 1] && !points[i + 1]) context.arc(...point, width / 2, 0, 2 * Math.PI);
  });
  context.stroke();
  context.setLineDash([]);
}

/** Two domains widened so that a unit is as long in both, in an area `aspect` times as wide as high. */
function toOneScale(xs, ys, aspect) {
  const [wide, high] = [xs[1] - xs[0], ys[1] - ys[0]];
  const wider = ([low, high_], by) => [low - by / 2, high_ + by / 2];
  return wide < high * aspect ? [wider(xs, high * aspect - wide), ys] : [xs, wider(ys, wide / aspect - high)];
}
