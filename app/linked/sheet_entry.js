// A figure as it is printed, in its true proportions; where the server has no Chrome, its buttons
// save it from this browser.

export default function ({ data, parentElement }) {
  const node = parentElement.querySelector(".hs-sheet");
  node.end?.(); // each update runs this again; Streamlit ends the last one alone
  const [widthMm, heightMm] = data.mm;
  const figure = JSON.parse(data.figure);
  const plot = element("div", { role: "img", "aria-label": data.words });
  const paper = element("div", { class: "hs-sheet-paper" }, plot);
  const problem = element("p", { class: "hs-muted" });
  const page = element("div", { class: "hs-sheet-page" }, paper);
  const buttons = element("div", { class: "hs-sheet-buttons" });
  if (data.save) {
    buttons.append(
      element("button", { type: "button", onclick: () => save("svg") }, "SVG"),
      element("button", { type: "button", onclick: () => save("png") }, "PNG"));
  }
  const size = element("span", { class: "hs-muted" }, `${widthMm.toFixed(1)} × ${heightMm.toFixed(1)} mm`);
  node.replaceChildren(...(data.preview ? [page] : []), element("footer", {}, buttons, ...(data.preview ? [size] : [])), problem);

  const drawing = data.preview
    ? plotly(data.plotly).then((Plotly) => Plotly.newPlot(plot, figure.data, figure.layout, { staticPlot: true, displayModeBar: false }).then(fit))
    : Promise.resolve();
  drawing.catch((error) => { problem.textContent = `The figure cannot be drawn: ${error.message}`; });

  /** The sheet in its real size, or as wide as there is room. */
  function fit() {
    if (!page.isConnected) return; // a later figure stands in its place
    const real = widthMm / 25.4 * 96;
    const scale = Math.min(real * 1.5, node.clientWidth || real) / data.width;
    paper.style.transform = `scale(${scale})`;
    page.style.width = `${data.width * scale}px`;
    page.style.height = `${data.height * scale}px`;
    node.dataset.drawn = data.name;
  }
  const watching = new ResizeObserver(() => plot.childElementCount && fit());
  if (data.preview) watching.observe(node);

  async function save(format) {
    try {
      const Plotly = await plotly(data.plotly);
      const dots = Math.round(widthMm / 25.4 * data.dpi);
      const url = await Plotly.toImage(figure, { format, width: data.width, height: data.height, scale: format === "png" ? dots / data.width : 1 });
      const blob = format === "svg" ? inMillimetres(url) : await withResolution(url, data.dpi);
      const link = element("a", { href: URL.createObjectURL(blob), download: `${data.name}.${format}` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) {
      problem.textContent = `The figure cannot be saved: ${error.message}`;
    }
  }

  function inMillimetres(url) {
    const text = decodeURIComponent(url.slice(url.indexOf(",") + 1));
    const exact = `width="${widthMm.toFixed(4)}mm" height="${heightMm.toFixed(4)}mm"`;
    return new Blob([text.replace(/(<svg [^>]*?)width="[\d.]+" height="[\d.]+"/, `$1${exact}`)], { type: "image/svg+xml" });
  }

  node.end = () => watching.disconnect();
  return node.end;
}

/** A PNG with its dots per metre, which a canvas does not write: a chunk after the header. */
async function withResolution(url, dpi) {
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const chunk = new DataView(new ArrayBuffer(21));
  chunk.setUint32(0, 9);
  [112, 72, 89, 115].forEach((letter, at) => chunk.setUint8(4 + at, letter)); // pHYs
  const perMetre = Math.round(dpi / 0.0254);
  chunk.setUint32(8, perMetre);
  chunk.setUint32(12, perMetre);
  chunk.setUint8(16, 1);
  chunk.setUint32(17, crc(new Uint8Array(chunk.buffer, 4, 13)));
  return new Blob([bytes.slice(0, 33), chunk.buffer, bytes.slice(33)], { type: "image/png" });
}

function crc(bytes) {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}
