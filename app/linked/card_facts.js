// What is known of the chosen head in a few words: how sure its number is, entropy, sink, pattern, and
// which heads are most like it. Python brings it for all heads at once, as the part "card".

const NO_PATTERN = -1;
const NEAREST = { map_cosine: "Nearest by maps", output_cka: "Nearest by outputs" };

/** An entry of a typed array that has a `shape`; null for what is not there. */
function factAt(array, ...place) {
  if (!array) return null;
  const at = place.reduce((sum, index, axis) => sum * array.shape[axis] + index, 0);
  const value = array[at];
  return value === undefined || Number.isNaN(value) ? null : value;
}

class Facts {
  constructor(app) {
    this.app = app;
    this.facts = new Map();
    this.node = element("div", { class: "hs-known", role: "group", "aria-label": "About this head" });
  }

  draw() {
    const { state } = this.app;
    const { layer, head } = state.head;
    const part = partStore().parts.get("card") ?? {};
    const known = state.nHeads.length && state.data.metrics.length;
    this.put("interval", this.interval(part, layer, head), known);
    this.put("entropy", this.entropy(layer, head), known);
    this.put("sink", this.sink(part, layer, head), known);
    this.put("pattern", this.pattern(part, layer, head), known);
    const similar = part.nearest?.length ? part.nearest : Object.keys(NEAREST).map((key) => ({ key, label: NEAREST[key] }));
    similar.slice(0, 2).forEach((sort, i) => this.put(`nearest-${i}`, this.nearest(sort, part, layer, head), known));
    this.app.explainer?.draw();
  }

  /** Shows a fact `{name, key, value, note, title, action, heads}` in its place; only what differs. */
  put(id, fact, known) {
    let place = this.facts.get(id);
    if (!place) {
      place = { name: element("span"), value: element("span", { class: "hs-fact-value" }), key: null };
      place.what = whatIs(this.app, () => place.key);
      place.node = element("div", { class: "hs-fact", "data-fact": id }, element("div", { class: "hs-fact-name" }, place.name, place.what), place.value);
      this.facts.set(id, place);
      this.node.append(place.node);
    }
    const shown = JSON.stringify([fact, Boolean(known)]);
    if (place.shown === shown) return;
    place.shown = shown;
    place.key = fact.key ?? null;
    place.what.hidden = !fact.key;
    place.what.setAttribute("aria-label", `What is ${fact.name}?`);
    setText(place.name, fact.name);
    place.node.title = known ? fact.title ?? "" : "";
    place.value.replaceChildren(...(known ? this.content(fact) : ["…"]));
  }

  content({ value, note, action, heads }) {
    if (heads) return heads.map((each) => this.headButton(each));
    const text = action && !this.app.state.data.offline
      ? element("button", { type: "button", class: "hs-fact-open", title: action.title, onclick: () => this.app.open({ part: action.part }) }, value)
      : element("b", {}, value);
    return note ? [text, element("span", { class: "hs-muted" }, ` ${note}`)] : [text];
  }

  headButton({ layer, head, value, unit }) {
    const button = element("button", {
      type: "button", class: "hs-fact-head", "aria-label": `Layer ${layer}, head ${head}, ${unit} ${value}`, "data-near": `${layer}.${head}`,
      onclick: (event) => {
        this.app.tooltip.hide();
        this.app.pick({ layer, head }, event);
      },
      onpointerenter: () => this.app.tooltip.overHead(button, layer, head),
      onpointerleave: () => this.app.tooltip.hide(),
    }, element("b", {}, `${layer}.${head}`), element("span", { class: "hs-muted" }, value));
    return button;
  }

  /** The mean over the images of the study, and how sure it is. */
  interval(part, layer, head) {
    const { state } = this.app;
    const { metric } = state;
    const images = state.data.n_chosen || state.data.n_images;
    const name = images > 1 ? `Mean of ${images} images, 95 %` : "On one picture";
    if (!metric) return { name, value: "–" };
    const key = metric.key;
    const mean = metric.mean[layer][head];
    if (!(images > 1)) return { name, key, value: inUnit(mean, metric), note: "no interval", title: "An interval is over images: open a study of several." };
    if (mean === null) return { name, key, value: "–", note: missing(state, metric, layer) };
    const found = part.intervals?.[key];
    const [low, high] = [factAt(found?.low, layer, head), factAt(found?.high, layer, head)];
    const n = factAt(found?.n, layer, head);
    const { times, write: figures } = ruler(low ?? mean, high ?? mean);
    if (low === null) {
      const why = !found && part.running ? "…" : found?.reason ? "too few for an interval" : "no interval";
      return { name, key, value: inUnit(mean, metric), note: why, title: found?.reason || (why === "no interval" ? "A number of all images together: none of them has one of its own." : "") };
    }
    return {
      name: `Mean of ${n} images, ${percent(found.confidence)}`, key,
      value: figures(mean),
      note: `${figures(low)} … ${figures(high)} ${times}${metric.unit}`,
      title: `${metric.label}: mean ${figures(mean)}, ${percent(found.confidence)} interval ${figures(low)} to ${figures(high)} ${times}${metric.unit} over ${n} images (${found.method}).`,
    };
  }

