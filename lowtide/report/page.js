"use strict";
// Everything here adds comfort to a page that is complete without it: sorting, finding, a readout, the colour scheme.

const said = document.getElementById("said");

function theme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("lowtide-theme"); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem("lowtide-theme", value); } catch { /* a file's storage may be closed */ } };
  let chosen = stored();
  const show = () => {
    if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
    const dark = (chosen || (system.matches ? "dark" : "light")) === "dark";
    button.textContent = dark ? "Light colours" : "Dark colours";
  };
  button.addEventListener("click", () => {
    chosen = (chosen || (system.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    keep(chosen);
    show();
  });
  system.addEventListener("change", show);
  button.hidden = false;
  show();
}

function value(row, column) {
  const cell = row.cells[column];
  return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v === "" ? null : Number(cell.dataset.v);
}

function compared(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Rows without a value stay at the end, whichever way the others go. */
function sort(table, column, heading) {
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
  rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : (rising ? 1 : -1) * compared(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
  said.textContent = `Sorted by ${heading.textContent}, ${rising ? "ascending" : "descending"}`;
}

function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, column, heading));
  });
}

function findable(input) {
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const told = input.parentElement.querySelector("output");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
  input.parentElement.hidden = false;
}

/** The numbers under the pointer, read from the table that stands below the chart. */
function readable(plot) {
  const table = document.getElementById(plot.dataset.points);
  const rows = [...table.tBodies[0].rows].map((row) => [Number(row.dataset.at), row]).sort(([a], [b]) => a - b);
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const readout = plot.querySelector(".readout");
  const told = (at, long) => new Date(at).toISOString().slice(long ? 0 : 11, 19).replace("T", " ");
  for (const chart of plot.querySelectorAll("svg.chart")) {
    const { since, until, left, right, width } = Object.fromEntries(Object.entries(chart.dataset).map(([k, v]) => [k, Number(v)]));
    const cursor = chart.querySelector(".cursor");
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const x = Math.min(right, Math.max(left, ((event.clientX - box.left) / box.width) * width));
      const at = since + ((x - left) / (right - left)) * (until - since);
      const row = rows.findLast(([begin]) => begin <= at)?.[1];
      cursor.setAttribute("d", `M${x} 20V${chart.viewBox.baseVal.height}`);
      readout.textContent = row
        ? [...row.cells].map((cell, n) => (n === 0 ? told(at, until - since > 86_400_000) : `${names[n]} ${cell.textContent}`)).join("   ·   ")
        : "";
    });
    chart.addEventListener("pointerleave", () => {
      cursor.setAttribute("d", "");
      readout.textContent = "";
    });
  }
}

theme();
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("p.find input").forEach(findable);
document.querySelectorAll(".plot").forEach(readable);
