// The panel "Pattern": every map as a dot of the latent space, the groups with their prototypes, and
// which of them the chosen head has. `41_pattern_groups.js` is its list of groups.

const PATTERN_SHAPES = { circle: 0, square: 1, diamond: 2, cross: 4, "triangle-up": 3, star: 1, pentagon: 0, x: 4 };
const RINGED = 2000; // dots of the head set that get a frame each; of more only a point

/** Dots of maps: the chosen head's in front and larger, that of the image shown ringed, the head set's framed. */
class PatternPlot extends Plot {
  drawOver() {
    super.drawOver();
    if (!this.area || !this.front) return;
    const { ink, paper } = this.app.theme;
    const context = this.over.getContext("2d");
    context.save();
    context.beginPath();
    context.rect(...this.area);
    context.clip();
    this.frames(context, this.marked, ink);
    this.crosses(context, this.off, ink);
    context.lineWidth = 1.2;
    context.strokeStyle = paper;
    for (const dot of this.front) {
      if (Number.isNaN(this.px[dot])) continue;
      context.beginPath();
      context.arc(this.px[dot], this.py[dot], 4, 0, 2 * Math.PI);
      context.fillStyle = `rgb(${this.spec.dots.colour.slice(3 * dot, 3 * dot + 3).join()})`;
      context.fill();
      context.stroke();
    }
    for (const { dot } of this.highlights.chosen ?? []) {
      for (const [colour, width] of [[paper, 5], [ink, 2.5]]) {
        context.beginPath();
        context.arc(this.px[dot], this.py[dot], 7, 0, 2 * Math.PI);
        Object.assign(context, { strokeStyle: colour, lineWidth: width });
        context.stroke();
      }
    }
    context.restore();
  }

  frames(context, dots, colour) {
    if (dots.length > RINGED) {
      context.fillStyle = colour;
      for (const dot of dots) context.fillRect(this.px[dot] - 0.75, this.py[dot] - 0.75, 1.5, 1.5);
      return;
    }
    context.beginPath();
    for (const dot of dots) context.rect(this.px[dot] - 3.5, this.py[dot] - 3.5, 7, 7);
    Object.assign(context, { strokeStyle: colour, lineWidth: 1 });
    context.stroke();
  }

  crosses(context, dots, colour) {
    context.beginPath();
    for (const dot of dots) {
      context.moveTo(this.px[dot] - 3, this.py[dot] + 3);
      context.lineTo(this.px[dot] + 3, this.py[dot] - 3);
    }
    Object.assign(context, { strokeStyle: colour, lineWidth: 1.2 });
    context.stroke();
  }
}

class PatternPanel {
  constructor(app) {
    this.app = app;
    this.name = "pattern";
    this.planes = element("span", { class: "hs-pattern-planes" });
    this.panel = boardPanel(app, { name: this.name, title: "Pattern" }, this.planes);
    this.node = this.panel.node;
    this.plot = new PatternPlot(app, {
      name: "pattern", label: "Maps of all heads in the plane of their patterns",
      describe: ({ dot }) => this.inWords(dot),
      onhover: (mark, event) => this.hover(mark, event),
      onclick: ({ dot }, event) => this.pick(dot, event),
      onlasso: (dots, event) => app.lasso(this.headsIn(dots), event),
    });
    this.plot.node.addEventListener("dblclick", (event) => {
      const mark = this.plot.markAt(event.offsetX, event.offsetY);
      if (mark) this.openImage(mark.dot);
    }, true); // before the plot goes back to all of it, where the mark lies elsewhere
    this.about = element("p", { class: "hs-muted hs-pattern-about", "data-text": "pattern", "aria-live": "polite" });
    this.show = element("button", { type: "button", class: "hs-act", "data-act": "pattern-image", onclick: () => this.openImage(this.picked) }, "Show this image");
    this.groups = new PatternGroups(app);
    this.body = element(
      "div", { class: "hs-pattern-body", hidden: true },
      element(
        "div", { class: "hs-pattern-left" },
        element("div", { class: "hs-pattern-frame" }, this.plot.node),
        element("div", { class: "hs-pattern-foot" }, this.about, this.show),
      ),
      this.groups.node,
    );
    this.panel.body.append(this.body);
    this.thumbnail = element("canvas", { class: "hs-pattern-thumbnail" });
  }

