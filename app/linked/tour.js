// The tour of a first visit: three steps, each a light through the shade on what it is about.

const TOUR_SEEN = "headscope.tour";
const TOUR = [
  {
    at: ".hs-gallery, [data-testid='stFileUploader']",
    title: "Pick a picture",
    text: () => document.querySelector("[data-testid='stFileUploader']")
      ? "Choose one of these, or upload your own above them. The model looks at it at once."
      : "These are the study’s images. Choose one; maps and numbers are then about it. To look at a picture of your own, choose a checkpoint above.",
  },
  {
    at: ".hs-atlas",
    title: "Click a head",
    text: "Each cell is one attention head: a row for each layer. Its colour is the number chosen above. Click one, and everything on the page is about that head.",
  },
  {
    at: ".hs-overlay",
    title: "Click a patch",
    text: "The map shows where the chosen patch looks; click another one to ask from there. Further down, In depth, heads are switched off and compared.",
  },
];

/** What a browser keeps; without storage every visit is the first. */
function remembered(key, value) {
  try {
    if (value === undefined) return window.localStorage.getItem(key);
    window.localStorage.setItem(key, value);
  } catch { /* storage is switched off */ }
  return null;
}

class Tour {
  constructor(colours) {
    this.colours = colours;
    this.step = null;
    this.shade = element("div", { class: "hs-tour-shade" });
    this.light = element("div", { class: "hs-tour-light" });
    this.count = element("span", { class: "hs-tour-count" });
    this.title = element("h2", { id: "hs-tour-title" });
    this.text = element("p", { id: "hs-tour-text" });
    this.skip = element("button", { type: "button", onclick: () => this.close() }, "Skip");
    this.back = element("button", { type: "button", onclick: () => this.show(this.step - 1) }, "Back");
    this.next = element("button", { type: "button", class: "hs-tour-next", onclick: () => this.show(this.step + 1) });
    this.card = element(
      "div",
      {
        class: "hs-tour-card", role: "dialog", "aria-modal": "true", "aria-labelledby": "hs-tour-title",
        "aria-describedby": "hs-tour-text", onkeydown: (event) => this.onKey(event),
      },
      this.count, this.title, this.text, element("div", { class: "hs-tour-buttons" }, this.skip, this.back, this.next),
    );
    this.node = element("div", { class: "hs-tour" }, this.shade, this.light, this.card);
  }

  open(opener = null) {
    this.opener = opener ?? document.activeElement;
    for (const [name, value] of Object.entries(this.colours())) this.node.style.setProperty(name, value);
    document.body.append(this.node);
    this.show(0);
    const follow = () => {
      if (!this.node.isConnected) return;
      this.place();
      requestAnimationFrame(follow);
    };
    follow();
  }

  show(step) {
    if (step >= TOUR.length) return this.close();
    this.step = Math.max(0, step);
    const { title, text } = TOUR[this.step];
    setText(this.count, `${this.step + 1} of ${TOUR.length}`);
    setText(this.title, title);
    setText(this.text, typeof text === "function" ? text() : text);
    setText(this.next, this.step === TOUR.length - 1 ? "Done" : "Next");
    this.back.hidden = this.step === 0;
    this.node.dataset.step = String(this.step + 1);
    this.targets()[0]?.scrollIntoView({ block: "nearest" });
    this.place();
    return this.next.focus({ preventScroll: true });
  }

  targets() {
    return [...document.querySelectorAll(TOUR[this.step].at)].filter((node) => node.getClientRects().length);
  }

  /** The light on all targets together, cut off at the window's edges; the card beside it. */
  place() {
    const { innerWidth: wide, innerHeight: high } = window;
    const boxes = this.targets().map((node) => node.getBoundingClientRect());
    const edge = (name, most) => Math[most](...boxes.map((box) => box[name]));
    const light = boxes.length
      ? { left: Math.max(4, edge("left", "min") - 6), top: Math.max(4, edge("top", "min") - 6), right: Math.min(wide - 4, edge("right", "max") + 6), bottom: Math.min(high - 4, edge("bottom", "max") + 6) }
      : { left: wide / 2, top: high / 2, right: wide / 2, bottom: high / 2 };
    const placed = JSON.stringify([light, this.step, wide, high]);
    if (placed === this.placed) return;
    this.placed = placed;
    const { left, top, right, bottom } = light;
    this.shade.style.clipPath = `polygon(evenodd, 0 0, ${wide}px 0, ${wide}px ${high}px, 0 ${high}px, 0 0, ${left}px ${top}px, ${right}px ${top}px, ${right}px ${bottom}px, ${left}px ${bottom}px, ${left}px ${top}px)`;
    Object.assign(this.light.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    const { offsetWidth, offsetHeight } = this.card;
    const beside = right + 14 + offsetWidth <= wide - 8 ? right + 14 : left - 14 - offsetWidth >= 8 ? left - 14 - offsetWidth : null;
    const x = beside ?? Math.max(8, Math.min(left, wide - offsetWidth - 8));
    const y = beside === null && bottom + 14 + offsetHeight <= high - 8 ? bottom + 14 : Math.max(8, Math.min(top, high - offsetHeight - 8));
    Object.assign(this.card.style, { left: `${x}px`, top: `${y}px` });
  }

  /** Tab stays within the card; Escape ends the tour, arrows turn its pages. */
  onKey(event) {
    const buttons = [this.skip, this.back, this.next].filter((button) => !button.hidden);
    const at = buttons.indexOf(document.activeElement);
    if (event.key === "Escape") this.close();
    else if (event.key === "ArrowRight") this.show(this.step + 1);
    else if (event.key === "ArrowLeft") this.show(this.step - 1);
    else if (event.key === "Tab") buttons[(at + (event.shiftKey ? -1 : 1) + buttons.length) % buttons.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  close() {
    remembered(TOUR_SEEN, "seen");
    this.node.remove();
    if (this.opener?.isConnected) this.opener.focus?.();
  }
}
