// The last session: what was looked at before, offered to a visit that asks for nothing.

const LAST = "headscope.last";
const ACTS = ["pointerdown", "keydown", "click", "change"]; // also of who uses no pointer
const KEEP_EVERY = 2000; // ms

/** An address in words: "Study pets.zarr, cat.jpg, layer 3, head 1". */
function addressInWords(search) {
  const told = new URLSearchParams(search);
  const has = (key) => told.get(key);
  const image = has("image")?.startsWith("upload:") ? "an uploaded picture" : has("image");
  return [
    has("study") ? `study ${has("study")}` : has("checkpoint"),
    image,
    has("layer") !== null ? `layer ${has("layer")}, head ${has("head")}` : null,
    has("part"),
  ].filter(Boolean).join(", ");
}

class Last {
  constructor(go, colours) {
    this.go = go;
    this.colours = colours;
    const [visit] = performance.getEntriesByType("navigation");
    this.asked = new URL(visit?.name ?? window.location.href).search;
    this.acted = false;
    this.keep = () => {
      const { search } = window.location;
      if ((this.acted || this.asked) && search.length > 1) remembered(LAST, search);
    };
    this.act = (event) => {
      if (this.node?.contains(event.target) || document.querySelector(".hs-tour")?.contains(event.target)) return;
      this.acted = true;
      this.hide();
    };
    for (const kind of ACTS) document.addEventListener(kind, this.act, true);
    window.addEventListener("pagehide", this.keep);
    this.keeping = setInterval(this.keep, KEEP_EVERY);
    this.offer();
  }

  offer() {
    const search = remembered(LAST);
    const words = search ? addressInWords(search) : "";
    if (this.asked.length > 1 || !words || search === window.location.search) return;
    this.node = element(
      "div", { class: "hs-last", role: "region", "aria-label": "The last session" },
      element("span", {}, "Go on where you left"),
      element("a", { href: search, onclick: (event) => this.follow(event, search) }, words),
      element("button", { type: "button", "aria-label": "Do not go on", title: "Do not go on", onclick: () => this.hide() }, "×"),
    );
    for (const [name, value] of Object.entries(this.colours())) this.node.style.setProperty(name, value);
    document.body.append(this.node);
  }

  follow(event, search) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a tab of its own
    event.preventDefault();
    this.acted = true;
    this.hide();
    this.go(search);
  }

  hide() {
    this.node?.remove();
  }

  close() {
    for (const kind of ACTS) document.removeEventListener(kind, this.act, true);
    window.removeEventListener("pagehide", this.keep);
    clearInterval(this.keeping);
    this.hide();
  }
}
