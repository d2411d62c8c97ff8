// Images: all of the study's, near each other where the checkpoint treats them alike.

const SHOWN_AS_PICTURES = 150; // above, images are dots: pictures would hide each other

/** Indices in "0-5,9". */
function imagesOf(text) {
  return (text ?? "").split(",").filter(Boolean).flatMap((span) => {
    const [low, high = low] = span.split("-").map(Number);
    return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  });
}

/** Indices as "0-5,9"; null where there are none. */
function imageText(indices) {
  const spans = [];
  for (const index of [...new Set(indices)].sort((a, b) => a - b)) {
    if (spans.length && index === spans.at(-1)[1] + 1) spans.at(-1)[1] = index;
    else spans.push([index, index]);
  }
  return spans.map(([low, high]) => (low < high ? `${low}-${high}` : low)).join(",") || null;
}

class Images {
  constructor(app) {
    this.app = app;
    this.name = "images";
    this.wants = { method: "pca", of: "attention", metric: null };
    this.colour = null;
    this.method = switchOf("images-method", "Layout", [
      ["pca", "PCA", "The two directions in which images differ most; the same on any machine"],
      ["umap", "UMAP", "Neighbours stay neighbours; distances between groups mean little. Takes some seconds"],
    ], (method) => this.ask({ method }));
    const select = (name, label, onchange) => element("select", { class: "hs-select", "aria-label": label, "data-select": name, onchange });
    this.of = select("images-of", "What makes images alike", () => this.ask({ of: this.of.value }));
    this.by = select("images-colour", "Colour of images", () => {
      this.colour = this.by.value;
      this.draw(this.part);
    });
    this.chip = element("button", {
      type: "button", class: "hs-act hs-images-chip", "data-text": "images-chosen", hidden: true,
      title: "Means are over these images alone. Click: over all again", onclick: () => app.choose({ images: null }),
    });
    this.legend = new PlotLegend();
    this.note = element("p", { class: "hs-plot-note", "data-text": "images-note" });
    this.panel = boardPanel(app, { name: this.name, title: "Images", label: "Images by similarity" }, this.of, this.method.node);
    this.node = this.panel.node;
    for (const control of [this.of, this.method.node]) control.classList.add("hs-asks");
    this.plot = new Plot(app, {
      name: "images", label: "Images by similarity",
      describe: ({ dot }) => this.inWords(dot).join(", "),
      onhover: (mark, event) => this.hover(mark, event),
      onclick: ({ dot }, event) => this.choose(dot, event),
      onlasso: (dots, event) => this.together(event.shiftKey ? [...imagesOf(app.state.chosen.images), ...dots] : dots),
    });
    this.panel.body.append(
      element("div", { class: "hs-plot-row" }, element("label", {}, "Colour", this.by), this.legend.node, element("span", { class: "hs-push" }), this.chip),
      element("div", { class: "hs-plot-place" }, this.plot.node),
      this.note,
    );
  }

  ask(change) {
    Object.assign(this.wants, change);
    this.app.ask(this.name, this.wants);
    this.method.set(this.wants.method);
  }

  /** One image in all views; with Shift it joins or leaves those that are chosen together. */
  choose(index, event) {
    if (!event.shiftKey) return this.app.open({ image: this.part.names[index] });
    const chosen = imagesOf(this.app.state.chosen.images);
    return this.together(chosen.includes(index) ? chosen.filter((each) => each !== index) : [...chosen, index]);
  }

  together(indices) {
    if (indices.length) this.app.choose({ images: imageText(indices), scope: "mean" });
    else if (this.app.state.chosen.images) this.app.choose({ images: null });
  }

