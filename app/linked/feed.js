// Attention maps and pixels, which travel apart from everything else: once for each image, as bytes.
// A feed is a little-endian uint32 (length of the header), the header as JSON, then the arrays.

const FEEDS_KEPT = 4;
const SLABS_KEPT = 96;

/** The feeds of this page; both components (and both modules) meet here. */
function feedStore() {
  window.headscopeFeeds ??= { feeds: new Map(), events: new EventTarget() };
  return window.headscopeFeeds;
}

function openFeed(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const start = 4 + length;
  const part = ({ offset, size }) => bytes.subarray(start + offset, start + offset + size);
  const words = (place, Kind) => new Kind(part(place).slice().buffer);
  const tables = header.tables.map((table) => ({
    ...table,
    query_tokens: table.query_tokens && words(table.query_tokens, Int32Array),
    key_tokens: table.key_tokens && words(table.key_tokens, Int32Array),
  }));
  return {
    id: header.id,
    width: header.pixels.width,
    height: header.pixels.height,
    pixels: part(header.pixels),
    layers: header.layers.map(({ table, keys, mean }) => ({
      table: tables[table], keys, mean: words(mean, Float32Array),
    })),
    slabs: header.slabs.map((slab) => ({ ...slab, weights: part(slab.weights), scale: words(slab.scale, Float32Array) })),
  };
}

/** Puts a feed in the store; slabs of a feed that is there already are added to it. */
function keepFeed(bytes) {
  const { feeds, events } = feedStore();
  const feed = openFeed(bytes);
  const before = feeds.get(feed.id);
  if (before) {
    const name = ({ layer, head, token }) => `${layer} ${head} ${token}`;
    const names = new Set(feed.slabs.map(name));
    feed.slabs.push(...before.slabs.filter((slab) => !names.has(name(slab))).slice(0, SLABS_KEPT));
    feeds.delete(feed.id);
  }
  feeds.set(feed.id, feed);
  while (feeds.size > FEEDS_KEPT) feeds.delete(feeds.keys().next().value);
  events.dispatchEvent(new CustomEvent("feed", { detail: feed.id }));
}

/** Where a query token stands: its rows among those of all windows. */
function rowsOf(table, token) {
  if (!table.query_tokens) return [token];
  if (!table.where) {
    table.where = new Map();
    table.query_tokens.forEach((query, row) => {
      if (query < 0) return;
      if (table.where.has(query)) table.where.get(query).push(row);
      else table.where.set(query, [row]);
    });
  }
  return table.where.get(token) ?? [];
}

/**
 * Weights from a query token (null: the mean over queries) to all key tokens in one head; null
 * while they are not on this side.
 */
function rowOf(feed, layer, head, token) {
  const of = feed?.layers[layer];
  if (!of) return null;
  if (token === null) return of.mean.subarray(head * of.keys, (head + 1) * of.keys);
  for (const slab of feed.slabs) {
    if (slab.layer !== layer) continue;
    if (slab.token !== undefined) {
      if (slab.token !== token) continue;
      const factor = slab.scale[head] / 255;
      return Float32Array.from(slab.weights.subarray(head * of.keys, (head + 1) * of.keys), (byte) => byte * factor);
    }
    if (slab.head !== undefined && slab.head !== head) continue;
    return windowRow(of, slab, slab.head === undefined ? head : 0, token);
  }
  return null;
}

function windowRow({ table, keys }, slab, index, token) {
  const weights = new Float32Array(keys);
  const { windows, queries, keys: width, key_tokens: keyTokens } = table;
  for (const row of rowsOf(table, token)) {
    const at = index * windows * queries + row;
    const factor = slab.scale[at] / 255;
    const window = Math.floor(row / queries);
    for (let key = 0; key < width; key += 1) {
      weights[keyTokens ? keyTokens[window * width + key] : key] += slab.weights[at * width + key] * factor;
    }
  }
  return weights;
}
