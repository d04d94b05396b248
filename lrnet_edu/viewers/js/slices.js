// The slice viewer. Everything it shows came with the page: no kernel, no network.

const TALLEST = 560; // pixels of a panel
const THICK = 3; // pixels of a contour
const DRAG = 300; // pixels of a drag that moves the window by the whole range

// How a slice lies in the (z, y, x) array: the axes across, down and along it, and the patient's sides at its top,
// left, bottom and right.
const VIEWS = {
  axial: { through: 0, down: 1, along: 2, letters: "ARPL" },
  coronal: { through: 1, down: 0, along: 2, letters: "HRFL" },
  sagittal: { through: 2, down: 0, along: 1, letters: "HAFP" },
};

// The part of a slice within a box, as steps through the bytes of a volume. A radiologist's view of a RAS+ array runs
// against both axes of every slice: head, front and the patient's right grow with the index, and belong to the top
// and left.
function layoutOf(axis, meta, box) {
  const view = VIEWS[axis], { through, down, along } = view;
  const strides = [meta.shape[1] * meta.shape[2], meta.shape[2], 1];
  const sign = meta.radiological ? -1 : 1;
  const start = (i) => (meta.radiological ? box[i][1] - 1 : box[i][0]);
  return {
    ...view, rows: box[down][1] - box[down][0], cols: box[along][1] - box[along][0], count: meta.shape[through],
    first: (index) => index * strides[through] + start(down) * strides[down] + start(along) * strides[along],
    rowStep: sign * strides[down], colStep: sign * strides[along],
    place: (index, row, col) => Object.values( // (z, y, x)
      { [through]: index, [down]: start(down) + sign * row, [along]: start(along) + sign * col }),
  };
}

function codesOf(volume, at, index) { // the codes of one slice, row by row
  const out = new Uint8Array(at.rows * at.cols);
  for (let row = 0, to = 0; row < at.rows; row++) {
    let from = at.first(index) + row * at.rowStep;
    for (let col = 0; col < at.cols; col++, from += at.colStep) out[to++] = volume.codes[from];
  }
  return out;
}

// Per label a path that follows its voxels on the outside, so that the rim stays in sight. Where two labels meet, the
// line of the higher one lies on the lower one. Dashes leave out the ends of every voxel's edge.
function contours(codes, { rows, cols }, width, height, thick, dashed) {
  const paths = {}, dx = width / cols, dy = height / rows, cut = dashed ? 0.25 : 0;
  const code = (row, col) => (row < 0 || col < 0 || row >= rows || col >= cols ? 255 : codes[row * cols + col]);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, i++) {
      const label = codes[i];
      if (!label) continue;
      const path = (paths[label] ??= new Path2D());
      const x = col * dx, y = row * dy;
      for (const side of [-1, 1]) {
        const left = side < 0 ? x - thick : x + dx, top = side < 0 ? y - thick : y + dy;
        const beside = code(row, col + side) < label, above = code(row + side, col) < label;
        if (beside) path.rect(left, y + cut * dy, thick, (1 - 2 * cut) * dy);
        if (above) path.rect(x + cut * dx, top, (1 - 2 * cut) * dx, thick);
        for (const other of dashed || !beside ? [] : [-1, 1]) { // corners
          if (code(row + other, col) < label && code(row + other, col + side) < label) {
            path.rect(left, other < 0 ? y - thick : y + dy, thick, thick);
          }
        }
      }
    }
  }
  return paths;
}

