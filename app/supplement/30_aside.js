// What stands beside the plots: images, predictions, and what the study is.

const SCHEMES = [
  ["auto", "Auto", "Light or dark as the system is"],
  ["light", "Light", "Light colours"],
  ["dark", "Dark", "Dark colours"],
];
const KEPT = "headscope-theme";

class Aside {
  constructor(study, { onimage, ontheme }) {
    this.study = study;
    this.onimage = onimage;
    this.gallery = element("div", { class: "hs-images" }, element("div", { class: "hs-gallery", role: "group", "aria-label": "Images of the study" }));
    this.choice = element("select", { class: "hs-select", "aria-label": "Image", onchange: () => onimage(Number(this.choice.value)) });
    this.about = element("p", { class: "hs-muted", "data-text": "image", "aria-live": "polite" });
    this.missing = element("p", { class: "hs-note", "data-text": "maps" });
    this.notes = element("p", { class: "hs-note", role: "status", "data-text": "notes" });
    this.predictions = element("div", { class: "hs-predictions", role: "group", "aria-label": "Predictions" });
    this.target = element("p", { class: "hs-muted", "data-text": "target" });
    this.absent = element("p", { "data-text": "absent" });
    this.theme = switchOf("theme", "Colours of the page", SCHEMES, (scheme) => {
      this.setTheme(scheme);
      try {
        localStorage.setItem(KEPT, scheme);
      } catch { /* a browser that keeps nothing for files */ }
      ontheme();
    });
    this.node = element(
      "aside", { class: "stBidiComponent hs-aside", "data-testid": "stBidiComponentRegular", "aria-label": "Images and study" },
      element("header", {}, element("h1", {}, study.title), element("p", { class: "hs-muted", "data-text": "extent" }, this.extent())),
      this.notes,
      this.gallery, this.choice, this.about, this.missing,
      element("div", {}, element("h2", {}, "Predictions"), this.predictions, this.target),
      this.details("About this study", element("dl", {}, ...study.facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]))),
      this.details(
        "How this was made",
        element("p", {}, "The study, and this file of it; names in capitals are yours:"),
        element("pre", { tabindex: "0" }, study.commands.join("\n")),
        this.absent,
        element("p", {}, "To switch heads off, measure more or compare, open the study in the app: headscope app --study STUDY.zarr"),
      ),
      this.details(
        "Keys",
        element("dl", {}, ...[
          ["[ and ]", "the image before and after"], ["Arrows", "another head in the atlas, another query on the picture, another image among the thumbnails"],
          ["Shift-click", "puts a head into the head set, or takes it out"], ["Back, forward", "what was looked at before; a link to this page keeps the view"],
        ].flatMap(([keys, what]) => [element("dt", {}, keys), element("dd", {}, what)])),
      ),
      element("footer", {}, this.theme.node, element("p", { class: "hs-muted" }, `Made by ${study.made_by}. All of it is in this file; nothing is loaded from elsewhere.`)),
    );
    this.fillGallery();
    fillSelect(this.choice, study.images.map(({ name }, i) => [i, name]), 0);
    this.choice.hidden = study.images.length < 2;
    this.gallery.addEventListener("keydown", (event) => this.key(event));
    this.setTheme(this.keptTheme());
  }

  details(summary, ...inside) {
    return element("details", { class: "hs-details" }, element("summary", {}, summary), ...inside);
  }

  extent() {
    const { images, base } = this.study;
    const nHeads = base.n_heads.reduce((sum, heads) => sum + heads, 0);
    const nMaps = images.filter(({ maps }) => maps).length;
    const maps = nMaps === images.length ? "all their maps" : nMaps ? `maps of ${nMaps} images` : "no maps";
    return `${images.length} image${images.length === 1 ? "" : "s"} · ${nHeads} heads in ${base.n_heads.length} layers · ${maps}`;
  }

  keptTheme() {
    try {
      return SCHEMES.map(([scheme]) => scheme).find((scheme) => scheme === localStorage.getItem(KEPT)) ?? "auto";
    } catch {
      return "auto";
    }
  }

  setTheme(scheme) {
    document.documentElement.dataset.theme = scheme;
    this.theme.set(scheme);
  }

  fillGallery(chosen = 0) {
    showGallery({
      data: { items: this.study.images.map(({ name, thumbnail }, i) => ({ key: String(i), name, source: thumbnail })), chosen: String(chosen) },
      parentElement: this.gallery,
      setStateValue: (_, { key }) => this.onimage(Number(key)),
    });
    [...this.gallery.firstChild.children].forEach((button, i) => {
      button.tabIndex = i === chosen ? 0 : -1;
      button.classList.toggle("hs-no-maps", !this.study.images[i].maps);
    });
  }

  /** Arrows move among the thumbnails, of which only the chosen one is a stop of the Tab key. */
  key(event) {
    const { children } = this.gallery.firstChild;
    const at = [...children].indexOf(document.activeElement);
    const columns = getComputedStyle(this.gallery.firstChild).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (at < 0 || !step) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(children.length - 1, at + step));
    children[next].focus();
    this.onimage(next);
  }

  /** An image and what the model says of it. */
  show(index, scene) {
    const { images, labels, base } = this.study;
    const image = images[index];
    this.fillGallery(index);
    this.gallery.firstChild.children[index].scrollIntoView({ block: "nearest" });
    this.choice.value = String(index);
    const [height, width] = base.size;
    const rows = scene.predictions?.rows ?? [];
    const real = image.label === null ? "" : ` · label: ${labels[image.label]}${rows.length ? rows[0].index === image.label ? ", predicted" : ", predicted otherwise" : ""}`;
    setText(this.about, `${image.name} · ${width} × ${height} px as the model sees it${real}`);
    setText(this.missing, !image.done ? "The study was interrupted before this image." : image.maps ? "" : this.study.missing);
    if (rows.length) {
      showPredictions({ data: { ...scene.predictions, fixed: true }, parentElement: this.predictions.parentElement, setStateValue() {} });
    } else this.predictions.replaceChildren();
    const target = scene.predictions?.target ?? -1;
    setText(this.target, target >= 0 ? `Target class of the numbers: ${labels[target]}`
      : scene.predictions ? "" : "None: the checkpoint has no classes, it computes features.");
  }

  /** Names of the panels that are left out. */
  tellAbsent(titles) {
    setText(this.absent, titles.length ? `Computed as you look, and so not in this file: ${titles.join(", ")}.` : "");
  }

  say(notes) {
    setText(this.notes, notes.join(" "));
  }
}
