"use strict";
// Orders the runs by what a head names: the columns of the tables of values, and the rows of the table of runs.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const collator = new Intl.Collator(undefined, { numeric: true });
const heads = all("[data-order]");

// runs in order; what has no value stands last, either way, and equal ones as given
function ordered(keys, sign) {
  return keys.map((_, run) => run).sort((a, b) => {
    const x = keys[a], y = keys[b];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return sign * (typeof x === "number" ? x - y : collator.compare(x, y)) || a - b;
  });
}

function arrange(order) {
  for (const row of all(".compared tr")) {
    const cells = new Map(all("[data-run]", row).map((cell) => [Number(cell.dataset.run), cell]));
    if (cells.size) row.firstElementChild.after(...order.filter((run) => cells.has(run)).map((run) => cells.get(run)));
  }
  const rows = new Map(all("tr[data-run]").map((row) => [Number(row.dataset.run), row]));
  document.querySelector(".runs .head").after(...order.map((run) => rows.get(run)));
}

// a first click: the best first, where one end is better; a second turns it around, a third gives the runs' own order
function turn(head) {
  const keys = JSON.parse(head.dataset.order), first = head.dataset.better === "higher" ? -1 : 1;
  const times = (Number(head.dataset.times || 0) + 1) % 3, sign = times === 2 ? -first : first;
  for (const each of heads) {
    delete each.dataset.times;
    each.removeAttribute("aria-sort");
    each.querySelector(".ordered").textContent = "";
  }
  arrange(times ? ordered(keys, sign) : keys.map((_, run) => run));
  if (!times) return;
  const judged = head.dataset.better === "higher" || head.dataset.better === "lower";
  head.dataset.times = times;
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  head.querySelector(".ordered").textContent = judged ? (times === 1 ? "best first" : "worst first") : sign > 0 ? "rising" : "falling";
}

for (const head of heads) {
  const button = document.createElement("button"), said = document.createElement("small");
  button.type = "button";
  button.title = "Order the runs by this";
  button.append(head.firstChild);
  said.className = "ordered";
  head.prepend(button, said);
  button.addEventListener("click", () => turn(head));
}
for (const hint of all(".hint")) hint.hidden = false;
