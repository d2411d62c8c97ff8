// What is in the file: blocks that are unpacked when they are looked at.

/** The bytes of a block: base64 of a deflated stream. */
async function unpacked(name) {
  const text = document.getElementById(name).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackedText(name) {
  return new TextDecoder().decode(await unpacked(name));
}

/** A value with a difference put in, which `blocks.py` wrote; the value itself stays as it is. */
function patched(base, change) {
  if (!change?.$in) return change;
  const copy = Array.isArray(base) ? [...base] : { ...base };
  for (const [key, inside] of Object.entries(change.$in)) copy[key] = patched(base[key], inside);
  return copy;
}

/** Mean of numbers, place by place in values of the same form; of those that are there. */
function averaged(values) {
  const first = values.find((value) => value !== null && value !== undefined);
  if (Array.isArray(first)) return first.map((_, i) => averaged(values.map((value) => value?.[i])));
  if (typeof first === "object") {
    return Object.fromEntries(Object.keys(first).map((key) => [key, averaged(values.map((value) => value?.[key]))]));
  }
  const numbers = values.filter((value) => typeof value === "number");
  if (!numbers.length) return first ?? null;
  return Number((numbers.reduce((sum, value) => sum + value, 0) / numbers.length).toPrecision(6));
}

/** A scene whose means are those of some scenes: wherever numbers of an image stand with a mean. */
function regrouped(scene, scenes) {
  const over = (value, values) => {
    if (Array.isArray(value)) return value.map((each, i) => (each && typeof each === "object" ? over(each, values.map((other) => other[i])) : each));
    if (!value || typeof value !== "object") return value;
    const inside = Object.entries(value).map(([key, each]) => [key, over(each, values.map((other) => other[key]))]);
    const copy = Object.fromEntries(inside);
    if (value.image !== undefined && value.mean !== undefined) copy.mean = averaged(values.map((other) => other.image));
    return copy;
  };
  return { ...scene, metrics: over(scene.metrics, scenes.map(({ metrics }) => metrics)), profile: over(scene.profile, scenes.map(({ profile }) => profile)) };
}
