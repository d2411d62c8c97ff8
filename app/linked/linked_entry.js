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
      ...(metric ? [element("span", {}, `${metric.label}: ${inWords(value)} ${metric.unit}`)] : []),
      ...(rank ? [element("span", { class: "hs-muted" }, `${ordinal(rank.place)} of ${rank.of}`)] : []),
    );
    const row = state.layout ? rowOf(state.feed, layer, head, state.token) : null;
    this.canvas.hidden = !row;
    if (row) {
      const [rows, columns] = state.layout.grid;
      this.sprite.width = columns;
      this.sprite.height = rows;
      const painter = this.sprite.getContext("2d");
      const image = painter.createImageData(columns, rows);
      paintMap(image, row, state.patches, null, tables.attention);
      painter.putImageData(image, 0, 0);
      const width = 72;
      sharp(this.canvas, width, Math.round((width * rows) / columns)).drawImage(this.sprite, 0, 0, width, Math.round((width * rows) / columns));
    }
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
    this.root = parent.querySelector(".hs-root");
    this.root.replaceChildren(
      element("div", { class: "hs-left" }, this.atlas.node, this.montage.node),
      this.card.node,
      this.tooltip.node,
    );
    this.onFeed = ({ detail }) => {
      if (this.state.data?.feed !== detail) return;
      this.state.feed = feedStore().feeds.get(detail);
      this.draw();
    };
    feedStore().events.addEventListener("feed", this.onFeed);
    this.resizing = new ResizeObserver(() => this.state.data && this.draw());
    this.resizing.observe(this.root);
  }

  update(data, setStateValue) {
    this.setStateValue = setStateValue;
    this.state.take(data);
    this.tables = {
      numbers: colourTable(data.palette.numbers),
      attention: colourTable(data.palette.attention),
    };
    this.theme = themeColours(this.root);
    this.draw();
  }

  /** A change of the selection: drawn at once, told to Python when it rests. */
  choose(change) {
    Object.assign(this.state.chosen, change);
    if ("token" in change) this.state.hover = null;
    this.draw();
    clearTimeout(this.pushing);
    this.pushing = setTimeout(() => this.setStateValue("selection", { ...this.state.chosen }), PUSH_AFTER);
  }

  /** A change of how things are drawn; nobody else needs to know. */
  look(change) {
    Object.assign(this.state.looking, change);
    this.draw();
  }

  /** The query under the pointer; null puts the chosen one back. */
  preview(token) {
    if (this.state.hover === token) return;
    this.state.hover = token;
    cancelAnimationFrame(this.previewing);
    this.previewing = requestAnimationFrame(() => {
      this.montage.draw();
      this.card.draw();
    });
  }

  /** Asks Python for a map that is not on this side (checkpoints whose maps are too many to send). */
  want(layer, head, token) {
    const asked = `${this.state.data.feed} ${layer} ${head} ${token}`;
    if (!this.state.data.on_demand || this.state.asked === asked) return;
    this.state.asked = asked;
    clearTimeout(this.wanting);
    this.wanting = setTimeout(() => this.setStateValue("wanted", { layer, head, token }), PUSH_AFTER);
  }

  draw() {
    const started = performance.now();
    const { state } = this;
    this.atlas.draw();
    this.montage.draw();
    this.card.draw();
    Object.assign(this.root.dataset, {
      layer: state.head.layer, head: state.head.head, state: state.feed && state.data.metrics.length ? "complete" : "waiting",
      image: state.data.image ?? "", drawn: (performance.now() - started).toFixed(1),
    });
  }

  close() {
    feedStore().events.removeEventListener("feed", this.onFeed);
    this.resizing.disconnect();
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
