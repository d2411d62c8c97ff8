// Entry of the linked component: one page part, one state, redrawn at once on every change.

const PUSH_AFTER = 120; // ms without a further change, before Python hears of a selection

class Tooltip {
  constructor(app) {
    this.app = app;
    this.text = element("div");
    this.canvas = element("canvas");
    this.node = element("div", { class: "hs-tooltip", role: "tooltip", hidden: true }, this.canvas, this.text);
    this.sprite = document.createElement("canvas");
  }

  /** What a head is, beside its cell or the pointer. */
  overHead(node, layer, head, pointer = null) {
    const { state, tables } = this.app;
    const metric = state.metric;
    const value = metric ? state.valuesOf(metric)[layer][head] : null;
    const rank = metric ? state.rank(metric, layer, head) : null;
    this.text.replaceChildren(
      element("b", {}, `Layer ${layer}, head ${head}`),
      ...(metric ? [element("span", {}, `${metric.label}: ${value === null ? missing(state, metric, layer) : `${inWords(value)} ${metric.unit}`}`)] : []),
      ...(rank ? [element("span", { class: "hs-muted" }, `${ordinal(rank.place)} of ${rank.of}`)] : []),
    );
    const map = state.layers[layer] ? state.patchWeights(layer, head, state.queryIn(layer)) : null;
    const { raster } = state.layers[layer]?.keys ?? {};
    this.canvas.hidden = !map || !raster;
    if (map && raster) {
      paintMap(this.sprite, raster, map, null, tables.attention, 72);
      const [height, width] = state.data.size;
      const high = Math.round((72 * height) / width);
      sharp(this.canvas, 72, high).drawImage(this.sprite, 0, 0, 72, high);
    }
    const attention = state.layers[layer]?.attention;
    if (attention) this.text.append(element("span", { class: "hs-muted" }, attention));
    this.place(node, pointer);
  }

  /** Anything else beside the pointer: lines of text, and a picture that `paint` draws, if given. */
  over(node, lines, pointer, paint = null) {
    this.text.replaceChildren(...lines);
    this.canvas.hidden = !paint;
    paint?.(this.canvas);
    this.place(node, pointer);
  }

  place(node, pointer) {
    this.node.hidden = false;
    const around = node.getBoundingClientRect();
    const x = pointer ? pointer.clientX + 14 : around.right + 8;
    const y = pointer ? pointer.clientY + 14 : around.top;
    const { offsetWidth, offsetHeight } = this.node;
    this.node.style.left = `${x + offsetWidth > window.innerWidth - 8 ? (pointer ? x - 28 : around.left - 8) - offsetWidth : x}px`;
    this.node.style.top = `${Math.max(8, Math.min(y, window.innerHeight - offsetHeight - 8))}px`;
  }

  hide() {
    this.node.hidden = true;
  }
}

class App {
  constructor(parent) {
    this.state = new State();
    this.tooltip = new Tooltip(this);
    this.atlas = new Atlas(this);
    this.montage = new Montage(this);
    this.card = new Card(this);
    this.board = new Board(this);
    this.root = parent.querySelector(".hs-root");
    this.root.replaceChildren(
      element("div", { class: "hs-left" }, this.atlas.node, this.montage.node),
      this.card.node,
      this.board.node,
      this.tooltip.node,
    );
    this.onFeed = ({ detail }) => {
      if (this.state.data?.feed !== detail) return;
      this.state.feed = feedStore().feeds.get(detail);
      this.draw();
    };
    feedStore().events.addEventListener("feed", this.onFeed);
    this.onWent = () => this.setStateValue("went", { search: window.location.search, at: performance.now() });
    window.addEventListener("popstate", this.onWent);
    this.resizing = new ResizeObserver(() => this.state.data && this.draw());
    this.resizing.observe(this.root);
  }

  update(data, setStateValue) {
    this.setStateValue = setStateValue;
    this.state.take(data);
    this.tables = {
      numbers: colourTable(data.palette.numbers),
      signed: colourTable(data.palette.signed),
      attention: colourTable(data.palette.attention),
    };
    this.theme = themeColours(this.root);
    this.draw();
  }