  draw(part) {
    const { state } = this.app;
    const chosen = imagesOf(state.chosen.images);
    this.drawChip(chosen.length);
    fillSelect(this.of, [["attention", "by where heads look"], ["importance", "by heads' importance"]], part?.of ?? this.wants.of);
    this.method.set(part?.busy ? this.wants.method : part?.method ?? this.wants.method);
    const nothing = this.panel.waits(part);
    for (const control of [this.of, this.method.node]) control.hidden = nothing && !part?.method;
    this.part = nothing ? null : part;
    if (nothing) return;
    this.fillColours();
    const shown = this.colours();
    const key = [this.colour, shown.key, JSON.stringify(this.app.theme)].join();
    if (this.drawnPart !== part || this.drawnKey !== key) this.build(part, shown, key);
    this.plot.show(this.spec);
    const here = this.places.get(state.data.image);
    const dots = (indices) => indices.filter((index) => index < part.names.length).map((dot) => ({ dot }));
    this.plot.highlight({ chosen: here === undefined ? [] : dots([here]), marked: dots(chosen) });
  }

  build(part, shown, key) {
    if (this.drawnPart !== part) {
      this.places = new Map(part.names.map((name, i) => [name, i]));
      this.sprite = part.sprite ? spriteOf(part.sprite) : null;
      const [x, y] = [0, 1].map((axis) => part.points.filter((_, i) => i % 2 === axis));
      this.at = { x, y };
      setText(this.note, [part.busy, part.words, part.said].filter(Boolean).join(" "));
      this.note.title = this.note.textContent;
    }
    const bare = { bare: true };
    this.spec = {
      x: bare, y: bare, equal: true, keep: `${part.method} ${part.of} ${part.names.length}`,
      dots: { ...this.at, colour: shown.colour, shape: shown.shape },
      pictures: this.sprite && part.names.length <= SHOWN_AS_PICTURES ? this.sprite : undefined,
    };
    this.legend.show(shown.legend);
    Object.assign(this, { drawnPart: part, drawnKey: key });
  }

  drawChip(n) {
    this.chip.hidden = !n;
    setText(this.chip, n ? `${n} image${n === 1 ? "" : "s"} chosen ×` : "");
  }

  fillColours() {
    const { part, app: { state } } = this;
    const known = part.label !== null && part.prediction !== null;
    const options = [
      ...(part.label ? [["label", "Class"]] : []),
      ...(part.prediction ? [["prediction", "Prediction"]] : []),
      ...(known ? [["correct", "Right or wrong"]] : []),
      ...part.numbers.map(({ key, label }) => [`number ${key}`, label]),
      ...(state.metric ? [["head", "Atlas' metric of the chosen head"]] : []),
    ];
    if (!options.some(([key]) => key === this.colour)) this.colour = options[0]?.[0] ?? "";
    fillSelect(this.by, options, this.colour);
  }

  /** `{key, colour, shape, legend}` of the chosen colouring. */
  colours() {
    const { part, colour } = this;
    if (colour === "label" || colour === "prediction") return { key: "", ...this.ofClasses(part[colour]) };
    if (colour === "correct") return { key: "", ...this.ofCorrect() };
    if (colour === "head") return this.ofHead();
    const number = part.numbers.find(({ key }) => `number ${key}` === colour);
    return number ? { key: "", ...this.ofNumber(number, number.values) } : { key: "none", colour: this.app.theme.muted, legend: null };
  }

  ofClasses(indices) {
    const { kinds, labels } = this.part;
    const there = [...new Set(indices)].filter((index) => index >= 0).sort((a, b) => a - b);
    const placed = new Map(there.map((index, place) => [index, place]));
    const place = indices.map((index) => placed.get(index) ?? -1);
    const shapeOf = (at) => (at < 0 ? 0 : (at + Math.floor(at / kinds.length)) % SHAPES.length);
    return {
      colour: coloursOfKinds(place, kinds, this.app.theme.empty),
      shape: Uint8Array.from(place, shapeOf),
      legend: { kinds: there.map((index, at) => ({ label: labels[index] ?? `class ${index}`, colour: kinds[at % kinds.length], shape: SHAPES[shapeOf(at)] })) },
    };
  }

