// The selection in the address behind the #, as the app has it in its own.

const HEADS = /^\d{1,3}\.\d{1,3}(,\d{1,3}\.\d{1,3})*$/;
const SPANS = /^\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*$/;

/** Indices of images, from "0-5,9". */
function imagesIn(text) {
  const spans = (text ?? "").split(",").filter(Boolean).map((span) => span.split("-").map(Number));
  return [...new Set(spans.flatMap(([low, high = low]) => Array.from({ length: Math.max(0, high - low + 1) }, (_, i) => low + i)))].sort((a, b) => a - b);
}

/** The address of an image and a selection; what is left to the page is left out. */
function addressOf(image, selection) {
  const told = Object.entries({ image, ...selection }).filter(([, value]) => value !== null && value !== undefined);
  return told.length ? `#${new URLSearchParams(told)}` : "";
}

/**
 * What an address says, `{image, selection, notes}`, with a sentence for each value that was left
 * out: malformed, or of what this study has not.
 */
function readAddress(hash, { images, base }) {
  const told = new URLSearchParams(hash.replace(/^#/, ""));
  const notes = [];
  const nHeads = base.n_heads;
  const number = (text) => (/^\d{1,6}$/.test(text) ? Number(text) : null);
  const heads = (text) => (HEADS.test(text) && text.split(",").map((pair) => pair.split(".").map(Number)).every(([layer, head]) => head < (nHeads[layer] ?? 0)) ? text : null);
  const queries = base.layers.map((layer) => base.tokens[layer.queries].kinds.reduce((sum, [, count]) => sum + count, 0));
  const layer = number(told.get("layer") ?? "");
  const readers = {
    layer: (text) => (number(text) < nHeads.length ? number(text) : null),
    head: (text) => (number(text) < (nHeads[layer] ?? 0) ? number(text) : null),
    token: (text) => (number(text) < (queries[layer] ?? Math.max(0, ...queries)) ? number(text) : null),
    place: (text) => text,
    metric: (text) => (base.metrics.some(({ key }) => key === text) ? text : null),
    scope: (text) => (["image", "mean"].includes(text) ? text : null),
    marked: heads,
    images: (text) => (SPANS.test(text) && imagesIn(text).length && imagesIn(text).every((index) => index < images.length) ? text : null),
  };
  const selection = Object.fromEntries(SELECTED.map((key) => [key, null]));
  for (const [key, read] of Object.entries(readers)) {
    if (!told.has(key)) continue;
    const text = told.get(key).slice(0, 300);
    selection[key] = read(text);
    if (selection[key] === null) notes.push(`The link's ${key}, “${text.slice(0, 40)}”, is not in this study; it was left out.`);
  }
  if (selection.layer === null || selection.head === null) selection.layer = selection.head = null;
  const name = told.get("image");
  const image = images.findIndex((each) => each.name === name);
  if (name !== null && image < 0) notes.push(`The study has no image “${name.slice(0, 40)}”; this is “${images[0].name}”.`);
  return { image: Math.max(0, image), selection, notes };
}
