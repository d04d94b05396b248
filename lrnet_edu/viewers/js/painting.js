// The mask painter: a small grid to paint on, and the four maps of the painted mask, computed on the page.
// The maps are the definitions of lrnet_edu.distance_maps written out for a small grid, in unit voxels.

const EMPTY = "#1B1B1B"; // the colour of background

// Distance from every cell of a list to the nearest cell of another list.
function nearest(from, to, width) {
  return from.map((i) => {
    const row = Math.floor(i / width), col = i % width;
    let best = Infinity;
    for (const j of to) {
      const down = Math.floor(j / width) - row, right = (j % width) - col;
      best = Math.min(best, down * down + right * right);
    }
    return Math.sqrt(best);
  });
}

// Component numbers from 1, all eight neighbours connected; 0 is background.
function components(mask, height, width) {
  const labels = new Int32Array(mask.length);
  let count = 0;
  for (let seed = 0; seed < mask.length; seed++) {
    if (!mask[seed] || labels[seed]) continue;
    labels[seed] = ++count;
    for (const todo = [seed]; todo.length;) {
      const at = todo.pop(), row = Math.floor(at / width), col = at % width;
      for (let r = Math.max(0, row - 1); r <= Math.min(height - 1, row + 1); r++) {
        for (let c = Math.max(0, col - 1); c <= Math.min(width - 1, col + 1); c++) {
          const next = r * width + c;
          if (mask[next] && !labels[next]) { labels[next] = count; todo.push(next); }
        }
      }
    }
  }
  return labels;
}

function mapsOf(mask, height, width) {
  const cells = [...mask.keys()], labels = components(mask, height, width);
  const inside = cells.filter((i) => mask[i]), outside = cells.filter((i) => !mask[i]);
  const maps = {};
  for (const kind of ["O-DM", "I-DM", "NI-DM", "SNI-DM"]) maps[kind] = new Float32Array(mask.length);
  // A full grid has no background: one layer around it stands in.
  const toEdge = (row, col) => Math.min(row + 1, col + 1, height - row, width - col);
  const distance = outside.length ? nearest(inside, outside, width)
    : inside.map((i) => toEdge(Math.floor(i / width), i % width));
  const largest = [], smallest = []; // of each component
  inside.forEach((i, k) => {
    largest[labels[i]] = Math.max(largest[labels[i]] ?? 0, distance[k]);
    smallest[labels[i]] = Math.min(smallest[labels[i]] ?? Infinity, distance[k]);
  });
  inside.forEach((i, k) => {
    const inverse = largest[labels[i]] + smallest[labels[i]] - distance[k];
    maps["O-DM"][i] = distance[k];
    maps["I-DM"][i] = inverse;
    maps["NI-DM"][i] = maps["SNI-DM"][i] = inverse / largest[labels[i]];
  });
  const away = inside.length ? nearest(outside, inside, width) : outside.map(() => 1);
  const farthest = away.reduce((a, b) => Math.max(a, b), 0);
  outside.forEach((i, k) => { maps["SNI-DM"][i] = -away[k] / farthest; });
  return { maps, labels };
}

