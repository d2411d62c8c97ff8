// What a number is, where it stands: a "?" opens its formula, range, how to read it, and source.

const ABOUT = [["formula", "Formula"], ["range", "Range"], ["reading", "How to read"], ["source", "Source"]];

/** A button that explains the number of a key; `keyOf()` says which, when it is pressed. */
function whatIs(app, keyOf, label = "this number") {
  const button = element("button", {
    type: "button", class: "hs-what", "aria-expanded": "false", "aria-label": `What is ${label}?`, title: "Formula, range, how to read it, source",
    onclick: () => explainer(app).toggle(button, keyOf),
  }, "?");
  return button;
}

function explainer(app) {
  app.explainer ??= new Explainer(app);
  return app.explainer;
}

class Explainer {
  constructor(app) {
    this.app = app;
    this.title = element("b");
    this.list = element("dl");
    this.node = element("div", { class: "hs-explainer", id: "hs-explainer", role: "note", "aria-live": "polite", "data-text": "about", hidden: true }, this.title, this.list);
    this.onKey = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      const { button } = this;
      this.close();
      button.focus();
    };
    this.onPress = ({ target }) => {
      if (!this.node.contains(target) && !target.closest?.(".hs-what")) this.close();
    };
    this.onMove = () => (this.button.isConnected ? this.place() : this.close());
  }

  toggle(button, keyOf) {
    const again = this.button === button;
    this.close();
    if (again) return;
    Object.assign(this, { button, keyOf });
    if (!this.node.isConnected) this.app.root.append(this.node);
    button.setAttribute("aria-expanded", "true");
    button.setAttribute("aria-controls", this.node.id);
    this.node.hidden = false;
    this.draw();
    document.addEventListener("keydown", this.onKey, true);
    document.addEventListener("pointerdown", this.onPress, true);
    document.addEventListener("scroll", this.onMove, true);
    window.addEventListener("resize", this.onMove);
  }

  close() {
    if (!this.button) return;
    this.button.setAttribute("aria-expanded", "false");
    this.button = null;
    this.node.hidden = true;
    document.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("pointerdown", this.onPress, true);
    document.removeEventListener("scroll", this.onMove, true);
    window.removeEventListener("resize", this.onMove);
  }

  /** Called at every redraw: the number may be another one now, or gone. */
  draw() {
    if (!this.button) return;
    const key = this.keyOf();
    if (!this.button.isConnected || !key) return this.close();
    const told = this.told(key);
    const shown = JSON.stringify([key, told]);
    if (this.shown !== shown) {
      this.shown = shown;
      this.title.textContent = told.title;
      this.list.replaceChildren(...told.lines.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
    }
    this.place();
  }

  /** What is known of a number: of a registered metric, or what the study itself says of it. */
  told(key) {
    const [name, ...ablation] = key.split(":");
    const part = partStore().parts.get("about");
    const metric = this.app.state.data.metrics.find((each) => each.key === key);
    const about = part?.metrics?.[name] ?? { reading: metric?.description ?? "" };
    const lines = ABOUT.filter(([field]) => about[field]).map(([field, label]) => [label, asSentence(about[field])]);
    const ablations = Object.entries(part?.ablations ?? {});
    const how = ablation.join(":") || (ablations.length === 1 && metric && metric.group !== "Attention" ? ablations[0][0] : "");
    const done = ablations.find(([each]) => each === how);
    if (done) lines.push([`Ablation: ${how}`, asSentence(done[1])]);
    if (!lines.length) lines.push(["How to read", "The study says nothing of it, and no metric of this name is known here."]);
    const similar = partStore().parts.get("card")?.nearest?.find((each) => each.key === key);
    const [label, unit] = [metric?.label ?? similar?.label ?? name, metric?.unit ?? similar?.unit];
    return { title: unit && !label.includes(unit) ? `${label}, in ${unit}` : label, lines };
  }

  /** Beside its button, inside the window. */
  place() {
    const around = this.button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.node;
    const left = Math.max(8, Math.min(around.right - 24, window.innerWidth - width - 8));
    const below = around.bottom + 6 + height <= window.innerHeight - 8;
    const top = below ? around.bottom + 6 : Math.max(8, around.top - height - 6);
    Object.assign(this.node.style, { left: `${left}px`, top: `${top}px` });
  }
}

/** A text as people read it: no marks of code, a capital where it begins with a word. */
function asSentence(text) {
  const plain = text.replaceAll("`", "");
  return /^[a-z]{2,}[ ,:;.]/.test(plain) ? plain[0].toUpperCase() + plain.slice(1) : plain;
}