  close() {
    this.plot.close();
  }

  draw(part) {
    const started = performance.now();
    this.planes.hidden = this.panel.waits(part);
    if (this.planes.hidden) return;
    this.body.hidden = false;
    const { state } = this.app;
    if (this.part !== part) this.take(part);
    const plane = part.planes.find(({ key }) => key === state.looking.plane) ?? part.planes[0];
    this.choosePlane(part.planes, plane);
    if (this.plane !== plane) {
      this.plane = plane;
      this.spec = this.makeSpec(plane);
    }
    this.highlight();
    this.plot.show(this.spec);
    this.groups.draw(part);
    this.tell();
    this.node.dataset.drawn = (performance.now() - started).toFixed(1);
  }

  /** What is looked up again and again: of each dot its head and image; of each head its dots. */
  take(part) {
    this.part = part;
    this.plane = this.picked = null;
    const own = part.own ?? { layer: [], head: [], label: [], image: [], images: [], places: [] };
    const joined = (first, second) => Int32Array.from([...first, ...second]);
    this.n = part.layer.length;
    this.maps = {
      layer: joined(part.layer, own.layer), head: joined(part.head, own.head), label: joined(part.label, own.label),
      image: joined(part.image, Array.from(own.image, (image) => image + part.images.length)),
      names: [...part.images, ...own.images], places: [...part.places, ...own.places],
    };
    const { layer, head } = this.maps;
    this.dotsOf = new Map();
    for (let dot = 0; dot < layer.length; dot += 1) {
      const key = `${layer[dot]}.${head[dot]}`;
      if (!this.dotsOf.has(key)) this.dotsOf.set(key, []);
      this.dotsOf.get(key).push(dot);
    }
    this.highlighted = null;
  }

  choosePlane(planes, plane) {
    const wanted = planes.map(({ key }) => key).join();
    if (this.offered !== wanted) {
      this.offered = wanted;
      this.switch = switchOf("pattern-plane", "Plane", planes.map(({ key, title, about }) => [key, title, about]), (key) => this.app.look({ plane: key }));
      this.planes.replaceChildren(...(planes.length > 1 ? [this.switch.node] : []));
    }
    this.switch.set(plane.key);
  }

  makeSpec(plane) {
    const { clusters, none } = this.part;
    const { label } = this.maps;
    const m = label.length;
    const points = plane.own ? [...plane.points, ...plane.own] : plane.points;
    const dots = {
      x: Float32Array.from({ length: m }, (_, i) => points[2 * i]), y: Float32Array.from({ length: m }, (_, i) => points[2 * i + 1]),
      colour: coloursOfKinds(label, clusters.map(({ colour }) => colour), none.colour),
      shape: Uint8Array.from(label, (index) => PATTERN_SHAPES[clusters[index]?.symbol] ?? 0),
    };
    const small = m > 4000 ? 2 : m > 800 ? 3.2 : 4;
    dots.size = new Float32Array(m).fill(small).fill(5, this.n);
    dots.hollow = new Uint8Array(m).fill(1, this.n);
    dots.shape.fill(PATTERN_SHAPES.diamond, this.n);
    return { x: { label: plane.axes[0], ticks: [] }, y: { label: plane.axes[1], ticks: [] }, dots, equal: true, keep: plane.key };
  }

  /** Before the plot is drawn: what stands in front of all other dots. */
  highlight() {
    const { state } = this.app;
    const { layer, head } = state.head;
    const wanted = [layer, head, state.chosen.marked, state.chosen.off, state.data.image].join(" ");
    if (this.highlighted === wanted) return;
    this.highlighted = wanted;
    const of = (heads) => heads.flatMap((at) => this.dotsOf.get(at.join(".")) ?? []);
    this.plot.front = of([[layer, head]]);
    this.plot.marked = of(state.headsOf("marked"));
    this.plot.off = of(state.headsOf("off"));
    const here = this.plot.front.filter((dot) => this.imageOf(dot) === state.data.image);
    this.plot.highlight({ chosen: here.map((dot) => ({ dot })), of: wanted });
  }

