// The slice viewer. Everything it shows came with the page: no kernel, no network.

// How a slice lies in the (z, y, x) array: the axes across, down and along it, their letters in a patient.
const VIEWS = {
  axial: { through: 0, down: 1, along: 2, letters: "ARPL" }, // top, left, bottom, right
  coronal: { through: 1, down: 0, along: 2, letters: "HRFL" },
  sagittal: { through: 2, down: 0, along: 1, letters: "HAFP" },
};

// The slice of one axis as steps through the bytes of a volume. A radiologist's view of a RAS+ array runs against
// both axes of every slice: head, front and the patient's right grow with the index, and belong to the top and left.
function layoutOf(axis, shape, radiological) {
  const view = VIEWS[axis];
  const strides = [shape[1] * shape[2], shape[2], 1];
  const rows = shape[view.down], cols = shape[view.along], sign = radiological ? -1 : 1;
  const start = radiological ? (rows - 1) * strides[view.down] + (cols - 1) * strides[view.along] : 0;
  return {
    ...view, rows, cols, count: shape[view.through], rowStep: sign * strides[view.down],
    colStep: sign * strides[view.along], first: (index) => start + index * strides[view.through],
    place: (index, row, col) => {
      const place = [0, 0, 0];
      place[view.through] = index;
      place[view.down] = radiological ? rows - 1 - row : row;
      place[view.along] = radiological ? cols - 1 - col : col;
      return place;
    },
  };
}

