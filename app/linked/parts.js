// What the panels of the board draw travels apart, panel by panel: bytes that `packing.py` wrote.

const KINDS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

/** The parts of this page; both components (and both modules) meet here. */
function partStore() {
  window.headscopeParts ??= { parts: new Map(), events: new EventTarget() };
  return window.headscopeParts;
}

/** The values that were packed; arrays are typed, with their `shape` as a property. */
function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true);
  const start = 4 + length;
  return JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)), (_, value) => {
    if (!value?.$array) return value;
    const [offset, size, kind] = value.$array;
    const array = new KINDS[kind](bytes.slice(start + offset, start + offset + size).buffer);
    return Object.assign(array, { shape: value.shape });
  });
}

/** Puts a part in the store: `{panel, …}`. */
function keepPart(bytes) {
  const { parts, events } = partStore();
  const part = unpack(bytes);
  parts.set(part.panel, part);
  events.dispatchEvent(new CustomEvent("part", { detail: part.panel }));
}