  imageOf(dot) {
    return this.maps.names[this.maps.image[dot]];
  }

  /** What the page can show of a dot's image: its place in the study; −1: it is not there. */
  placeOf(dot) {
    return this.maps.places[this.maps.image[dot]];
  }

  kindOf(dot) {
    const { clusters, none } = this.part;
    const name = clusters[this.maps.label[dot]]?.name ?? none.name;
    if (dot < this.n) return name;
    return `nearest pattern: ${name}${this.part.own.outlier[dot - this.n] ? ", far from it" : ""}`;
  }

  inWords(dot) {
    const { layer, head } = this.maps;
    return `layer ${layer[dot]}, head ${head[dot]} in ${this.imageOf(dot)}: ${this.kindOf(dot)}`;
  }

  headsIn(dots) {
    const { layer, head } = this.maps;
    return [...new Set(dots.map((dot) => `${layer[dot]}.${head[dot]}`))].map((pair) => pair.split(".").map(Number));
  }

  pick(dot, event) {
    this.picked = dot;
    this.app.pick({ layer: this.maps.layer[dot], head: this.maps.head[dot] }, event);
  }

  openImage(dot) {
    if (dot === null || this.placeOf(dot) < 0) return;
    const image = this.imageOf(dot);
    if (image !== this.app.state.data.image) this.app.open({ image });
  }

  /** The head, its pattern and its image; the head's map only where it is of that image. */
  hover(mark, event) {
    const { tooltip, state } = this.app;
    if (!mark) return tooltip.hide();
    const { dot } = mark;
    tooltip.overHead(this.plot.node, this.maps.layer[dot], this.maps.head[dot], event);
    const image = this.imageOf(dot);
    if (image !== state.data.image) tooltip.canvas.hidden = true;
    tooltip.text.append(element("span", {}, this.kindOf(dot)), element("span", { class: "hs-muted" }, image));
    if (this.paintThumbnail(this.placeOf(dot))) tooltip.text.append(this.thumbnail);
    const most = window.innerHeight - tooltip.node.offsetHeight - 8;
    if (parseFloat(tooltip.node.style.top) > most) tooltip.node.style.top = `${Math.max(8, most)}px`;
    return undefined;
  }

  paintThumbnail(place) {
    const { thumbnails } = this.part;
    if (!thumbnails || place < 0 || place >= thumbnails.shape[0]) return false;
    const [, height, width] = thumbnails.shape;
    Object.assign(this.thumbnail, { width, height });
    const painter = this.thumbnail.getContext("2d");
    const image = painter.createImageData(width, height);
    const from = 3 * place * height * width;
    for (let i = 0; i < height * width; i += 1) {
      image.data.set(thumbnails.subarray(from + 3 * i, from + 3 * i + 3), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    painter.putImageData(image, 0, 0);
    return true;
  }

  tell() {
    const { part, picked } = this;
    const { state } = this.app;
    const { layer, head } = state.head;
    const current = picked !== null && this.maps.layer[picked] === layer && this.maps.head[picked] === head;
    this.show.hidden = !current || this.placeOf(picked) < 0 || this.imageOf(picked) === state.data.image;
    if (current) {
      const words = this.inWords(picked);
      return setText(this.about, `${words[0].toUpperCase()}${words.slice(1)}.`);
    }
    const fewer = this.n < part.n_maps ? `${grouped(this.n)} of ${grouped(part.n_maps)} maps, by chance` : `${grouped(part.n_maps)} maps`;
    const own = part.own ? ` Diamonds: ${part.own.words}, not learned from.` : "";
    setText(this.about, `A dot is one head's map in one image: ${fewer} of ${part.n_images} images.${own} Larger: the chosen head. ${this.plane.about}`);
    this.about.title = this.about.textContent;
    return undefined;
  }
}

PANELS.push(PatternPanel);

/** A whole number with its thousands apart. */
function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}
