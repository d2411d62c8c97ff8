// The board: panels below the atlas and the card. Each is a class with a `node`, a `name` and
// `draw(part)`, where `part` is what Python brought for it (null: nothing yet).

const PANELS = [];

class Board {
  constructor(app) {
    this.app = app;
    this.panels = PANELS.map((Panel) => new Panel(app));
    this.node = element("div", { class: "hs-board" }, ...this.panels.map(({ node }) => node));
    this.node.hidden = !this.panels.length;
    this.onPart = ({ detail }) => this.panels.filter(({ name }) => name === detail).forEach((panel) => this.drawOne(panel));
    partStore().events.addEventListener("part", this.onPart);
  }

  draw() {
    this.panels.forEach((panel) => this.drawOne(panel));
  }

  drawOne(panel) {
    if (this.app.state.data) panel.draw(partStore().parts.get(panel.name) ?? null);
  }

  close() {
    partStore().events.removeEventListener("part", this.onPart);
    this.panels.forEach((panel) => panel.close?.());
  }
}

/**
 * A panel's place on the board: a heading, controls beside it, a body, and a sentence in the body's
 * place while there is nothing to show, with a button where something can be done about it.
 */
function boardPanel(app, { name, title, label }, ...controls) {
  const body = element("div", { class: "hs-board-body" });
  const sentence = element("p", { class: "hs-muted" });
  const act = element("button", { type: "button", class: "hs-act" });
  const empty = element("div", { class: "hs-board-empty", "data-text": `${name}-empty` }, sentence, act);
  const node = element(
    "section", { class: `hs-panel hs-panel-${name}`, "aria-label": label ?? title, "data-panel": name },
    element("header", {}, element("h2", {}, title), element("span", { class: "hs-push" }), ...controls),
    body, empty,
  );
  return {
    node, body,
    /** Says why there is nothing, from a part's `waiting` and `action: {label, part | image}`; true if so. */
    waits(part) {
      const waiting = part ? part.waiting : app.state.data.waiting;
      empty.hidden = !waiting;
      body.hidden = Boolean(waiting);
      setText(sentence, waiting ?? "");
      act.hidden = !part?.action;
      setText(act, part?.action?.label ?? "");
      act.onclick = () => app.open(part.action);
      return Boolean(waiting) || !part;
    },
  };
}
