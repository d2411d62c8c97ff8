// The page: it gives the linked component what Python gives it in the app.

const PLOTLY = {};
window.headscopePlotly = new Promise((resolve, reject) => Object.assign(PLOTLY, { resolve, reject }));

/** plotly.js out of its block; after the first picture, as it takes longest. */
async function bringPlotly() {
  try {
    document.head.append(element("script", {}, await unpackedText("plotly")));
    PLOTLY.resolve(window.Plotly);
  } catch (error) {
    PLOTLY.reject(error);
  }
}

/** What the panels of the board draw: of the study, and what is another image by image. */
class Panels {
  constructor() {
    this.parts = new Map();
  }

  named(start) {
    return [...document.querySelectorAll(`[id^="${start}"]`)].map(({ id }) => ({ block: id, panel: id.slice(start.length) }));
  }

  async open() {
    await Promise.all(this.named("part-").map(async ({ block, panel }) => {
      keepPart(await unpacked(block));
      this.parts.set(panel, partStore().parts.get(panel));
    }));
  }

  of(image) {
    return this.named(`of-${image}-`);
  }
}

class Host {
  constructor(study, panels) {
    this.study = study;
    this.panels = panels;
    this.stamp = 0;
    this.asked = 0;
    this.scenes = new Map();
    this.aside = new Aside(study, {
      onimage: (image) => this.go({ image }),
      ontheme: () => this.redraw(),
    });
    this.plots = element("div", { class: "stBidiComponent", "data-testid": "stBidiComponentRegular" }, element("div", { class: "hs-root" }));
    this.node = element("div", { class: "hs-page" }, this.aside.node, element("main", {}, this.plots));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    window.addEventListener("hashchange", () => this.follow());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** Another image, or what is chosen of it: drawn, and written into the address. */
  go({ image = this.image, selection = this.selection }) {
    const regroup = image !== this.image || selection.images !== this.selection.images;
    Object.assign(this, { image, selection });
    const address = addressOf(image ? this.study.images[image].name : null, selection);
    if (address !== window.location.hash) {
      window.history.pushState(null, "", address || window.location.pathname + window.location.search);
      this.aside.say([]);
    }
    return regroup ? this.show() : null;
  }

  /** The address has changed: it was opened, went back or forward, or somebody wrote another. */
  async follow() {
    if (window.location.hash === this.followed) return;
    const { image, selection, notes } = readAddress(window.location.hash, this.study);
    this.aside.say(notes);
    this.stamp += 1;
    Object.assign(this, { image, selection });
    await this.show();
  }

  async scene(index) {
    if (!this.scenes.has(index)) {
      const change = JSON.parse(await unpackedText(`scene-${index}`));
      this.scenes.set(index, change === null ? this.study.base : patched(this.study.base, change));
    }
    return this.scenes.get(index);
  }

  /** Draws what is chosen; what was asked for meanwhile goes first. */
  async show() {
    const asked = (this.asked += 1);
    const { image, selection } = this;
    const name = this.study.images[image].name;
    let scene = await this.scene(image);
    const group = imagesIn(selection.images);
    if (group.length) {
      const scenes = await Promise.all(group.map((index) => this.scene(index)));
      scene = { ...regrouped(scene, scenes), n_chosen: scenes.length };
    }
    const own = await Promise.all(this.panels.of(image).map(async ({ panel, block }) => ({ ...this.panels.parts.get(panel), ...unpack(await unpacked(block)) })));
    const bytes = feedStore().feeds.has(scene.feed) ? null : await unpacked(`feed-${image}`);
    if (asked !== this.asked) return;
    if (bytes) keepFeed(bytes);
    own.forEach((part) => partStore().parts.set(part.panel, part));
    this.aside.show(image, scene);
    this.drawn = { ...scene, image: name };
    this.redraw();
  }

  redraw() {
    if (!this.drawn) return;
    const maps = this.study.images[this.image].maps;
    showLinked({
      data: {
        ...this.drawn, plotly: "", no_maps: maps ? null : this.study.missing,
        stamp: this.stamp, heard: Infinity, offline: true, selection: this.selection,
      },
      parentElement: this.plots,
      setStateValue: (key, value) => this.take(key, value),
    });
  }

  /** Panels that a file cannot draw take no room; their names stand where the page says how it was made. */
  leaveOut() {
    const absent = [...this.panels.parts.values()].filter((part) => part.absent);
    const nodes = absent.map(({ panel }) => this.plots.querySelector(`[data-panel="${panel}"]`)).filter(Boolean);
    nodes.forEach((node) => {
      node.hidden = true;
    });
    this.aside.tellAbsent(nodes.map((node) => node.querySelector("h2").textContent));
  }

  /** What the component tells: Python's part of the conversation. */
  take(key, value) {
    if (key === "selection") {
      const { told, off, ...selection } = value;
      this.go({ selection: { ...selection, off: null } });
      if (off) this.refuse("Heads are switched off in headscope itself: a file cannot run the model.");
    } else if (key === "asked") this.refuse("What that shows is computed by headscope itself; it is not in this file.");
    else if (key === "went") this.follow();
    else if (key === "open" && value.image !== undefined) {
      const image = this.study.images.findIndex(({ name }) => name === value.image);
      if (image >= 0) this.go({ image });
    }
  }

  /** Says why something is not done, and takes it back; after whoever asked is done with asking. */
  refuse(sentence) {
    window.setTimeout(() => {
      this.stamp += 1;
      this.redraw();
      for (const panel of partStore().parts.keys()) partStore().events.dispatchEvent(new CustomEvent("part", { detail: panel }));
      this.aside.say([sentence]);
    });
  }

  key(event) {
    const step = { "[": -1, "]": 1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    this.go({ image: Math.max(0, Math.min(this.study.images.length - 1, this.image + step)) });
  }
}

async function openStudy() {
  const study = JSON.parse(await unpackedText("study"));
  const panels = new Panels();
  await panels.open();
  const host = new Host(study, panels);
  document.getElementById("hs-opening").replaceWith(host.node);
  await host.follow();
  host.leaveOut();
  window.setTimeout(bringPlotly);
}

openStudy().catch((error) => {
  const sentence = "DecompressionStream" in window
    ? "This file cannot be read to its end: part of it is missing or was changed. Fetch it again."
    : "This page needs a browser of 2023 or later: Chrome 80, Firefox 113 or Safari 16.4.";
  const opening = document.getElementById("hs-opening");
  if (opening) opening.textContent = sentence;
  console.error(error);
});