  /** A change of the selection: drawn at once, told to Python when it rests. */
  choose(change) {
    this.state.choose(change);
    if ("place" in change) this.state.hover = null;
    this.draw();
    clearTimeout(this.pushing);
    this.pushing = setTimeout(() => this.setStateValue("selection", { ...this.state.chosen, told: this.state.told }), PUSH_AFTER);
  }

  /**
   * A head was pointed at, anywhere: it is chosen; with Shift it joins or leaves the head set; with
   * Alt, or where clicks switch off, it is switched off or on.
   */
  pick({ layer, head }, event = {}) {
    const toggled = event.altKey ? "off" : event.shiftKey ? "marked" : { choose: null, mark: "marked", off: "off" }[this.state.looking.clicks];
    if (!toggled) return this.choose({ layer, head });
    const others = this.state.headsOf(toggled).filter(([l, h]) => l !== layer || h !== head);
    const heads = this.state.has(toggled, layer, head) ? others : [...others, [layer, head]];
    return this.choose({ [toggled]: this.state.headText(heads) });
  }

  /** A lasso round heads makes them the head set; with Shift they join it. */
  lasso(heads, event) {
    const all = event.shiftKey ? [...this.state.headsOf("marked"), ...heads] : heads;
    if (heads.length) this.choose({ marked: this.state.headText(all) });
  }

  /** Opens a part below the plots, or another image: `{part}` or `{image}`. */
  open(what) {
    this.setStateValue("open", { ...what, at: performance.now() });
    if (what.part) document.querySelector(".st-key-depth")?.scrollIntoView({ behavior: "smooth" });
  }

  /** Asks Python for something else to draw in a panel of the board: `board.asked(panel)` there. */
  ask(panel, wants) {
    // All questions each time: of two that are asked at once Python would hear the last alone.
    this.asks = { ...this.asks, [panel]: structuredClone(wants) };
    this.setStateValue("asked", { panels: this.asks, at: performance.now() });
  }

  /** A change of how things are drawn; nobody else needs to know. */
  look(change) {
    Object.assign(this.state.looking, change);
    this.draw();
  }

  /** The query at the place under the pointer; null puts the chosen one back. */
  preview(place) {
    if (this.state.hover?.at.join() === place?.at.join()) return;
    this.state.hover = place;
    cancelAnimationFrame(this.previewing);
    this.previewing = requestAnimationFrame(() => {
      this.montage.draw();
      this.card.draw();
      this.board.draw();
    });
  }

  /** Asks Python for a map that is not on this side (checkpoints whose maps are too many to send). */
  want() {
    const { head, layers } = this.state;
    const wanted = { ...head, tokens: layers.map((_, layer) => this.state.queryIn(layer)) };
    const asked = `${this.state.data.feed} ${JSON.stringify(wanted)}`;
    if (!this.state.data.on_demand || this.state.asked === asked) return;
    this.state.asked = asked;
    clearTimeout(this.wanting);
    this.wanting = setTimeout(() => this.setStateValue("wanted", wanted), PUSH_AFTER);
  }

  draw() {
    const started = performance.now();
    const { state } = this;
    this.atlas.draw();
    this.montage.draw();
    this.card.draw();
    this.board.draw();
    Object.assign(this.root.dataset, {
      layer: state.head.layer, head: state.head.head, state: state.feed && state.data.measured ? "complete" : "waiting",
      image: state.data.image ?? "", drawn: (performance.now() - started).toFixed(1),
    });
  }

  close() {
    feedStore().events.removeEventListener("feed", this.onFeed);
    window.removeEventListener("popstate", this.onWent);
    this.resizing.disconnect();
    this.board.close();
    this.card.close();
    clearTimeout(this.pushing);
    clearTimeout(this.wanting);
  }
}

const apps = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  let app = apps.get(parentElement);
  if (!app) {
    app = new App(parentElement);
    apps.set(parentElement, app);
  }
  app.update(data, setStateValue);
  return () => {
    app.close();
    apps.delete(parentElement);
  };
}