async function startPainting(root, meta) {
  const height = meta.rows.length, width = meta.rows[0].length;
  const read = (rows) => Uint8Array.from(rows.flat());
  let mask = read(meta.rows), maps, labels;
  let erasing = false, reach = 0; // of the brush, in cells to each side
  let cursor = { row: Math.floor(height / 2), col: Math.floor(width / 2) };

  // ---- what is on the page
  const stage = make("div", { className: "lrnet-stage" });
  const tools = (name) => groupOf(make("div", { className: "lrnet-tools" }, stage), name);
  const shapes = tools("start from a shape");
  for (const [name, rows] of Object.entries(meta.presets)) {
    buttonOf(shapes, name, () => { mask = read(rows); changed(); });
  }
  const brushes = tools("brush");
  const paintButton = buttonOf(brushes, "paint", () => { erasing = false; changed(); });
  const eraseButton = buttonOf(brushes, "erase", () => { erasing = true; changed(); });
  const wideButton = buttonOf(brushes, "wide brush", () => { reach = 1 - reach; changed(); });
  const choice = make("div", { className: "lrnet-tools" }, stage);
  const box = make("div", { className: "lrnet-panels" }, stage);
  const grid = panelOf(box, "mask: paint here", {
    className: "lrnet-grid", role: "application", tabindex: 0,
    "aria-label": `mask of ${height} by ${width} cells: arrow keys move, space paints or erases, `
      + "with shift the arrows paint" });
  const shown = meta.maps.map(({ kind, title, signed, lut }) => {
    const panel = panelOf(box, title, { role: "img", "aria-label": `${kind} of the mask` });
    const rgb = bytesOf(lut);
    return { ...panel, kind, signed, rgb, ticks: colourBar(panel.box, kind, rgb) };
  });
  const chosen = [0, 2]; // the maps beside the grid at first
  const showChosen = chooserOf(choice, meta.maps.map(({ kind }) => kind), shown, chosen, 2, () => changed());
  const readout = make("output", { className: "lrnet-readout", "aria-live": "polite" }, stage);
  const details = make("details", {}, stage);
  make("summary", { textContent: "this mask as Python", tabindex: 0 }, details);
  const code = make("pre", {}, details);
  root.querySelector("img").replaceWith(stage);

  // ---- drawing
  function draw() {
    const scale = pixel(), room = grid.box.clientWidth;
    if (!room) return;
    const cell = Math.max(1, Math.floor((Math.min(room, 480) * scale) / Math.max(width, height))); // whole pixels
    resize(box, [grid, ...shown].map(({ canvas }) => canvas), (cell * width) / scale, (cell * height) / scale);
    const fill = (canvas, colourOf) => {
      const context = canvas.getContext("2d");
      for (let i = 0; i < mask.length; i++) {
        context.fillStyle = colourOf(i);
        context.fillRect((i % width) * cell, Math.floor(i / width) * cell, cell, cell);
      }
      return context;
    };
    const context = fill(grid.canvas, (i) => (mask[i] ? meta.objectColour : EMPTY));
    context.strokeStyle = "rgba(160, 160, 160, 0.35)";
    context.lineWidth = 1;
    for (let k = 1; k < width; k++) context.strokeRect(k * cell + 0.5, 0, 0, cell * height);
    for (let k = 1; k < height; k++) context.strokeRect(0, k * cell + 0.5, cell * width, 0);
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * scale;
    context.strokeRect(cursor.col * cell, cursor.row * cell, cell, cell);
    for (const { kind, signed, canvas, rgb, ticks } of shown) {
      const values = maps[kind], low = signed ? -1 : 0;
      const high = values.reduce((a, b) => Math.max(a, b), 1);
      const colour = (value) => {
        const at = 3 * Math.round(((value - low) / (high - low)) * 255);
        return `rgb(${rgb[at]}, ${rgb[at + 1]}, ${rgb[at + 2]})`;
      };
      fill(canvas, (i) => (!signed && values[i] === 0 ? EMPTY : colour(values[i])));
      ticks.forEach((tick, k) => { tick.textContent = written(low + (k * (high - low)) / 2, 0.05); });
    }
  }

  function say() {
    const i = cursor.row * width + cursor.col;
    const where = mask[i] ? `object, component ${labels[i]}` : "background";
    const values = shown.map(({ kind }) => `${kind} ${written(maps[kind][i], 0.001)}`);
    readout.textContent = [`row ${cursor.row}, column ${cursor.col}: ${where}`, ...values].join("  \u00b7  ");
  }

  function changed() {
    ({ maps, labels } = mapsOf(mask, height, width));
    paintButton.setAttribute("aria-pressed", !erasing);
    eraseButton.setAttribute("aria-pressed", erasing);
    wideButton.setAttribute("aria-pressed", reach > 0);
    const rowText = (_, row) => `    "${mask.subarray(row * width, (row + 1) * width).join("")}",`;
    const rows = Array.from({ length: height }, rowText);
    code.textContent = `mask = np.array([[int(cell) for cell in row] for row in [\n${rows.join("\n")}\n]])`;
    showChosen();
    draw();
    say();
  }

  // ---- changes
  function set(row, col, value) {
    for (let r = Math.max(0, row - reach); r <= Math.min(height - 1, row + reach); r++) {
      for (let c = Math.max(0, col - reach); c <= Math.min(width - 1, col + reach); c++) mask[r * width + c] = value;
    }
  }
  const redraw = once(draw);
  const pointAt = (event) => { cursor = cellAt(event, height, width); say(); redraw(); };
  let painting = false;
  grid.canvas.addEventListener("pointerdown", (event) => {
    grid.canvas.focus({ preventScroll: true });
    grid.canvas.setPointerCapture(event.pointerId);
    painting = true;
    stroke(event, cellAt(event, height, width));
  });
  grid.canvas.addEventListener("pointermove", (event) => (painting ? stroke(event, cursor) : pointAt(event)));
  function stroke(event, from) { // a quick one leaves no gap
    cursor = cellAt(event, height, width);
    const down = cursor.row - from.row, right = cursor.col - from.col;
    const steps = Math.max(1, Math.abs(down), Math.abs(right));
    for (let k = 0; k <= steps; k++) {
      set(from.row + Math.round((down * k) / steps), from.col + Math.round((right * k) / steps), erasing ? 0 : 1);
    }
    changed();
  }
  for (const end of ["pointerup", "pointercancel"]) grid.canvas.addEventListener(end, () => { painting = false; });
  for (const { canvas } of shown) canvas.addEventListener("pointermove", pointAt);
  grid.canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      cursor = { row: clamp(cursor.row + step[0], 0, height - 1), col: clamp(cursor.col + step[1], 0, width - 1) };
      if (event.shiftKey) set(cursor.row, cursor.col, erasing ? 0 : 1);
    } else if (event.key === " " || event.key === "Enter") {
      set(cursor.row, cursor.col, mask[cursor.row * width + cursor.col] ? 0 : 1);
    } else return;
    event.preventDefault();
    changed();
  });
  new ResizeObserver(draw).observe(box);
  changed();
}

startAll("lrnet-painting", startPainting);