async function startSlices(root, meta) {
  const stream = new Blob([bytesOf(meta.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = meta.shape[0] * meta.shape[1] * meta.shape[2];
  const volumes = [meta.image, ...meta.masks, ...meta.maps]; // in the order of the payload
  volumes.forEach((volume, i) => { volume.codes = bytes.subarray(i * size, (i + 1) * size); });
  for (const map of meta.maps) {
    map.rgb = bytesOf(map.lut);
    map.words = wordsOf(map.rgb);
  }

  const kept = (globalThis.lrnetEduKept ??= {}); // a viewer drawn anew by the kernel goes on where it was
  const before = meta.keep && kept[meta.keep];
  const like = String([meta.shape, meta.level, meta.width]); // another kernel's viewer may have the same name
  const state = before && before.like === like
    ? before
    : {
      like, axis: "axial", index: { ...meta.index }, level: meta.level, width: meta.width,
      overlay: true };
  if (meta.keep) kept[meta.keep] = state;
  let pointer = null; // {row, col} of the voxel under the pointer
  const mm = meta.spacing;
  const view = () => layoutOf(state.axis, meta.shape, meta.radiological);

  // ---- what is on the page
  const stage = make("div", { className: "lrnet-stage" });
  const tools = make("div", { className: "lrnet-tools" }, stage);
  const axes = make("div", { className: "lrnet-group", role: "group", "aria-label": "slice direction" }, tools);
  const axisButtons = Object.keys(VIEWS).map((axis) =>
    make("button", { type: "button", textContent: axis, onclick: () => { state.axis = axis; changed(); } }, axes));
  const overlayButton = make("button", {
    type: "button", textContent: "overlay", title: "contours and maps on or off (key O on the slice slider)",
    onclick: () => { state.overlay = !state.overlay; changed(); } }, tools);
  if (!meta.masks.length && !meta.maps.length) overlayButton.hidden = true;
  const slider = (name, className, low, high, step) => {
    const label = make("label", { className: "lrnet-slider" }, tools);
    const text = make("span", { className: "lrnet-value" }, label);
    const input = make("input", {
      type: "range", min: low, max: high, step, className, "aria-label": name }, label);
    return { input, text };
  };
  const slice = slider("slice", "lrnet-slice", 0, 0, 1);
  const range = meta.image.high - meta.image.low;
  const grey = range / (meta.image.levels - 1);
  const lowest = Math.min(meta.image.low, meta.level); // the window may lie beside the image's values
  const highest = Math.max(meta.image.high, meta.level);
  const widest = Math.max(2 * range, meta.width);
  const level = slider(`window level in ${meta.unit}`, "lrnet-level", lowest, highest, grey);
  const width = slider(`window width in ${meta.unit}`, "lrnet-width", grey, widest, grey);
  const reset = make("button", {
    type: "button", textContent: "reset window",
    onclick: () => { state.level = meta.level; state.width = meta.width; changed(); } }, tools);
  const panelBox = make("div", { className: "lrnet-panels" }, stage);
  const readout = make("output", { className: "lrnet-readout" }, stage);

  const reference = meta.masks[0];
  const panel = (name, masks, map) => {
    const whole = make("div", { className: "lrnet-panel" }, panelBox);
    make("div", { className: "lrnet-name", textContent: name }, whole);
    const box = make("div", {}, whole);
    const canvas = make("canvas", { role: "img", "aria-label": name }, box);
    for (const { mask, dashed } of masks) {
      for (const { text, colour } of mask.legend) {
        const entry = make("span", { className: "lrnet-legend" }, box);
        const line = make("i", {}, entry);
        line.style.borderTop = `3px ${dashed ? "dashed" : "solid"} ${colour}`;
        entry.append(text);
      }
    }
    if (map) {
      const step = (map.high - map.low) / 2;
      colourBar(box, name, map.rgb).forEach((tick, i) => {
        tick.textContent = written(map.low + i * step, step / 10);
      });
    }
    return { canvas, masks, map, context: canvas.getContext("2d") };
  };
  const panels = [panel(meta.image.name, [], null)];
  for (const mask of meta.masks) {
    const behind = mask === reference ? [] : [{ mask: reference, dashed: meta.byLabel }];
    panels.push(panel(mask.name, [...behind, { mask, dashed: false }], null));
  }
  for (const map of meta.maps) {
    panels.push(panel(map.name, reference ? [{ mask: reference, dashed: false }] : [], map));
  }
  root.querySelector("img").replaceWith(stage);

  // ---- drawing
  const small = document.createElement("canvas"); // one pixel a voxel, scaled up into the panels
  const smallContext = small.getContext("2d");

  function codesOf(volume, at) { // the codes of one slice, row by row
    const out = new Uint8Array(at.rows * at.cols);
    const start = at.first(state.index[state.axis]);
    for (let row = 0, to = 0; row < at.rows; row++) {
      for (let col = 0, from = start + row * at.rowStep; col < at.cols; col++, from += at.colStep) {
        out[to++] = volume.codes[from];
      }
    }
    return out;
  }

  function greyWords() { // window and level, as one grey per code
    const low = state.level - state.width / 2;
    return Uint32Array.from({ length: 256 }, (_, code) => {
      if (code < meta.image.first) return 0xff000000; // no value
      const value = meta.image.low + (code - meta.image.first) * grey;
      const shade = Math.max(0, Math.min(255, Math.round(((value - low) / state.width) * 255)));
      return (0xff000000 | (shade << 16) | (shade << 8) | shade) >>> 0;
    });
  }

  function contours(codes, at, width, height) { // per label, the edges between its voxels and anything else
    const paths = {};
    const dx = width / at.cols, dy = height / at.rows;
    for (let row = 0, i = 0; row < at.rows; row++) {
      for (let col = 0; col < at.cols; col++, i++) {
        const label = codes[i];
        if (!label) continue;
        const path = (paths[label] ??= new Path2D());
        const left = col * dx, right = left + dx, top = row * dy, bottom = top + dy;
        if (col === 0 || codes[i - 1] !== label) { path.moveTo(left, top); path.lineTo(left, bottom); }
        if (col === at.cols - 1 || codes[i + 1] !== label) {
          path.moveTo(right, top);
          path.lineTo(right, bottom);
        }
        if (row === 0 || codes[i - at.cols] !== label) { path.moveTo(left, top); path.lineTo(right, top); }
        if (row === at.rows - 1 || codes[i + at.cols] !== label) {
          path.moveTo(left, bottom);
          path.lineTo(right, bottom);
        }
      }
    }
    return paths;
  }

  function stroke(context, paths, colours, dashed, scale) {
    context.lineCap = "square";
    for (const [label, path] of Object.entries(paths)) {
      context.setLineDash([]);
      context.lineWidth = 3.5 * scale;
      context.strokeStyle = "rgba(0, 0, 0, 0.55)"; // a dark rim keeps the line readable on bright ground
      if (!dashed) context.stroke(path);
      context.setLineDash(dashed ? [2 * scale, 3 * scale] : []);
      context.lineWidth = 1.75 * scale;
      context.strokeStyle = colours[label];
      context.stroke(path);
    }
  }

  function draw() {
    const at = view();
    const scale = globalThis.devicePixelRatio || 1;
    const greys = greyWords();
    const shown = new Map(volumes.map((volume) => [volume, codesOf(volume, at)]));
    const { width, height } = panels[0].canvas;
    const outlined = state.overlay ? meta.masks : [];
    const outlines = new Map(outlined.map((mask) => [mask, contours(shown.get(mask), at, width, height)]));
    const picture = smallContext.createImageData(at.cols, at.rows);
    const words = new Uint32Array(picture.data.buffer);
    const base = Uint32Array.from(shown.get(meta.image), (code) => greys[code]);
    small.width = at.cols;
    small.height = at.rows;
    for (const { context, masks, map } of panels) {
      words.set(base);
      if (map && state.overlay) {
        const codes = shown.get(map);
        for (let i = 0; i < words.length; i++) {
          if (codes[i] < map.visible) continue;
          words[i] = map.words[Math.round(((codes[i] - map.first) * 255) / (map.levels - 1))];
        }
      }
      smallContext.putImageData(picture, 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, width, height);
      for (const { mask, dashed } of state.overlay ? masks : []) {
        stroke(context, outlines.get(mask), mask.colours, dashed, scale);
      }
      context.setLineDash([]);
      if (meta.radiological) mark(context, at.letters, scale);
      if (pointer) {
        cross(context, ((pointer.col + 0.5) / at.cols) * width, ((pointer.row + 0.5) / at.rows) * height, scale);
      }
    }
    read(at, shown);
  }

  function mark(context, letters, scale) { // which side of the patient is which: top, left, bottom, right
    const { width, height } = context.canvas;
    context.font = `600 ${11 * scale}px system-ui, sans-serif`;
    context.lineWidth = 3 * scale;
    context.strokeStyle = "rgba(0, 0, 0, 0.7)";
    context.fillStyle = "#fff";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const inset = 9 * scale;
    const sides = [[width / 2, inset], [inset, height / 2], [width / 2, height - inset], [width - inset, height / 2]];
    sides.forEach(([x, y], i) => {
      context.strokeText(letters[i], x, y);
      context.fillText(letters[i], x, y);
    });
  }

  function cross(context, x, y, scale) { // the same voxel in every panel
    context.lineWidth = scale;
    context.strokeStyle = "rgba(255, 255, 255, 0.6)";
    context.beginPath();
    for (const [near, far] of [[6, 14], [-6, -14]]) {
      context.moveTo(x + near * scale, y);
      context.lineTo(x + far * scale, y);
      context.moveTo(x, y + near * scale);
      context.lineTo(x, y + far * scale);
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
      const code = shown.get(volume)[i];
      const step = (volume.high - volume.low) / (volume.levels - 1);
      if (code < volume.first) return "no value";
      const lowest = code === volume.first, highest = code === volume.first + volume.levels - 1;
      const end = lowest && volume.below ? "\u2264 " : highest && volume.above ? "\u2265 " : "";
      return end + written(volume.low + (code - volume.first) * step, step) + unit;
    };
    const parts = place.map((at, axis) => `${"zyx"[axis]} ${at * meta.stride[axis]}`);
    parts.push(value(meta.image, meta.unit && ` ${meta.unit}`));
    for (const mask of meta.masks) parts.push(`${mask.name}: ${mask.labels[shown.get(mask)[i]]}`);
    for (const map of meta.maps) parts.push(`${map.name}: ${value(map, "")}`);
    readout.textContent = parts.join("  \u00b7  ");
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  function fit() { // the true aspect, in whole device pixels, no panel higher than 480
    const at = view();
    const aspect = (at.cols * mm[at.along]) / (at.rows * mm[at.down]);
    const scale = globalThis.devicePixelRatio || 1;
    const room = panels[0].canvas.parentElement.clientWidth; // all panels are as wide
    if (!room) return; // not laid out yet: the observer calls again
    const wide = Math.max(1, Math.min(room, 480 * aspect));
    panelBox.style.setProperty("--lrnet-wide", `${wide}px`);
    for (const { canvas } of panels) {
      canvas.style.width = `${wide}px`;
      canvas.style.height = `${wide / aspect}px`;
      canvas.width = Math.max(1, Math.round(wide * scale));
      canvas.height = Math.max(1, Math.round((wide / aspect) * scale));
    }
    draw();
  }

  // ---- changes
  let fitted = null;
  function changed() {
    const at = view();
    state.index[state.axis] = Math.max(0, Math.min(at.count - 1, state.index[state.axis]));
    const index = state.index[state.axis];
    const place = `${"zyx"[at.through]} = ${index * meta.stride[at.through]}`;
    slice.input.max = at.count - 1;
    slice.input.value = index;
    slice.input.setAttribute("aria-label", `${state.axis} slice`);
    slice.input.setAttribute("aria-valuetext", `${place}, slice ${index + 1} of ${at.count}`);
    slice.text.textContent = `slice ${index + 1} of ${at.count} (${place}, ${written(index * mm[at.through], 0.1)} mm)`;
    level.input.value = state.level;
    width.input.value = state.width;
    level.text.textContent = `level ${written(state.level, grey)} ${meta.unit}`;
    width.text.textContent = `width ${written(state.width, grey)} ${meta.unit}`;
    axisButtons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === state.axis));
    overlayButton.setAttribute("aria-pressed", state.overlay);
    reset.disabled = state.level === meta.level && state.width === meta.width;
    if (fitted !== state.axis) { fitted = state.axis; pointer = null; fit(); } else redraw();
  }
  const go = (index) => { state.index[state.axis] = index; changed(); };
  slice.input.addEventListener("input", () => go(Number(slice.input.value)));
  slice.input.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "o" && !event.ctrlKey && !event.metaKey) overlayButton.click();
  });
  level.input.addEventListener("input", () => { state.level = Number(level.input.value); changed(); });
  width.input.addEventListener("input", () => { state.width = Number(width.input.value); changed(); });

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
      from = {
        x: event.clientX, y: event.clientY, level: state.level, width: state.width,
        index: state.index[state.axis] };
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = view();
      const box = canvas.getBoundingClientRect();
      const inside = (value, count) => Math.max(0, Math.min(count - 1, Math.floor(value * count)));
      pointer = {
        row: inside((event.clientY - box.top) / box.height, at.rows),
        col: inside((event.clientX - box.left) / box.width, at.cols) };
      if (from && event.pointerType === "touch") { // a finger moves through the slices, sideways
        go(from.index + Math.round((event.clientX - from.x) / 6));
      } else if (from) { // a mouse moves the window: sideways its width, up and down its level
        state.width = Math.max(grey, Math.min(widest, from.width + ((event.clientX - from.x) * range) / 300));
        const wanted = from.level + ((from.y - event.clientY) * range) / 300;
        state.level = Math.max(lowest, Math.min(highest, wanted));
        changed();
      } else redraw();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("pointerleave", () => { pointer = null; redraw(); });
  }
  new ResizeObserver(fit).observe(panelBox);
  changed();
}

startAll("lrnet-slices", startSlices);
