// What the parts look at together: the data, the selection, what the pointer is over.

/** Keys that travel to Python and into the address. */
const SELECTED = ["layer", "head", "token", "metric", "scope"];

/** Options of looking only; they stay in this browser. */
const LOOKING = { opacity: 0.6, scale: "own", profile: "sum" };

class State {
  constructor() {
    this.data = null;
    this.feed = null;
    this.chosen = {};
    this.hover = null;
    this.looking = { ...LOOKING };
    this.stamp = null;
    this.asked = null;
  }

  /** Takes what Python sent; its selection only where Python changed it, not where it echoes. */
  take(data) {
    this.data = data;
    this.feed = feedStore().feeds.get(data.feed) ?? null;
    if (data.stamp !== this.stamp) {
      this.stamp = data.stamp;
      this.chosen = Object.fromEntries(SELECTED.map((key) => [key, data.selection[key] ?? null]));
    }
    this.layout = data.layout;
    this.patches = [];
    this.prefix = [];
    (data.layout?.kinds ?? []).forEach((kind, token) => {
      (kind === "patch" ? this.patches : this.prefix).push(token);
    });
    this.patchOf = new Map(this.patches.map((token, patch) => [token, patch]));
  }

  get nHeads() {
    return this.data.n_heads ?? [];
  }

  get metric() {
    const metrics = this.data.metrics;
    return metrics.find((metric) => metric.key === this.chosen.metric) ?? metrics[0] ?? null;
  }

  get scope() {
    return this.data.n_images > 1 && this.chosen.scope === "mean" ? "mean" : "image";
  }

  /** Values of a metric, [layer][head]. */
  valuesOf(metric) {
    return metric ? metric[this.scope] : null;
  }

  /** The chosen head; before anyone chose, the one with the largest value. */
  get head() {
    const { layer, head } = this.chosen;
    if (layer !== null && head !== null && head < (this.nHeads[layer] ?? 0)) return { layer, head };
    const values = this.valuesOf(this.metric);
    let best = { layer: 0, head: 0 };
    if (values) {
      values.forEach((row, l) => row.forEach((value, h) => {
        if (value !== null && value > (values[best.layer][best.head] ?? -Infinity)) best = { layer: l, head: h };
      }));
    }
    return best;
  }

  /** The chosen query; before anyone chose, the first prefix token or the patch in the middle. */
  get token() {
    if (!this.layout) return null;
    const { token } = this.chosen;
    if (token !== null && token < this.layout.kinds.length) return token;
    if (this.prefix.length) return this.prefix[0];
    const [rows, columns] = this.layout.grid;
    return this.patches[Math.floor(rows / 2) * columns + Math.floor(columns / 2)];
  }

  /** The query that is drawn: the one under the pointer, or the chosen one. */
  get query() {
    return this.hover ?? this.token;
  }

  labelOf(token) {
    const patch = this.patchOf.get(token);
    if (patch !== undefined) {
      const columns = this.layout.grid[1];
      return `patch ${Math.floor(patch / columns)}, ${patch % columns}`;
    }
    const kind = this.layout.kinds[token];
    const same = this.prefix.filter((other) => this.layout.kinds[other] === kind);
    return same.length === 1 ? kind : `${kind} ${same.indexOf(token)}`;
  }

  /** Weights on the patches for one head and query: `{values, largest, row, scale}`, or null. */
  patchWeights(layer, head, query) {
    const row = rowOf(this.feed, layer, head, query);
    if (!row) return null;
    let largest = 0;
    const values = this.patches.map((token) => {
      const weight = row.bytes[token];
      if (weight > largest) largest = weight;
      return weight * row.scale;
    });
    return { values, largest: largest * row.scale, row: row.bytes, scale: row.scale };
  }

  /** Largest weight on any patch in any head, for one query; null while some are missing. */
  sharedMaximum(query) {
    const key = `${this.feed?.id} ${this.feed?.slabs.length} ${query}`;
    if (this.sharedFor === key) return this.shared;
    let largest = 0;
    for (const [layer, heads] of this.nHeads.entries()) {
      for (let head = 0; head < heads; head += 1) {
        const row = rowOf(this.feed, layer, head, query);
        if (!row) return null;
        for (const token of this.patches) {
          const weight = row.bytes[token] * row.scale;
          if (weight > largest) largest = weight;
        }
      }
    }
    this.sharedFor = key;
    this.shared = largest;
    return largest;
  }

  /** Place of a head among all by a metric (1 is the largest), and how many there are. */
  rank(metric, layer, head) {
    const values = this.valuesOf(metric).flat().filter((value) => value !== null);
    const own = this.valuesOf(metric)[layer][head];
    if (own === null) return null;
    return { place: 1 + values.filter((value) => value > own).length, of: values.length };
  }

  range(metric) {
    const values = this.valuesOf(metric)?.flat().filter((value) => value !== null) ?? [];
    return values.length ? [Math.min(...values), Math.max(...values)] : null;
  }
}
