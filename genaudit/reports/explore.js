"use strict";
// Shows the images of one run: what is in view is drawn, the rest is numbers. Texts are only ever set as text.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const N = data.names.length;

function unpacked(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

// ---------------------------------------------------------------- pictures

const SHEETS_KEPT = 120; // of 2.4 MB each, decoded

function Pictures(given) {
  const sizes = unpacked(given.sizes, Uint16Array), perSheet = given.columns ** 2;
  return {
    given, cell: given.cell,
    at(index) {
      const place = index % perSheet;
      return {
        sheet: given.sheets[Math.floor(index / perSheet)], w: sizes[2 * index], h: sizes[2 * index + 1],
        x: (place % given.columns) * given.cell, y: Math.floor(place / given.columns) * given.cell, exact: given.exact,
      };
    },
  };
}

const kept = new Map(); // sheet => image; the one used longest ago goes first
function sheetOf(source) {
  let image = kept.get(source);
  if (image) kept.delete(source);
  else {
    image = new Image();
    image.src = source;
  }
  kept.set(source, image);
  if (kept.size > SHEETS_KEPT) kept.delete(kept.keys().next().value);
  return image;
}

// draws a thumbnail into a canvas of `side` pixels a side; once its sheet is there, if the canvas is still wanted
function draw(canvas, picture, side, fit) {
  const scale = side / Math.max(picture.w, picture.h, 1), ratio = fit ? 1 : window.devicePixelRatio || 1;
  const w = Math.max(1, Math.round(picture.w * scale * ratio)), h = Math.max(1, Math.round(picture.h * scale * ratio));
  canvas.width = fit ? w : side * ratio;
  canvas.height = fit ? h : side * ratio;
  const pen = canvas.getContext("2d");
  if (!picture.w || !picture.sheet) {
    pen.fillStyle = "#888";
    pen.fillText("no picture", 6, 16);
    return;
  }
  const image = sheetOf(picture.sheet);
  const paint = () => {
    if (!canvas.isConnected && !fit) return;
    pen.imageSmoothingEnabled = !(picture.exact && w > picture.w);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, picture.x, picture.y, picture.w, picture.h, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
    canvas.dataset.drawn = "yes";
  };
  if (image.complete && image.naturalWidth) requestAnimationFrame(paint);
  else image.addEventListener("load", paint, { once: true });
}

const generated = Pictures(data.pictures);
const pointed = Object.fromEntries(Object.entries(data.pointed).map(([role, each]) => [role, { ...each, pictures: Pictures(each.pictures) }]));

// ---------------------------------------------------------------- columns

const collator = new Intl.Collator(undefined, { numeric: true });
function ranks(texts) {
  const words = [...new Set(texts)].sort(collator.compare), place = new Map(words.map((word, at) => [word, at]));
  return Float64Array.from(texts, (text) => (text === "" ? NaN : place.get(text)));
}

function show(x) {
  if (!Number.isFinite(x)) return "–";
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return x.toLocaleString("en-US");
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(3) : x.toPrecision(4);
}

// each column: name, kind, keys() to sort by, text(i) for people, exact(i) in full; the digest is last
const columns = [{ name: "name", kind: "text", texts: data.names }, ...data.columns].sort((a, b) => (a.name === "digest") - (b.name === "digest")).map((each) => {
  const column = { ...each };
  if (each.kind === "number") {
    column.values = unpacked(each.numbers, Float64Array);
    column.text = (i) => show(column.values[i]);
    column.exact = (i) => (Number.isFinite(column.values[i]) ? String(Number(column.values[i].toPrecision(7))) : "–");
  } else {
    const codes = each.codes && unpacked(each.codes, Int32Array), words = each.kind === "image" ? pointed[each.role].names : each.words;
    column.codes = codes;
    column.text = codes ? (i) => (codes[i] < 0 ? "" : words[codes[i]]) : (i) => each.texts[i];
    column.exact = column.text;
  }
  column.keys = () => (column.cache ??= column.values || ranks(Array.from({ length: N }, (_, i) => column.text(i))));
  return column;
});
const byName = new Map(columns.map((column) => [column.name, column]));
const NEAREST = /^(.*?nearest_[a-z]+)/; // a partner, which is no nearest image, has no distance
const distanceOf = (column) => NEAREST.test(column.name) && byName.get(column.name.replace(NEAREST, "$1_distance"));

// ---------------------------------------------------------------- what is shown

const state = { order: [], sort: "", down: false, table: false, size: 128, active: 0, anchor: 0, chosen: new Set(), tests: new Map() };

function arrange() {
  let order = [];
  const tests = [...state.tests.values()];
  for (let i = 0; i < N; i++) if (tests.every((test) => test(i))) order.push(i);
  const column = byName.get(state.sort);
  if (column) {
    const keys = column.keys(), sign = state.down ? -1 : 1;
    // what has no number stands last, either way; equal ones keep the set's order
    order.sort((a, b) => {
      const x = keys[a], y = keys[b];
      if (x !== x || y !== y) return (x !== x) - (y !== y) || a - b;
      return sign * (x - y) || a - b;
    });
  } else if (state.down) order.reverse();
  state.order = order;
  state.active = 0;
  $("scroll").scrollTop = 0;
  $("nothing").hidden = order.length > 0;
  render(true);
}

function status(message) {
  const shown = state.order.length.toLocaleString("en-US"), all = N.toLocaleString("en-US");
  const counted = state.order.length === N ? `${all} images` : `${shown} of ${all} images`;
  const chosen = state.chosen.size ? ` · ${state.chosen.size.toLocaleString("en-US")} selected` : "";
  $("status").textContent = counted + chosen + (message ? ` · ${message}` : "");
  $("none").disabled = !state.chosen.size;
}

// the place of things: tiles in rows, or a line an image
function layout() {
  const width = $("scroll").clientWidth - 12;
  if (state.table) return { columns: 1, w: 0, h: 60, pad: 0 };
  const w = state.size + 12, across = Math.max(1, Math.floor(width / w));
  return { columns: across, w: width / across, h: state.size + 12 + 16 + (state.sort && state.sort !== "name" ? 17 : 0), pad: 6 };
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function middle(name) { // the end of a name is never cut
  const made = element("div", "name"), cut = Math.max(name.length - 12, Math.ceil(name.length / 2));
  made.append(element("span", "", name.slice(0, cut)), element("span", "", name.slice(cut)));
  return made;
}

let drawn = "";
function render(again) {
  const box = $("scroll"), { columns: across, w, h } = layout(), order = state.order;
  const first = Math.max(0, Math.floor(box.scrollTop / h) - 1), last = Math.ceil((box.scrollTop + box.clientHeight) / h) + 1;
  const from = first * across, to = Math.min(order.length, last * across), now = [from, to, across, w, h].join();
  if (!again && now === drawn) return;
  drawn = now;
  const space = $("space"), made = [];
  space.style.height = `${Math.ceil(order.length / across) * h}px`;
  space.style.width = state.table ? `${tableWidth()}px` : "";
  for (let place = from; place < to; place++) made.push(state.table ? row(place, h) : tile(place, across, w, h));
  space.replaceChildren(...made.map((each) => each.node));
  for (const each of made) each.paint();
  status();
}

function marked(node, place) {
  const index = state.order[place];
  node.id = `image-${index}`;
  node.dataset.place = place;
  node.setAttribute("role", "option");
  node.setAttribute("aria-label", data.names[index]);
  node.setAttribute("aria-selected", String(state.chosen.has(index)));
  node.setAttribute("aria-posinset", place + 1);
  node.setAttribute("aria-setsize", state.order.length);
  node.classList.toggle("chosen", state.chosen.has(index));
  node.classList.toggle("active", place === state.active);
  if (place === state.active) $("scroll").setAttribute("aria-activedescendant", node.id);
}

function tile(place, across, w, h) {
  const index = state.order[place], node = element("div", "tile"), canvas = element("canvas"), column = byName.get(state.sort);
  node.style.transform = `translate(${6 + (place % across) * w}px, ${Math.floor(place / across) * h}px)`;
  node.style.width = `${w - 2}px`;
  node.style.height = `${h - 2}px`;
  canvas.style.width = canvas.style.height = `${state.size}px`;
  node.append(canvas);
  if (column && state.sort !== "name") node.append(element("b", "", column.text(index)));
  node.append(middle(data.names[index].split("/").pop()));
  node.title = data.names[index];
  marked(node, place);
  return { node, paint: () => draw(canvas, generated.at(index), state.size) };
}

const WIDTHS = { number: 118, image: 190, word: 120, text: 200 };
const tableWidth = () => 72 + columns.reduce((sum, column) => sum + WIDTHS[column.kind], 0);

function row(place, h) {
  const index = state.order[place], node = element("div", "row"), canvas = element("canvas");
  node.style.transform = `translateY(${place * h}px)`;
  node.style.width = `${tableWidth()}px`;
  node.style.height = `${h}px`;
  canvas.style.width = canvas.style.height = "54px";
  canvas.style.margin = "0 8px";
  node.append(canvas);
  for (const column of columns) {
    const cell = element("span", column.kind === "number" ? "" : "left", column.name === "name" ? undefined : column.text(index));
    if (column.name === "name") cell.append(middle(data.names[index]));
    cell.style.width = `${WIDTHS[column.kind]}px`;
    cell.title = column.exact(index);
    node.append(cell);
  }
  marked(node, place);
  return { node, paint: () => draw(canvas, generated.at(index), 54) };
}

// ---------------------------------------------------------------- the head: sort, filters

for (const column of [{ name: "" }, ...columns]) $("sort").append(new Option(column.name || "as in the set", column.name));

function sortBy(name, down) {
  state.sort = name;
  state.down = down;
  $("sort").value = name;
  $("turn").textContent = down ? "↓" : "↑";
  for (const head of $("head").querySelectorAll("button")) {
    head.classList.toggle("sorted", head.dataset.name === name);
    head.textContent = head.dataset.name + (head.dataset.name === name ? (down ? " ↓" : " ↑") : "");
  }
  arrange();
}

function filter(key, test) {
  if (test) state.tests.set(key, test);
  else state.tests.delete(key);
  $("filters").classList.toggle("active", [...state.tests.keys()].some((each) => each !== "search"));
  arrange();
}

function panel() {
  for (const column of columns.slice(1)) {
    const label = element("label", "", column.name);
    if (column.kind === "number") {
      const known = column.values.filter(Number.isFinite), ends = [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
      const range = element("div", "range"), inputs = ends.map((end, at) => {
        const input = element("input");
        input.inputMode = "decimal";
        input.placeholder = show(end);
        input.setAttribute("aria-label", `${column.name}, ${at ? "most" : "least"}`);
        return input;
      });
      const read = () => {
        const [low, high] = inputs.map((input) => (input.value.trim() === "" ? NaN : Number(input.value.replace(",", "."))));
        const values = column.values;
        const limited = !Number.isNaN(low) || !Number.isNaN(high);
        filter(column.name, limited && ((i) => !(values[i] < low) && !(values[i] > high) && values[i] === values[i]));
      };
      for (const input of inputs) input.addEventListener("change", read);
      range.append(inputs[0], "–", inputs[1]);
      label.append(range);
    } else if (column.kind === "word") {
      const select = element("select");
      select.append(new Option("all", "-1"), ...column.words.map((word, at) => new Option(word || "(none)", at)));
      select.addEventListener("change", () => filter(column.name, select.value !== "-1" && ((i) => column.codes[i] === Number(select.value))));
      label.append(select);
    } else {
      const input = element("input");
      input.type = "search";
      input.placeholder = "contains";
      input.addEventListener("input", () => filter(column.name, input.value && ((i) => column.text(i).toLowerCase().includes(input.value.toLowerCase()))));
      label.append(input);
    }
    $("panel").append(label);
  }
  for (const column of columns) {
    const head = element("button", column.kind === "number" ? "" : "left", column.name);
    head.type = "button";
    head.dataset.name = head.title = column.name;
    head.style.width = `${WIDTHS[column.kind]}px`;
    head.addEventListener("click", () => sortBy(column.name, state.sort === column.name ? !state.down : column.kind === "number"));
    $("head").append(head);
  }
  $("head").firstChild.style.marginLeft = "72px";
}

// ---------------------------------------------------------------- select, copy, open

function choose(place, upTo) {
  const index = state.order[place];
  if (index === undefined) return;
  if (upTo) {
    const [low, high] = [Math.min(state.anchor, place), Math.max(state.anchor, place)];
    for (let at = low; at <= high; at++) state.chosen.add(state.order[at]);
  } else if (!state.chosen.delete(index)) state.chosen.add(index);
  state.active = state.anchor = place;
  render(true);
}

async function copy() {
  const from = state.chosen.size ? state.order.filter((i) => state.chosen.has(i)) : state.order;
  const hidden = state.chosen.size - from.length * Boolean(state.chosen.size), names = from.map((i) => data.names[i]).join("\n");
  try {
    await navigator.clipboard.writeText(names);
  } catch {
    const area = element("textarea");
    area.value = names;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  status(`copied ${from.length.toLocaleString("en-US")} names${hidden ? `; ${hidden} selected ones are filtered out` : ""}`);
}

const READABLE = /\.(jpe?g|png|webp|gif|bmp|avif)$/i;
const fileOf = (folder, name) => (folder && READABLE.test(name) ? folder + name.split("/").map(encodeURIComponent).join("/") : "");

// a picture as large as the page has it; in its place the image's own file, where that is there and larger
function figure(picture, title, name, file) {
  const made = element("figure"), canvas = element("canvas"), caption = element("figcaption");
  draw(canvas, picture, Math.max(picture.w, picture.h) || picture.cell, true);
  canvas.classList.toggle("pixels", picture.exact);
  caption.append(element("b", "", title), ` ${name}`);
  made.append(canvas, caption);
  if (file) {
    const image = new Image();
    image.addEventListener("load", () => {
      if (image.naturalWidth <= picture.w) return;
      image.alt = title;
      canvas.replaceWith(image);
    });
    image.src = file;
  }
  made.addEventListener("click", (event) => { if (event.target.tagName !== "FIGCAPTION") ownSize(); });
  return made;
}

const ownSize = () => $("large").classList.toggle("own");

function open(place) {
  const index = state.order[place];
  if (index === undefined) return;
  state.active = place;
  const box = $("large"), line = element("div", "line"), pictures = element("div", "pictures"), facts = element("dl");
  const button = (text, title, act) => {
    const made = element("button", "", text);
    made.type = "button";
    made.title = title;
    made.addEventListener("click", act);
    line.append(made);
  };
  line.append(element("h2", "", data.names[index]));
  button("‹", "Previous (left)", () => open(Math.max(0, place - 1)));
  button("›", "Next (right)", () => open(Math.min(state.order.length - 1, place + 1)));
  button(state.chosen.has(index) ? "selected" : "select", "Select (Space)", () => { choose(place); open(place); });
  button("own size", "Pictures at their own size, or all in view (z)", ownSize);
  button("close", "Close (Esc)", () => box.close());
  const sized = (from, at) => ({ ...from.at(at), cell: from.cell });
  pictures.append(figure(sized(generated, index), "generated", "", fileOf(data.folder, data.names[index])));
  for (const column of columns) {
    if (column.kind !== "image" || column.codes[index] < 0) continue;
    const distance = distanceOf(column), { pictures: from, folder } = pointed[column.role];
    const caption = `${column.text(index)}${distance ? `\ndistance ${distance.text(index)}` : ""}`;
    pictures.append(figure(sized(from, column.codes[index]), column.name.replaceAll("_", " "), caption, fileOf(folder, column.text(index))));
  }
  for (const each of data.more[index] || []) pictures.append(figure(sized(Pictures(each.pictures), 0), each.title, ""));
  for (const column of columns) {
    const fact = element("div");
    fact.append(element("dt", "", column.name), element("dd", "", column.exact(index)));
    facts.append(fact);
  }
  box.replaceChildren(line, pictures, facts);
  if (!box.open) box.showModal();
  line.lastChild.focus();
  reveal();
}

function reveal() {
  const box = $("scroll"), { columns: across, h } = layout(), top = Math.floor(state.active / across) * h;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + h > box.scrollTop + box.clientHeight) box.scrollTop = top + h - box.clientHeight;
  render(true);
}

// ---------------------------------------------------------------- events

function move(step) {
  state.active = Math.min(Math.max(state.active + step, 0), Math.max(state.order.length - 1, 0));
  reveal();
}

function toggle(button, part) {
  $(part).hidden = !$(part).hidden;
  $(button).setAttribute("aria-expanded", String(!$(part).hidden));
  render(true);
}

const selectAll = () => { for (const index of state.order) state.chosen.add(index); render(true); };
const turn = () => sortBy(state.sort, !state.down);
function table() {
  state.table = !state.table;
  $("view").textContent = state.table ? "pictures" : "table";
  $("head").hidden = !state.table;
  $("scroll").classList.toggle("table", state.table);
  reveal();
}

$("scroll").addEventListener("scroll", () => { $("head").scrollLeft = $("scroll").scrollLeft; requestAnimationFrame(() => render()); });
$("scroll").addEventListener("click", (event) => {
  const node = event.target.closest("[data-place]"), place = node && Number(node.dataset.place);
  if (!node) return;
  if (event.shiftKey) choose(place, true);
  else if (event.ctrlKey || event.metaKey) choose(place);
  else open(place);
});
addEventListener("resize", () => render(true));
$("search").addEventListener("input", () => {
  const wanted = $("search").value.toLowerCase();
  filter("search", wanted && ((i) => data.names[i].toLowerCase().includes(wanted)));
});
$("sort").addEventListener("change", () => sortBy($("sort").value, state.down));
$("size").addEventListener("input", () => { state.size = Number($("size").value); reveal(); });
for (const [id, act] of Object.entries({
  turn, all: selectAll, copy, view: table, filters: () => toggle("filters", "panel"), help: () => toggle("help", "keys"),
  none: () => { state.chosen.clear(); render(true); },
})) $(id).addEventListener("click", act);
$("large").addEventListener("close", () => { $("scroll").focus(); reveal(); });

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
  const command = event.ctrlKey || event.metaKey, inside = $("large").open, { columns: across, h } = layout();
  if (typing) {
    if (event.key === "Escape") $("scroll").focus();
    return;
  }
  const page = across * Math.max(1, Math.floor($("scroll").clientHeight / h));
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: page, PageUp: -page, Home: -N, End: N };
  if (command && event.key === "a") selectAll();
  else if (command && event.key === "c" && String(getSelection()) === "") copy();
  else if (command || event.altKey) return;
  else if (event.key in steps && !inside) move(steps[event.key]);
  else if (inside && Math.abs(steps[event.key]) === 1) { move(steps[event.key]); open(state.active); }
  else if (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  else if (event.key === "Enter") open(state.active);
  else if (event.key === " ") { choose(state.active); if (inside) open(state.active); }
  else if (event.key === "/" && !inside) $("search").focus();
  else if (event.key === "r" && !inside) turn();
  else if (event.key === "t" && !inside) table();
  else if (event.key === "z" && inside) ownSize();
  else if (event.key === "?") toggle("help", "keys");
  else return;
  event.preventDefault();
});

panel();
arrange();
$("scroll").focus();
