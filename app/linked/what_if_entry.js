// What if: the picture with all heads beside the picture without some of them.

/** Three maps over the picture, with the ends of their scales. */
function tripleOf({ maps, scale, none }, beneath, aspect) {
  if (none) return element("p", { class: "hs-muted" }, none);
  const tiles = maps.map(({ title, source }) => element(
    "figure", { class: "hs-whatif-tile" },
    element("figcaption", {}, title),
    element("span", { class: "hs-whatif-stack", style: `aspect-ratio: ${aspect}` },
      element("img", { class: "hs-whatif-beneath", src: beneath, alt: "" }),
      element("img", { src: source, alt: title, "data-map": title.toLowerCase() })),
  ));
  const bars = scale.map(({ colours, low, high, of }) => element(
    "span", { class: "hs-whatif-scale" },
    element("span", { class: "hs-muted" }, of), element("span", {}, low),
    element("i", { style: `background-image: linear-gradient(to right, ${colours.join(", ")})` }),
    element("span", {}, high),
  ));
  return element("div", {}, element("div", { class: "hs-whatif-triple" }, ...tiles), element("div", { class: "hs-whatif-scales" }, ...bars));
}

const WHATIF_BLOCKS = {
  prediction({ title, headline, of, flips, text, rows }) {
    const bar = (share, kind) => element("i", { class: `hs-whatif-bar hs-whatif-${kind}`, style: `width: ${100 * share}%` });
    return element(
      "section", { class: "hs-whatif-prediction", "aria-label": title },
      element("h3", {}, title),
      element("p", { class: "hs-whatif-headline", title: of }, element("b", { "data-text": "what-if-change" }, headline), element("span", { class: "hs-muted" }, of)),
      element("p", { class: flips ? "hs-whatif-flips" : "hs-muted", "data-text": "what-if-flips" }, text),
      rows.length ? element(
        "table", {},
        element("thead", {}, element("tr", {}, ...["Class", "Before", "After", "Points"].map((name) => element("th", { scope: "col" }, name)))),
        element("tbody", {}, ...rows.map(({ name, before, after, texts, change, target }) => element(
          "tr", { "data-class": name, "data-target": target },
          element("th", { scope: "row", title: target ? `${name}: the target` : name },
            element("span", { class: "hs-whatif-class" }, name, target ? " ◂" : ""),
            element("span", { class: "hs-whatif-bars", "aria-hidden": "true" }, bar(before, "before"), bar(after, "after"))),
          element("td", {}, texts[0]), element("td", {}, texts[1]), element("td", {}, change),
        ))),
      ) : null,
    );
  },
  triple({ name, title, text, ...maps }, { picture, aspect }) {
    return element(
      "section", { class: `hs-whatif-${name}`, "data-block": name, "aria-label": title },
      element("h3", { title }, title), element("p", { class: "hs-muted", "data-text": `what-if-${name}` }, text),
      tripleOf(maps, picture, aspect),
    );
  },
  strip({ title, text, none, heads }, { picture, aspect, choose }) {
    const item = ({ layer, head, name, moved, maps, scale, none: lacking }) => element(
      "button", { type: "button", class: "hs-whatif-item", "data-changed": `${layer}.${head}`, title: `Choose ${name.toLowerCase()}`, "aria-label": `${name}: ${moved} of its attention goes elsewhere`, onclick: () => choose(layer, head) },
      element("span", { class: "hs-whatif-name" }, element("b", {}, name), element("span", {}, moved)),
      lacking ? element("span", { class: "hs-muted" }, lacking) : element("span", { class: "hs-whatif-triple" }, ...maps.map(({ title: of, source }) => element(
        "span", { class: "hs-whatif-stack", style: `aspect-ratio: ${aspect}` },
        element("img", { class: "hs-whatif-beneath", src: picture, alt: "" }), element("img", { src: source, alt: of }),
      ))),
      lacking ? null : element("span", { class: "hs-muted hs-whatif-end" }, `0 … ${scale[0].high} of the attention`),
    );
    return element(
      "section", { class: "hs-whatif-strip", "aria-label": title },
      element("h3", {}, title), element("p", { class: "hs-muted" }, none || text),
      element("div", { class: "hs-whatif-items" }, ...heads.map(item)),
    );
  },
};

/** Whether what is drawn is about the heads that are off now. */
function whatIfFresh(node, data) {
  const waits = data.waiting || (window.headscopeOff !== undefined && (window.headscopeOff ?? "") !== (data.off ?? ""));
  node.dataset.state = waits ? "waiting" : "ready";
  node.setAttribute("aria-busy", String(Boolean(waits)));
}

const whatIfs = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const node = parentElement.querySelector(".hs-whatif");
  node.end?.(); // each update runs this again; Streamlit ends the last one alone
  const choose = (layer, head) => setTriggerValue("choose", [layer, head]);
  const content = JSON.stringify(data.blocks);
  if (whatIfs.get(node)?.content !== content) {
    whatIfs.set(node, { content });
    node.replaceChildren(...data.blocks.map((block) => WHATIF_BLOCKS[block.kind](block, { ...data, choose })));
  }
  node.dataset.off = data.of ?? "";
  const fresh = () => whatIfFresh(node, data);
  fresh();
  window.addEventListener("headscope-off", fresh);
  node.end = () => window.removeEventListener("headscope-off", fresh);
  return node.end;
}
