// Shared by the slice viewer and the mask painter: small helpers, and how a viewer on the page is found and started.

// A new element with the given properties ("data-", "aria-" and "role" as attributes), appended to its parent.
function make(tag, properties, parent) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(data-|aria-|role$|tabindex$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  // JupyterLab would take the keys for itself: the attribute has to stand on the focused element.
  if (tag === "button" || tag === "input" || "tabindex" in properties) {
    element.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  if (parent) parent.append(element);
  return element;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// 256 RGB triples to what an ImageData holds as 32-bit words (little-endian ABGR).
function wordsOf(rgb) {
  return Uint32Array.from({ length: rgb.length / 3 }, (_, i) =>
    ((255 << 24) | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i]) >>> 0);
}

// The colour scale of one map: a gradient with its ends and its middle written below; returns the three labels.
function colourBar(parent, name, rgb) {
  const stops = Array.from({ length: 17 }, (_, i) => 3 * Math.round((i * 255) / 16))
    .map((at) => `rgb(${rgb[at]}, ${rgb[at + 1]}, ${rgb[at + 2]})`);
  const bar = make("div", { className: "lrnet-bar", role: "img", "aria-label": `colour scale of ${name}` }, parent);
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  const ticks = make("div", { className: "lrnet-ticks" }, parent);
  return [0, 1, 2].map(() => make("span", {}, ticks));
}

// A number to the precision of its step; the minus sign is a hyphen nowhere.
function written(value, step) {
  const digits = Math.max(0, Math.min(3, Math.ceil(-Math.log10(step || 1))));
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
}

// Start the viewer that holds this script; where the script was moved (VS Code), every viewer not yet started.
function startAll(className, start) {
  const own = document.currentScript && document.currentScript.closest(`.${className}`);
  const found = own ? [own] : document.querySelectorAll(`.${className}:not([data-started])`);
  for (const root of found) {
    if (root.dataset.started) continue;
    root.dataset.started = "true";
    const meta = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    start(root, meta).catch((problem) => console.warn("lrnet_edu: the still picture stays:", problem));
  }
}
