// Small things that every part of the component stands on: elements, numbers in words, colours.

/** An element with attributes, listeners (`onclick: …`) and children. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets text only where it differs, so that a redraw leaves the selection of a reader alone. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/**
 * How to write numbers between `low` and `high` so that they can be compared: all with the same
 * decimals (a hundredth of the range can be told apart), small ones in a power of ten of their own.
 */
function ruler(low, high) {
  const largest = Math.max(Math.abs(low), Math.abs(high));
  const power = largest > 0 && largest < 1e-3 ? Math.floor(Math.log10(largest)) : 0;
  const scale = 10 ** -power;
  const spread = (high - low || largest || 1) * scale;
  const decimals = Math.max(0, Math.min(6, Math.ceil(2 - Math.log10(spread))));
  const exponent = String(-power).replace(/\d/g, (digit) => SUPERSCRIPT[digit]);
  return {
    /** Stands before the unit. */
    times: power ? `× 10⁻${exponent} ` : "",
    write(value) {
      if (value === null || value === undefined) return "–";
      const text = Math.abs(value * scale).toFixed(decimals);
      if (Number(text) === 0) return value === 0 ? "0" : "≈ 0";
      return (value < 0 ? "−" : "") + text;
    },
  };
}

/** A number with three significant digits; an en dash where there is none. */
function inWords(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  const text = size >= 1000 ? String(Math.round(size))
    : size >= 0.001 ? String(Number(size.toPrecision(3)))
      : size.toExponential(1);
  return (value < 0 ? "−" : "") + text;
}

/** A share as a percentage. */
function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = 100 * share;
  if (value !== 0 && value < 0.01) return "< 0.01 %";
  return `${value >= 99.95 ? 100 : Number(value.toPrecision(value < 1 ? 2 : 3))} %`;
}

function ordinal(rank) {
  const tail = rank % 100 > 10 && rank % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][rank % 10] ?? "th";
  return `${rank}${tail}`;
}

/** 256 colours from a few anchors "#rrggbb", as one array of red, green and blue. */
function colourTable(anchors) {
  const points = anchors.map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i += 1) {
    const at = (i / 255) * (points.length - 1);
    const low = Math.min(Math.floor(at), points.length - 2);
    for (let c = 0; c < 3; c += 1) {
      table[3 * i + c] = Math.round(points[low][c] + (at - low) * (points[low + 1][c] - points[low][c]));
    }
  }
  return table;
}

function colourAt(table, share) {
  const i = 3 * Math.max(0, Math.min(255, Math.round(255 * share)));
  return [table[i], table[i + 1], table[i + 2]];
}

/** Ink that reads on a colour: WCAG's relative luminance, black above 0.18. */
function inkOn([red, green, blue]) {
  const linear = (v) => ((v / 255) <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) > 0.18 ? "#111" : "#fff";
}

/** A theme colour of a node as "rgb(…)": neither plotly nor a canvas knows what color-mix is. */
function themeColour(node, name) {
  const probe = element("span", { style: `color: var(${name}); display: none` });
  node.append(probe);
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  context.fillStyle = getComputedStyle(probe).color;
  context.fillRect(0, 0, 1, 1);
  probe.remove();
  return `rgb(${Array.from(context.getImageData(0, 0, 1, 1).data.slice(0, 3)).join()})`;
}

const THEME = ["ink", "paper", "muted", "line", "empty", "accent", "hop", "prefix"];

function themeColours(node) {
  return Object.fromEntries(THEME.map((name) => [name, themeColour(node, `--hs-${name}`)]));
}

function gradient(anchors) {
  return `linear-gradient(to right, ${anchors.join(", ")})`;
}

/** Makes the canvas as sharp as the screen; returns its context in CSS pixels. */
function sharp(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  return context;
}

/** A native select box of [key, label, group]; its options are replaced only when they differ. */
function fillSelect(select, options, value) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options !== wanted) {
    const groups = new Map();
    for (const [key, label, group] of options) {
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(element("option", { value: key }, label));
    }
    select.replaceChildren(...Array.from(groups, ([group, nodes]) => (
      group === undefined ? nodes : [element("optgroup", { label: group }, ...nodes)]
    )).flat());
    select.dataset.options = wanted;
  }
  const chosen = String(value);
  if (select.value !== chosen) select.value = chosen;
}

/** Two or more buttons of which one is pressed. */
function switchOf(name, label, options, onchoose) {
  const buttons = options.map(([key, text, title]) => element(
    "button",
    { type: "button", title, "data-choice": key, onclick: () => onchoose(key) },
    text,
  ));
  const node = element("div", { class: "hs-switch", role: "group", "aria-label": label, "data-switch": name }, ...buttons);
  return {
    node,
    set(key) {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.choice === key));
    },
  };
}
