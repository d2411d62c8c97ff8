// What the parts look at together: the data, the selection, what the pointer is over.

/** Keys that travel to Python and into the address. */
const SELECTED = ["layer", "head", "token", "place", "metric", "scope", "marked", "off", "images"];

/** Options of looking only; they stay in this browser. */
const LOOKING = { opacity: 0.6, scale: "own", profile: "sum", colours: "linear", clicks: "choose" };

class State {
  constructor() {
    this.data = null;
    this.feed = null;
    this.chosen = {};
    /** The place under the pointer. */
    this.hover = null;
    this.looking = { ...LOOKING };
    this.stamp = null;
    this.asked = null;
    /** When the user last chose something; Python says which choice it has heard of. */
    this.told = 0;
  }

  /** Takes what Python sent; its selection only where Python changed it, not where it echoes. */
  take(data) {
    const shape = JSON.stringify([data.tokens, data.layers, data.size]);
    if (shape !== this.shape) {
      this.shape = shape;
      const tokens = data.tokens.map((each) => new Tokens(each, data.size));
      this.layers = data.layers.map(({ queries, keys, attention }) => ({ queries: tokens[queries], keys: tokens[keys], attention }));
      this.hover = null;
    }
    this.data = data;
    this.feed = feedStore().feeds.get(data.feed) ?? null;
    if (data.stamp !== this.stamp) {
      this.stamp = data.stamp;
      if (this.told > (data.heard ?? 0)) return; // it was sent before a choice that is on its way
      this.chosen = Object.fromEntries(SELECTED.map((key) => [key, data.selection[key] ?? null]));
      this.exact = null;
    }
  }

  /**
   * Takes a choice of the user. A query is told as a `place`; it stays when the layer changes, and
   * is written as the token that has it in the selected layer, where there is one.
   */
  choose({ place, ...change }) {
    this.told = performance.timeOrigin + performance.now();
    const kept = place ?? (this.exact || this.chosen.token !== null || this.chosen.place !== null ? this.place : null);
    Object.assign(this.chosen, change);
    if (!kept || !this.layer) return;
    this.exact = kept;
    const { queries } = this.layer;
    const token = queries.tokenAt(kept);
    const same = token !== null && placeText(queries.placeOf(token)).includes(",") === Boolean(kept.at);
    this.chosen.token = same ? token : null;
    this.chosen.place = same ? null : placeText(kept);
  }

  /** Heads of the head set, which are outlined everywhere (`marked`), or switched off (`off`). */
  headsOf(key) {
    return (this.chosen[key] ?? "").split(",").filter(Boolean).map((pair) => pair.split(".").map(Number));
  }

  isMarked(layer, head) {
    return this.has("marked", layer, head);
  }

  isOff(layer, head) {
    return this.has("off", layer, head);
  }

  has(key, layer, head) {
    const text = this.chosen[key] ?? "";
    const kept = (this.sets ??= {})[key];
    const { of, heads } = kept?.of === text ? kept : (this.sets[key] = { of: text, heads: new Set(text.split(",")) });
    return of !== "" && heads.has(`${layer}.${head}`);
  }

  /** A list of [layer, head] as `chosen` has it; null where there is none. */
  headText(heads) {
    const sorted = [...heads].sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((pair) => pair.join("."));
    return [...new Set(sorted)].join(",") || null;
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

  /** Whether a metric says nothing of a whole layer. */
  isUndefined(metric, layer) {
    return Boolean(metric) && this.valuesOf(metric)[layer].every((value) => value === null);
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

  /** Tokens and kind of the selected layer; null while there is no checkpoint. */
  get layer() {
    return this.layers[this.head.layer] ?? null;
  }

  /** Where the chosen query is; before anyone chose, where the layer begins. */
  get place() {
    if (this.exact) return this.exact;
    const { token, place } = this.chosen;
    const { queries } = this.layer;
    if (token !== null && token < queries.kinds.length) return queries.placeOf(token);
    return place !== null ? placeFrom(place) : queries.placeOf(queries.first);
  }

  /** The chosen query token of the selected layer; null: the mean over queries. */
  get token() {
    return this.layer ? this.layer.queries.tokenAt(this.place) : null;
  }

  /** The query token that is drawn in a layer: the one under the pointer, or the chosen one. */
  queryIn(layer) {
    return this.layers[layer].queries.tokenAt(this.hover ?? this.place);
  }

  /** The query that is drawn in the selected layer. */
  get query() {
    return this.layer ? this.queryIn(this.head.layer) : null;
  }

  /** What a query of a layer is called; what stands in for a token that is not there says so. */
  queryLabel(layer, place = this.hover ?? this.place) {
    const { queries } = this.layers[layer];
    const token = queries.tokenAt(place);
    if (token !== null) return queries.label(token);
    if (place.named === MEAN) return "mean over queries";
    return `mean over queries (no ${place.at ? "patch" : place.named} here)`;
  }

  /** The query for the maps of all layers, in words. */
  get placeLabel() {
    const place = this.hover ?? this.place;
    if (place.named === MEAN) return "mean over queries";
    const lacking = this.layers.some(({ queries }) => queries.tokenAt(place) === null);
    const stand = lacking ? ", or the mean where there is none" : "";
    if (place.named) return place.named + stand;
    const grids = new Set(this.layers.map(({ queries }) => queries));
    return (grids.size === 1 ? this.queryLabel(0) : `patch at ${place.at.map(Math.round).join(", ")} px`) + stand;
  }

  /** Weights on the patches for one head and query token: `{values, largest, row}`, or null. */
  patchWeights(layer, head, query) {
    const row = rowOf(this.feed, layer, head, query);
    if (!row) return null;
    const values = this.layers[layer].keys.patches.map((token) => row[token]);
    return { values, largest: values.reduce((a, b) => Math.max(a, b), 0), row };
  }

  /** Largest weight on any patch in any head, for the query that is drawn; null while some miss. */
  get sharedMaximum() {
    const key = `${this.feed?.id} ${this.feed?.slabs.length} ${placeText(this.hover ?? this.place)}`;
    if (this.sharedFor === key) return this.shared;
    let largest = 0;
    for (const [layer, heads] of this.nHeads.entries()) {
      const query = this.queryIn(layer);
      for (let head = 0; head < heads; head += 1) {
        const map = this.patchWeights(layer, head, query);
        if (!map) return null;
        largest = Math.max(largest, map.largest);
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

  /** The ends of a metric's colour scale; 0 is the middle where the sign means something. */
  range(metric) {
    const values = this.valuesOf(metric)?.flat().filter((value) => value !== null) ?? [];
    if (!values.length) return null;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    if (!metric.signed) return [low, high];
    const most = Math.max(-low, high);
    return [-most, most];
  }

  /** A function from values of a metric to their share of the colour scale, 0…1. */
  shares(metric) {
    const range = this.range(metric);
    if (!range) return () => 0.5;
    const [low, high] = range;
    if (this.looking.colours === "linear") return (value) => (high > low ? (value - low) / (high - low) : 0.5);
    const size = metric.signed ? Math.abs : Number;
    const sizes = this.valuesOf(metric).flat().filter((value) => value !== null).map(size).sort((a, b) => a - b);
    const placed = new Map();
    sizes.forEach((value, i) => placed.has(value) || placed.set(value, i / Math.max(1, sizes.length - 1)));
    if (!metric.signed) return (value) => placed.get(value);
    return (value) => 0.5 + (Math.sign(value) * placed.get(Math.abs(value))) / 2;
  }
}
