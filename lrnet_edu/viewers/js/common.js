// Shared by the slice viewer and the mask painter: small helpers, and how a viewer on the page is found and started.

// A new element with the given properties ("data-", "aria-" and "role" as attributes), appended to its parent.
function make(tag, properties, parent) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(data-|aria-|role$|tabindex$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  // On what takes the focus, or JupyterLab would take its keys.
  if (element.tabIndex >= 0) element.setAttribute("data-lm-suppress-shortcuts", "true");
  parent?.append(element);
  return element;
}

function groupOf(parent, name) {
  return make("div", { className: "lrnet-group", role: "group", "aria-label": name }, parent);
}

function buttonOf(parent, text, onclick, title = "") {
  return make("button", { type: "button", textContent: text, onclick, title }, parent);
}

// A panel: its name, and a canvas with room for legends below.
function panelOf(parent, name, properties) {
  const whole = make("div", { className: "lrnet-panel" }, parent);
  make("div", { className: "lrnet-name", textContent: name }, whole);
  const box = make("div", {}, whole);
  return { whole, box, canvas: make("canvas", properties, box) };
}

// Buttons that choose which panels stand on the page; one more than `most` takes the place of the oldest.
// Returns a function that shows the chosen ones.
function chooserOf(parent, names, panels, chosen, most, changed) {
  const group = groupOf(parent, "panels");
  group.hidden = names.length < 2;
  const buttons = names.map((name, i) => buttonOf(group, name, () => {
    if (!chosen.includes(i)) chosen.push(i);
    else if (chosen.length > 1) chosen.splice(chosen.indexOf(i), 1);
    chosen.splice(0, chosen.length - most);
    changed();
  }));
  return () => panels.forEach(({ whole }, i) => {
    whole.hidden = !chosen.includes(i);
    buttons[i].setAttribute("aria-pressed", !whole.hidden);
  });
}

// Give canvases a size on the page, in whole device pixels.
function resize(box, canvases, width, height) {
  box.style.setProperty("--lrnet-wide", `${width}px`);
  for (const canvas of canvases) {
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    canvas.width = Math.max(1, Math.round(width * pixel()));
    canvas.height = Math.max(1, Math.round(height * pixel()));
  }
}

// A function that runs another one before the browser paints next, however often it is called.
function once(draw) {
  let waiting = 0;
  return () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); };
}

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const pixel = () => globalThis.devicePixelRatio || 1; // of the page, in pixels of the screen
const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

// {row, col} of the cell under the pointer.
function cellAt(event, rows, cols) {
  const area = event.currentTarget.getBoundingClientRect();
  return {
    row: clamp(Math.floor(((event.clientY - area.top) / area.height) * rows), 0, rows - 1),
    col: clamp(Math.floor(((event.clientX - area.left) / area.width) * cols), 0, cols - 1) };
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

// A number to the precision of its step, with a true minus sign.
function written(value, step) {
  const digits = Math.max(0, Math.ceil(-Math.log10(step || 1)));
  const plain = digits <= 3 && Math.abs(value) < 1e6;
  const text = plain ? value.toFixed(digits) : String(Number(value.toPrecision(4)));
  return (Number(text) === 0 ? text.replace("-", "") : text).replaceAll("-", "\u2212");
}

// Start the viewer that holds this script; where the script was moved (VS Code), every viewer not yet started.
function startAll(className, start) {
  const own = document.currentScript?.closest(`.${className}`);
  const found = own ? [own] : document.querySelectorAll(`.${className}:not([data-started])`);
  for (const root of found) {
    if (root.dataset.started) continue;
    root.dataset.started = "true";
    const meta = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    start(root, meta).catch((problem) => console.warn("lrnet_edu: the still picture stays:", problem));
  }
}
