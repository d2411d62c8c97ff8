// Attention maps and pixels, which travel apart from everything else: once for each image, as bytes.
// A feed is a little-endian uint32 (length of the header), the header as JSON, then the arrays.

const FEEDS_KEPT = 4;

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
  const floats = (place) => {
    const piece = part(place);
    return new Float32Array(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.byteLength));
  };
  return {
    id: header.id,
    nHeads: header.n_heads,
    nTokens: header.n_tokens,
    width: header.pixels.width,
    height: header.pixels.height,
    pixels: part(header.pixels),
    rowMax: floats(header.row_max),
    slabs: header.slabs.map((slab) => ({ ...slab, weights: part(slab) })),
  };
}

/** Puts a feed in the store; slabs of a feed that is there already are added to it. */
function keepFeed(bytes) {
  const { feeds, events } = feedStore();
  const feed = openFeed(bytes);
  const before = feeds.get(feed.id);
  if (before) {
    const names = new Set(feed.slabs.map((slab) => slab.name));
    feed.slabs.push(...before.slabs.filter((slab) => !names.has(slab.name)).slice(0, 32));
    feeds.delete(feed.id);
  }
  feeds.set(feed.id, feed);
  while (feeds.size > FEEDS_KEPT) feeds.delete(feeds.keys().next().value);
  events.dispatchEvent(new CustomEvent("feed", { detail: feed.id }));
}

/**
 * Weights from one query to all keys in one head: `{bytes, scale}`, a weight being byte * scale.
 * null while they are not on this side.
 */
function rowOf(feed, layer, head, query) {
  if (!feed) return null;
  const n = feed.nTokens;
  const heads = Math.max(...feed.nHeads);
  const scale = feed.rowMax[(layer * heads + head) * n + query] / 255;
  for (const slab of feed.slabs) {
    let row = null;
    if (slab.name === "all") row = (layer * heads + head) * n + query;
    else if (slab.name === `head ${layer} ${head}`) row = query;
    else if (slab.name === `query ${query}`) row = layer * heads + head;
    if (row !== null) return { bytes: slab.weights.subarray(row * n, (row + 1) * n), scale };
  }
  return null;
}