  ofCorrect() {
    const { label, prediction, kinds } = this.part;
    const places = label.map((index, i) => (index < 0 || prediction[i] < 0 ? -1 : Number(index !== prediction[i])));
    const colours = [kinds[2], kinds[3]];
    const n = (place) => places.filter((each) => each === place).length;
    return {
      colour: coloursOfKinds(places, colours, this.app.theme.empty),
      shape: Uint8Array.from(places, (place) => (place === 1 ? SHAPES.indexOf("cross") : 0)),
      legend: { kinds: [{ label: `right: ${n(0)}`, colour: colours[0] }, { label: `wrong: ${n(1)}`, colour: colours[1], shape: "cross" }] },
    };
  }

  ofNumber({ label, unit, signed }, values) {
    const { tables, state } = this.app;
    let [low, high] = plotDomain([values], { margin: 0 });
    if (signed) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    const palette = signed ? "signed" : "numbers";
    return {
      colour: coloursOf(values, tables[palette], [low, high], { none: this.app.theme.empty }),
      legend: { bar: { low, high, anchors: state.data.palette[palette], label, unit, zero: signed } },
    };
  }

  ofHead() {
    const { part, app: { state, theme } } = this;
    const { metric, head: { layer, head }, nHeads } = state;
    if (part.heads?.metric !== metric.key) {
      if (this.wants.metric !== metric.key) this.ask({ metric: metric.key });
      return { key: `waiting ${metric.key}`, colour: theme.empty, legend: { kinds: [], title: "being read…" } };
    }
    if (!part.heads.values) return { key: metric.key, colour: theme.empty, legend: { kinds: [], title: "one number of all images together" } };
    const all = part.heads.values.shape[1];
    const at = nHeads.slice(0, layer).reduce((sum, n) => sum + n, 0) + head;
    const values = Float32Array.from({ length: part.names.length }, (_, i) => part.heads.values[i * all + at]);
    return { key: `${metric.key} ${at}`, values, ...this.ofNumber(metric, values) };
  }

  inWords(index) {
    const { part } = this;
    const named = (classes) => (classes && classes[index] >= 0 ? part.labels[classes[index]] ?? `class ${classes[index]}` : null);
    const [truth, said] = [named(part.label), named(part.prediction)];
    const shown = this.colours();
    const number = part.numbers.find(({ key }) => `number ${key}` === this.colour);
    const { metric, head } = this.app.state;
    return [
      part.names[index],
      ...(truth ? [`is ${truth}`] : []),
      ...(said ? [`predicted ${said}`] : []),
      ...(number ? [`${number.label}: ${inWords(number.values[index])} ${number.unit}`] : []),
      ...(shown.values ? [`${metric.label} of layer ${head.layer}, head ${head.head}: ${inWords(shown.values[index])} ${metric.unit}`] : []),
    ];
  }

  hover(mark, event) {
    if (!mark) return this.app.tooltip.hide();
    const [name, ...rest] = this.inWords(mark.dot);
    const { sprite } = this;
    const lines = [element("b", {}, name), ...rest.map((text) => element("span", {}, text)), element("span", { class: "hs-muted" }, "Click to look at it; Shift-click to choose several")];
    return this.app.tooltip.over(this.plot.node, lines, event, sprite && ((canvas) => drawCell(sharp(canvas, 72, 72), sprite, mark.dot, 0, 0, 72)));
  }

  close() {
    this.plot.close();
  }
}

PANELS.push(Images);

/** Small pictures `image row column 3` as one canvas of cells. */
function spriteOf(pixels) {
  const [n, size] = pixels.shape;
  const columns = Math.ceil(Math.sqrt(n));
  const sprite = Object.assign(document.createElement("canvas"), { width: columns * size, height: Math.ceil(n / columns) * size });
  const context = sprite.getContext("2d");
  const cell = context.createImageData(size, size);
  for (let i = 0; i < n; i += 1) {
    for (let p = 0; p < size * size; p += 1) {
      const from = 3 * (i * size * size + p);
      cell.data.set([pixels[from], pixels[from + 1], pixels[from + 2], 255], 4 * p);
    }
    context.putImageData(cell, (i % columns) * size, Math.floor(i / columns) * size);
  }
  return { sprite, size, columns };
}