  entropy(layer, head) {
    const { state } = this.app;
    const [nats, share] = ["entropy", "entropy_share"].map((key) => state.data.metrics.find((each) => each.key === key));
    const value = nats ? state.valuesOf(nats)[layer][head] : null;
    const part = share ? state.valuesOf(share)[layer][head] : null;
    return {
      name: state.scope === "mean" ? "Entropy, mean" : "Entropy", key: nats ? "entropy" : null,
      value: nats ? inUnit(value, nats) : "not measured",
      note: part === null ? "" : `${percent(part)} of the most`,
    };
  }

  /** Whether one token takes attention whatever the query. */
  sink(part, layer, head) {
    const name = "Sink";
    const measured = part.measured_sinks;
    if (measured) return this.measuredSink(measured, layer, head);
    const { sinks } = part;
    const key = "sink_score";
    const token = sinks?.token[layer][head] ?? null;
    if (token === null) return { name, key: null, value: part.running && !sinks ? "…" : "not measured" };
    const [score, lift, above, fixed] = ["score", "lift", "above", "token_share"].map((field) => factAt(sinks[field], layer, head));
    const which = fixed >= 0.5 ? token : "moves with the image";
    const where = fixed >= 0.5 ? `${token} in ${percent(fixed)} of images` : "a token that moves with the image";
    const gets = `It gets ${percent(score)} of the attention${lift === null ? "" : `, ${inWords(lift)} times its share`}`;
    if (above !== null && above < 0.5) return { name, key, value: "none", note: lift === null ? "" : `most: ${inWords(lift)} × share`, title: `Most attended: ${where}. ${gets}; a sink takes more than 4 times its share in most images.` };
    const action = { part: "Sinks", title: `Most attended: ${where}. ${gets}${above === null ? "" : `, and more than 4 times in ${percent(above)} of images`}. Whether it is a sink, and what it does, the part Sinks measures: click to open it.` };
    return { name: above === null ? "Most attended" : "Sink, perhaps", key, value: which, note: `${percent(score)}${lift === null || fixed < 0.5 ? "" : `, ${inWords(lift)} × share`}`, action };
  }

  measuredSink(measured, layer, head) {
    const [name, key] = ["Sink", "sink_score"];
    const mechanism = measured.mechanism[layer]?.[head];
    const share = factAt(measured.share, layer, head);
    if (!mechanism) return { name, key: null, value: "–" };
    const title = `Looked for on ${measured.n_images} images: a sink in ${percent(share)} of them.`;
    if (mechanism === "none") return { name, key, value: "none", note: `in ${percent(1 - share)} of images`, title };
    const fixed = factAt(measured.token_share, layer, head) >= 0.5;
    const token = measured.token[layer][head];
    return {
      name, key, value: fixed ? token : "moves with the image", note: mechanism === "no-op" || mechanism === "broadcast" ? mechanism : "mixed mechanism",
      action: { part: "Sinks", title: `${title} ${fixed ? `Mostly ${token}.` : "Another token from image to image."} What it does: ${mechanism}. Click to open the part Sinks.` },
    };
  }

  pattern(part, layer, head) {
    const name = "Pattern";
    const action = { part: "Patterns", title: "Open the part Patterns" };
    const { patterns } = part;
    if (!patterns) return part.running ? { name, value: "…" } : { name, value: "not learned", action: { ...action, title: "The study has no patterns: the part Patterns learns them. Click to open it." } };
    const modal = factAt(patterns.modal, layer, head);
    const share = factAt(patterns.share, layer, head);
    if (modal === NO_PATTERN) return { name, value: "none", note: `for ${percent(share)} of its maps`, action };
    if (modal === null || modal < 0) return { name, value: "not learned", note: "for this head", action };
    return { name, value: patterns.names[modal], note: `${percent(share)} of its maps`, action: { ...action, title: `The most frequent pattern of this head: ${patterns.names[modal]}, ${percent(share)} of its maps. Click to open the part Patterns.` } };
  }

  nearest(sort, part, layer, head) {
    const { key, label, unit, heads, values } = sort;
    const name = NEAREST[key] ?? label;
    if (!heads) return { name, value: part.running ? "…" : "not measured" };
    const found = Array.from({ length: heads.shape[2] }, (_, place) => ({
      layer: factAt(heads, layer, head, place, 0), head: factAt(heads, layer, head, place, 1), value: factAt(values, layer, head, place),
    })).filter(({ value }) => value !== null).map((each) => ({ ...each, unit, value: each.value.toFixed(2).replace("-", "−") }));
    return found.length ? { name, key, heads: found } : { name, key, value: "none comparable" };
  }
}

/** A value of a metric with its unit. */
function inUnit(value, { unit }) {
  return value === null ? "–" : `${inWords(value)} ${unit}`;
}
