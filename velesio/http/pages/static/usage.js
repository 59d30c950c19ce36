// Usage: what was used, by day and by key, as columns, as a table, and as a file for a spreadsheet.

import { admin } from "./frame.js";
import { get, send } from "./api.js";
import { $, button, empty, fill, h, say, toast } from "./dom.js";
import { count, lasted } from "./format.js";

const MEASURES = [
  ["Requests", (row) => row.requests, count],
  ["Tokens read", (row) => row.prompt_tokens, count],
  ["Tokens written", (row) => row.completion_tokens, count],
  ["Pictures", (row) => row.images, count],
  ["Engine time", (row) => row.gpu_seconds, (value) => (value ? lasted(value * 1000) : "0")],
];
let measure = 2;
let days = [];
let rows = [];
let names = new Map();
let by = "key";
let at = -1;

const buttons = MEASURES.map(([title], index) => h("button", { type: "button", onclick: () => { measure = index; draw(); } }, title));
fill($("#measures"), buttons);
const groups = [["key", "By key"], ["model", "By model"]].map(([name, title]) => h("button", { type: "button", "data-by": name, onclick: () => { by = name; listed(); } }, title));
fill($("#groups"), groups);
fill($("#heads"), h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "Tenant"), MEASURES.map(([title]) => h("th", { scope: "col", class: "number" }, title)));
fill($("#csv"), button("Save as CSV", save, { glyph: "down" }));
$("#days").addEventListener("change", load);

const since = () => isoDay(Date.now() - (Number($("#days").value) - 1) * 86_400_000);
const isoDay = (ms) => new Date(ms).toISOString().slice(0, 10);
const query = () => `from=${since()}`;

async function load() {
  try {
    rows = (await get(`/usage?${query()}`)).data;
    if (admin) names = new Map((await get("/admin/keys")).data.map((key) => [key.id, key.name]));
    $("#trouble").hidden = true;
    days = Array.from({ length: Number($("#days").value) }, (_, back) => isoDay(Date.now() - back * 86_400_000)).reverse();
    draw();
  } catch (error) {
    fill($("#trouble"), h("p", { class: "note warn" }, error.message)).hidden = false;
  }
}

async function save() {
  try {
    const response = await send("GET", `/usage?${query()}&format=csv`, undefined, undefined, { Accept: "text/csv" });
    const address = URL.createObjectURL(await response.blob());
    h("a", { href: address, download: `velesio-usage-${isoDay(Date.now())}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  } catch (error) {
    toast(error.message, "bad");
  }
}

function sum(found, read) {
  return found.reduce((total, row) => total + (read(row) ?? 0), 0);
}

function draw() {
  fill($("#totals"), MEASURES.map(([title, read, format]) => h("div", { class: "tile" }, h("dt", {}, title), h("dd", {}, format(sum(rows, read))))));
  buttons.forEach((each, index) => each.setAttribute("aria-pressed", index === measure));
  const [title, read, format] = MEASURES[measure];
  const values = days.map((day) => sum(rows.filter((row) => row.start === day), read));
  const highest = Math.max(...values);
  const columns = $("#columns");
  columns.setAttribute("aria-label", highest ? `${title} by day: ${format(sum(rows, read))} in ${days.length} days, at most ${format(highest)} a day. Arrow keys read single days.` : `${title} by day: nothing`);
  fill(columns, values.map((value, index) => {
    const bar = h("span");
    bar.style.height = `${highest ? (value / highest) * 100 : 0}%`;
    return h("div", { class: "column", onpointerenter: () => tell(index) }, bar);
  }));
  columns.onpointerleave = () => tell(-1);
  const tell = (index) => {
    at = index;
    [...columns.children].forEach((column, place) => column.classList.toggle("on", place === index));
    say($("#readout"), index < 0 ? `${days[0]} to ${days.at(-1)}` : `${days[index]}  ${format(values[index])}`);
  };
  columns.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1000, End: 1000 }[event.key];
    if (!step) return;
    event.preventDefault();
    tell(Math.min(Math.max((at < 0 ? days.length : at) + step, 0), days.length - 1));
  };
  tell(-1);
  listed();
}

function listed() {
  for (const each of groups) each.setAttribute("aria-pressed", each.dataset.by === by);
  const found = Map.groupBy(rows, (row) => (by === "key" ? `${row.tenant}\0${row.key}` : row.model));
  const parts = [...found.values()].sort((a, b) => sum(b, MEASURES[measure][1]) - sum(a, MEASURES[measure][1]));
  fill($("#rows"), parts.length ? parts.map((found) => h("tr", {}, h("th", { scope: "row" }, h("span", { class: "clip" }, by === "key" ? names.get(found[0].key) ?? found[0].key : found[0].model || "none")), h("td", {}, h("span", { class: "clip" }, by === "key" ? found[0].tenant : [...new Set(found.map((row) => row.tenant))].join(", "))),
    MEASURES.map(([, read, format]) => h("td", { class: "number" }, format(sum(found, read)))))) : h("tr", {}, h("td", { colspan: 7 }, empty("chart", "Nothing used yet", "What is asked from now on is counted here, by key and day."))));
}

addEventListener("velesio:back", load);
load();
