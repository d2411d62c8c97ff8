// The groups of maps: name, share, prototype, and how often the chosen head has each. Part of "Pattern".

const PROTOTYPE = 48; // px

class PatternGroups {
  constructor(app) {
    this.app = app;
    this.head = element("h3", { "data-text": "pattern-head" });
    this.bar = element("div", { class: "hs-pattern-bar", role: "img" });
    this.modal = element("p", { class: "hs-muted hs-pattern-modal", "data-text": "pattern-modal" });
    this.scale = element("div", { class: "hs-pattern-scale", "data-legend": "pattern" });
    this.list = element("div", { class: "hs-pattern-list", role: "group", "aria-label": "Patterns: a click marks the heads that mostly have one" });
    this.node = element("div", { class: "hs-pattern-right" }, this.head, this.bar, this.modal, this.scale, this.list);
    this.sprite = document.createElement("canvas");
  }

  draw(part) {
    if (this.part !== part || this.table !== this.app.tables.attention.join()) this.build(part);
    this.drawHead();
    const { state } = this.app;
    this.entries.forEach(({ node, text }) => node.setAttribute("aria-pressed", String(text !== null && text === (state.chosen.marked ?? null))));
  }

  build(part) {
    const { state } = this.app;
    this.part = part;
    this.table = this.app.tables.attention.join();
    this.row = new Map(Array.from(part.heads.layer, (layer, i) => [`${layer}.${part.heads.head[i]}`, i]));
    this.drawScale(part.form.channels);
    this.entries = part.clusters.map((cluster, index) => {
      const text = state.headText(cluster.members);
      const n = cluster.members.length;
      const own = element("span", { class: "hs-pattern-own" });
      const node = element(
        "button",
        {
          type: "button", class: "hs-pattern-group", "data-cluster": String(index), disabled: !n,
          title: n ? `${n} head${n === 1 ? " has" : "s have"} this pattern in most images: a click makes them the head set, a second one empties it` : "No head has this pattern in most images",
          onclick: () => this.app.choose({ marked: this.app.state.chosen.marked === text ? null : text }),
        },
        element(
          "span", { class: "hs-pattern-name" }, swatchOf(cluster), element("b", {}, cluster.name),
          element("span", { class: "hs-muted" }, `${wholePercent(cluster.share)} of maps`),
          element("span", { class: "hs-muted" }, `${n} head${n === 1 ? "" : "s"}`), own,
        ),
        ...part.form.channels.map((channel, at) => this.prototype(cluster, channel, at)),
      );
      return { node, text, own };
    });
    const { none } = part;
    this.list.replaceChildren(
      ...this.entries.map(({ node }) => node),
      ...(none.share ? [element("p", { class: "hs-muted hs-pattern-none" }, swatchOf({ colour: none.colour, symbol: "circle" }), `${none.name}: ${wholePercent(none.share)} of maps`)] : []),
    );
    this.shownFor = null;
  }

  /** One scale for the prototypes of all groups, for each channel. */
  drawScale(channels) {
    const anchors = gradient(this.app.state.data.palette.attention);
    this.scale.replaceChildren(...channels.map(({ title, end }) => {
      const bar = element("span", { class: "hs-bar" });
      bar.style.backgroundImage = anchors;
      return element(
        "div", { title: "Colours grow with the square root of the share; all groups have one scale" },
        element("span", { class: "hs-muted hs-pattern-channel" }, title), element("span", {}, "0"), bar, element("span", {}, percent(end)),
      );
    }));
  }

  prototype(cluster, { title, end, centred }, channel) {
    const [, rows, columns] = cluster.prototype.shape;
    const values = cluster.prototype.subarray(channel * rows * columns, (channel + 1) * rows * columns);
    Object.assign(this.sprite, { width: columns, height: rows });
    const painter = this.sprite.getContext("2d");
    const image = painter.createImageData(columns, rows);
    values.forEach((value, i) => image.data.set([...colourAt(this.app.tables.attention, Math.sqrt(Math.max(0, value) / end)), 255], 4 * i));
    painter.putImageData(image, 0, 0);
    const canvas = element("canvas", { class: "hs-pattern-prototype", role: "img", "aria-label": `Prototype of ${cluster.name}: ${title.toLowerCase()}`, title: `${title}: 0 to ${percent(end)}${centred ? "; the frame is the query's own patch" : ""}` });
    const context = sharp(canvas, PROTOTYPE, PROTOTYPE);
    context.drawImage(this.sprite, 0, 0, PROTOTYPE, PROTOTYPE);
    if (centred) {
      const cell = PROTOTYPE / columns;
      Object.assign(context, { strokeStyle: "#fff", lineWidth: 1 });
      context.strokeRect(Math.round(PROTOTYPE / 2 - cell / 2) + 0.5, Math.round(PROTOTYPE / 2 - cell / 2) + 0.5, Math.round(cell) - 1, Math.round(cell) - 1);
    }
    return canvas;
  }

  /** In which share of its images the chosen head has each pattern. */
  drawHead() {
    const { heads, clusters, none } = this.part;
    const { layer, head } = this.app.state.head;
    const key = `${layer}.${head}`;
    if (this.shownFor === key) return;
    this.shownFor = key;
    setText(this.head, `Layer ${layer}, head ${head}`);
    const row = this.row.get(key);
    if (row === undefined) {
      this.bar.replaceChildren();
      this.bar.setAttribute("aria-label", "no patterns");
      setText(this.modal, "No map of this head was learned from.");
      this.entries.forEach(({ own }) => setText(own, ""));
      return;
    }
    const shares = Array.from(heads.shares.subarray(row * clusters.length, (row + 1) * clusters.length));
    const rest = Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0));
    const parts = [...clusters.map(({ name, colour }, i) => [name, colour, shares[i]]), [none.name, none.colour, rest > 1e-6 ? rest : 0]];
    const shown = parts.filter(([, , share]) => share > 0);
    this.bar.replaceChildren(...shown.map(([name, colour, share]) => {
      const piece = element("span", { title: `${name}: ${percent(share)} of its images` });
      piece.style.background = colour;
      piece.style.flexGrow = String(share);
      return piece;
    }));
    this.bar.setAttribute("aria-label", shown.map(([name, , share]) => `${name} ${percent(share)}`).join(", "));
    const modal = clusters[heads.modal[row]]?.name ?? none.name;
    setText(this.modal, `${modal} in ${wholePercent(heads.stability[row])} of its images`);
    this.modal.title = `Its stability; the entropy over patterns is ${inWords(heads.entropy[row])} nats.`;
    this.entries.forEach(({ own }, i) => setText(own, `this head ${wholePercent(shares[i])}`));
  }
}

/** The mark of a group as its dots have it. */
function swatchOf({ colour, symbol }) {
  const canvas = element("canvas", { class: "hs-pattern-swatch", "aria-hidden": "true" });
  const context = sharp(canvas, 12, 12);
  const ratio = window.devicePixelRatio || 1;
  const image = context.createImageData(canvas.width, canvas.height);
  const middle = Math.round(6 * ratio);
  stampOn(image, stampOf(SHAPES[PATTERN_SHAPES[symbol] ?? 0], 4.5 * ratio, 0), middle, middle, ...channels(colour), [0, 0, 0], 1, false);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A share where three digits would say more than there is. */
function wholePercent(share) {
  return share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
}