async function startSlices(root, meta) {
  const stream = new Blob([bytesOf(meta.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = meta.shape[0] * meta.shape[1] * meta.shape[2];
  const volumes = [meta.image, ...meta.masks, ...meta.maps]; // in the order of the payload
  volumes.forEach((volume, i) => { volume.codes = bytes.subarray(i * size, (i + 1) * size); });
  for (const map of meta.maps) {
    const rgb = map.rgb = bytesOf(map.lut);
    map.words = Uint32Array.from({ length: 256 }, (_, i) => // what an ImageData holds: little-endian ABGR
      (0xff000000 | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i]) >>> 0);
  }

  const kept = (globalThis.lrnetEduKept ??= {}); // a viewer drawn anew by the kernel goes on where it was
  const like = String([meta.shape, meta.low, meta.high]); // another kernel's viewer may have the same name
  let state = meta.keep && kept[meta.keep];
  if (!state || state.like !== like) {
    const { low, high, panels: chosen } = meta;
    state = { like, axis: "axial", index: { ...meta.index }, low, high, chosen, overlay: true, whole: false };
  }
  state.chosen = state.chosen.filter((i) => i < volumes.length);
  if (!state.chosen.length) state.chosen = meta.panels;
  if (meta.keep) kept[meta.keep] = state;
  let pointer = null; // {row, col} of the voxel under the pointer
  const everything = meta.shape.map((n) => [0, n]);
  const view = () => layoutOf(state.axis, meta, state.whole ? everything : meta.box);
  const shownCodes = (volume) => codesOf(volume, view(), state.index[state.axis]);

  // ---- what is on the page
  const stage = make("div", { className: "lrnet-stage" });
  const tools = make("div", { className: "lrnet-tools" }, stage);
  const axes = groupOf(tools, "slice direction");
  const axisButtons = Object.keys(VIEWS).map((axis) =>
    buttonOf(axes, axis, () => { state.axis = axis; changed(); }));
  const wholeButton = buttonOf(tools, "whole slice", () => { state.whole = !state.whole; changed(); },
    "the whole slice, or the surroundings of the first mask (key W on the slice slider)");
  wholeButton.hidden = String(meta.box) === String(everything);
  const overlayButton = buttonOf(tools, "overlay", () => { state.overlay = !state.overlay; changed(); },
    "contours and maps on or off (key O on the slice slider)");
  overlayButton.hidden = volumes.length === 1;
  const slider = (name, className, min, max, step) => {
    const label = make("label", { className: "lrnet-slider" }, tools);
    const text = make("span", { className: "lrnet-value" }, label);
    return { text, input: make("input", { type: "range", min, max, step, className, "aria-label": name }, label) };
  };
  const slice = slider("slice", "lrnet-slice", 0, 0, 1);
  const grey = (meta.image.high - meta.image.low) / (meta.image.levels - 1);
  const lowest = Math.min(meta.image.low, meta.low); // the window may lie beside the image's values
  const highest = Math.max(meta.image.high, meta.high);
  const black = slider(`black, ${meta.unit}`, "lrnet-low", lowest, highest, grey);
  const white = slider(`white, ${meta.unit}`, "lrnet-high", lowest, highest, grey);
  const reset = buttonOf(tools, "reset window", () => setWindow(meta.low, meta.high));
  const choice = make("div", { className: "lrnet-tools" }, stage);
  const panelBox = make("div", { className: "lrnet-panels" }, stage);
  const readout = make("output", { className: "lrnet-readout" }, stage);

  const reference = meta.masks.slice(0, 1);
  const panels = volumes.map((volume) => {
    const map = meta.maps.includes(volume) ? volume : null;
    const masks = volume === meta.image ? [] : map ? reference : [...new Set([...reference, volume])];
    const panel = panelOf(panelBox, volume.name, { role: "img", "aria-label": volume.name });
    const outlined = masks.map((mask) => { // under another mask's line a wider or, in the same colours, a dashed one
      const under = !map && mask !== volume, byLabel = mask.labels.length > 2;
      return { mask, byLabel, thick: under && !byLabel ? THICK + 2 : THICK, dashed: under && byLabel, notes: [] };
    });
    for (const { mask, byLabel, dashed, notes } of outlined) {
      for (const [code, colour] of Object.entries(mask.colours)) {
        const entry = make("span", { className: "lrnet-legend" }, panel.box);
        make("i", {}, entry).style.borderTop = `${THICK}px ${dashed ? "dashed" : "solid"} ${colour}`;
        entry.append(byLabel ? `${mask.name} ${mask.labels[code]}` : mask.name);
      }
      if (mask === volume) notes.push(make("div", { className: "lrnet-beyond" }, panel.box));
    }
    if (map) {
      const step = (map.high - map.low) / 2;
      colourBar(panel.box, map.name, map.rgb).forEach((tick, i) => {
        tick.textContent = written(map.low + i * step, step / 10);
      });
    }
    return { ...panel, outlined, map, context: panel.canvas.getContext("2d") };
  });
  const showChosen = chooserOf(choice, volumes.map(({ name }) => name), panels, state.chosen, 3, () => changed());
  root.querySelector("img").replaceWith(stage);

  // ---- drawing
  const small = make("canvas", {}); // one pixel a voxel, scaled up into the panels
  const smallContext = small.getContext("2d");

  function draw() {
    const at = view(), shown = new Map(volumes.map((volume) => [volume, shownCodes(volume)]));
    const greys = Uint32Array.from({ length: 256 }, (_, code) => { // the window, as one grey per code
      const value = meta.image.low + (code - meta.image.first) * grey;
      const shade = code < meta.image.first ? 0 : clamp(255 * (value - state.low) / (state.high - state.low), 0, 255);
      return (0xff000000 | (Math.round(shade) * 0x010101)) >>> 0;
    });
    const base = Uint32Array.from(shown.get(meta.image), (code) => greys[code]);
    const picture = smallContext.createImageData(at.cols, at.rows);
    const words = new Uint32Array(picture.data.buffer);
    small.width = at.cols;
    small.height = at.rows;
    for (const { whole, canvas, context, outlined, map } of panels) {
      if (whole.hidden) continue;
      words.set(base);
      if (map && state.overlay) {
        shown.get(map).forEach((code, i) => {
          if (code >= map.visible) words[i] = map.words[Math.round(((code - map.first) * 255) / (map.levels - 1))];
        });
      }
      smallContext.putImageData(picture, 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      for (const { mask, thick, dashed } of state.overlay ? outlined : []) {
        outline(context, shown.get(mask), at, mask.colours, thick, dashed);
      }
      if (meta.radiological) mark(context, at.letters);
      if (pointer) cross(context, (pointer.col + 0.5) / at.cols, (pointer.row + 0.5) / at.rows);
    }
    read(at, shown);
  }

  // A line with a dark edge on either side, which keeps it readable on bright ground and bright maps.
  function outline(context, codes, at, colours, thick, dashed) {
    const { width, height } = context.canvas;
    const layers = dashed ? [[thick, false]] : [[thick + 2, true], [thick + 1, false], [1, true]];
    for (const [reach, dark] of layers) {
      const paths = contours(codes, at, width, height, reach * pixel(), dashed);
      for (const [label, path] of Object.entries(paths)) {
        context.fillStyle = dark ? "rgba(0, 0, 0, 0.6)" : colours[label];
        context.fill(path);
      }
    }
  }

  function mark(context, letters) { // which side of the patient is which: top, left, bottom, right
    const { width, height } = context.canvas, inset = 10 * pixel();
    Object.assign(context, {
      font: `600 ${13 * pixel()}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle",
      lineWidth: 3 * pixel(), strokeStyle: "rgba(0, 0, 0, 0.7)", fillStyle: "#fff" });
    const sides = [[width / 2, inset], [inset, height / 2], [width / 2, height - inset], [width - inset, height / 2]];
    sides.forEach(([x, y], i) => {
      context.strokeText(letters[i], x, y);
      context.fillText(letters[i], x, y);
    });
  }

  function cross(context, right, down) { // the same voxel in every panel
    const x = right * context.canvas.width, y = down * context.canvas.height;
    context.lineWidth = pixel();
    context.strokeStyle = "rgba(255, 255, 255, 0.6)";
    context.beginPath();
    for (const side of [-pixel(), pixel()]) {
      context.moveTo(x + 6 * side, y);
      context.lineTo(x + 14 * side, y);
      context.moveTo(x, y + 6 * side);
      context.lineTo(x, y + 14 * side);
    }
    context.stroke();
  }

  function read(at, shown) { // the values under the pointer, to the step of their 256 levels
    if (!pointer) {
      readout.textContent = "Point at a voxel to read its values; drag there to change the window.";
      return;
    }
    const i = pointer.row * at.cols + pointer.col;
    const place = at.place(state.index[state.axis], pointer.row, pointer.col);
    const value = (volume, unit) => {
      const code = shown.get(volume)[i], last = volume.first + volume.levels - 1;
      const step = (volume.high - volume.low) / (volume.levels - 1);
      if (code < volume.first) return "no value";
      const beyond = code === volume.first && volume.below ? "\u2264 " : code === last && volume.above ? "\u2265 " : "";
      return beyond + written(volume.low + (code - volume.first) * step, step) + unit;
    };
    const parts = place.map((voxel, axis) => `${"zyx"[axis]} ${voxel * meta.stride[axis]}`);
    parts.push(value(meta.image, meta.unit && ` ${meta.unit}`));
    for (const mask of meta.masks) parts.push(`${mask.name}: ${mask.labels[shown.get(mask)[i]]}`);
    for (const map of meta.maps) parts.push(`${map.name}: ${value(map, "")}`);
    readout.textContent = parts.join("  \u00b7  ");
  }

  const redraw = once(draw);

  function fit() { // the true aspect
    const at = view();
    const aspect = (at.cols * meta.spacing[at.along]) / (at.rows * meta.spacing[at.down]);
    const room = Math.max(...panels.map(({ box }) => box.clientWidth)); // all shown panels are as wide
    if (!room) return; // not laid out yet: the observer calls again
    const wide = Math.max(1, Math.min(room, TALLEST * aspect));
    resize(panelBox, panels.map(({ canvas }) => canvas), wide, wide / aspect);
    draw();
  }

  // ---- changes
  let fitted = null;
  function changed() {
    const at = view();
    const index = state.index[state.axis] = clamp(state.index[state.axis], 0, at.count - 1);
    const place = `${"zyx"[at.through]} = ${index * meta.stride[at.through]}`;
    Object.assign(slice.input, { max: at.count - 1, value: index });
    slice.input.setAttribute("aria-label", `${state.axis} slice`);
    slice.input.setAttribute("aria-valuetext", `${place}, slice ${index + 1} of ${at.count}`);
    const mm = written(index * meta.spacing[at.through], 0.1);
    slice.text.textContent = `slice ${index + 1} of ${at.count} (${place}, ${mm} mm)`;
    black.input.value = state.low;
    white.input.value = state.high;
    black.text.textContent = `black ${written(state.low, grey)} ${meta.unit}`;
    white.text.textContent = `white ${written(state.high, grey)} ${meta.unit}`;
    axisButtons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === state.axis));
    wholeButton.setAttribute("aria-pressed", state.whole);
    overlayButton.setAttribute("aria-pressed", state.overlay);
    reset.disabled = state.low === meta.low && state.high === meta.high;
    for (const { mask, notes } of panels.flatMap(({ outlined }) => outlined)) {
      notes.forEach((note) => { note.textContent = beyond(mask); });
    }
    showChosen();
    const layout = String([state.axis, state.whole, state.chosen]);
    if (fitted !== layout) { fitted = layout; pointer = null; fit(); } else redraw();
  }
  function beyond(mask) { // what of a mask this slice holds beside the part that is shown
    const count = (codes) => codes.reduce((sum, code) => sum + (code > 0), 0);
    const all = codesOf(mask, layoutOf(state.axis, meta, everything), state.index[state.axis]);
    const hidden = count(all) - count(shownCodes(mask));
    return hidden ? `${hidden} voxels outside this view` : "";
  }
  const go = (index) => { state.index[state.axis] = index; changed(); };
  function setWindow(low, high) {
    state.low = clamp(low, lowest, highest - grey);
    state.high = clamp(high, state.low + grey, highest);
    changed();
  }
  slice.input.addEventListener("input", () => go(Number(slice.input.value)));
  slice.input.addEventListener("keydown", (event) => {
    const button = { o: overlayButton, w: wholeButton }[event.key.toLowerCase()];
    if (button && !event.ctrlKey && !event.metaKey) button.click();
  });
  black.input.addEventListener("input", () => setWindow(Math.min(Number(black.input.value), state.high - grey), state.high));
  white.input.addEventListener("input", () => setWindow(state.low, Number(white.input.value)));

  let turned = 0;
  panelBox.addEventListener("wheel", (event) => { // at either end the page scrolls on
    if (event.target.tagName !== "CANVAS" || event.ctrlKey || !event.deltaY) return;
    const next = state.index[state.axis] + Math.sign(event.deltaY);
    if (next < 0 || next >= view().count) return;
    event.preventDefault();
    turned += event.deltaMode === 0 ? event.deltaY : 40 * event.deltaY;
    if (Math.abs(turned) >= 40) { turned = 0; go(next); }
  }, { passive: false });

  for (const { canvas } of panels) {
    let from = null; // where a drag began
    canvas.addEventListener("pointerdown", (event) => {
      slice.input.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      from = { x: event.clientX, y: event.clientY, low: state.low, high: state.high, index: state.index[state.axis] };
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = view();
      pointer = cellAt(event, at.rows, at.cols);
      if (from && event.pointerType === "touch") { // a finger moves through the slices, sideways
        go(from.index + Math.round((event.clientX - from.x) / 6));
      } else if (from) { // a mouse moves the window: sideways it becomes wider, up brighter values come in sight
        const wider = ((event.clientX - from.x) * (highest - lowest)) / DRAG / 2;
        const up = ((from.y - event.clientY) * (highest - lowest)) / DRAG;
        setWindow(Math.min(from.low - wider + up, from.high + wider + up - grey), from.high + wider + up);
      } else redraw();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("pointerleave", () => { pointer = null; redraw(); });
  }
  new ResizeObserver(fit).observe(panelBox);
  changed();
}

startAll("lrnet-slices", startSlices);
