// The device page: latest values and the chart follow the device's live frames; metric and span can be chosen.
import { now, refreshTimes } from "iiot/ages.js";
import { ChartBox } from "iiot/chart-box.js";
import { live } from "iiot/live.js";

const RELOAD_LATEST_MS = 500;

const device = document.getElementById("device").dataset.device;
const chart = new ChartBox(document.getElementById("chart"));
chart.onLoaded = (data) => (document.getElementById("chart-title").textContent = data.name);

// --- Choices
function press(buttons, isPressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(isPressed(button)));
}

document.getElementById("spans").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-span]");
  if (!button) return;
  chart.span = button.dataset.span;
  press(document.querySelectorAll("button[data-span]"), (each) => each === button);
  chart.load();
});

function choose(key) {
  chart.metric = key;
  for (const row of document.querySelectorAll(".value-row")) row.classList.toggle("is-selected", row.dataset.metric === key);
  press(document.querySelectorAll("[data-choose]"), (each) => each.dataset.choose === key);
  chart.load();
}

document.addEventListener("click", (event) => {
  const row = event.target.closest(".value-row");
  if (row && !row.dataset.text) choose(row.dataset.metric);
});

// --- Download: what the chart shows now
const download = document.getElementById("download");
download.addEventListener("show.bs.dropdown", () => {
  const shown = document.querySelector('button[data-span][aria-pressed="true"]');
  const to = now();
  const from = to - shown.dataset.seconds * 1000;
  for (const link of download.querySelectorAll("a[data-format]")) {
    const metric = link.dataset.onlyShown && chart.metric ? { metric: chart.metric } : {};
    link.href = `${download.dataset.url}?${new URLSearchParams({ format: link.dataset.format, ...metric, from: Math.floor(from), to: Math.ceil(to) })}`;
  }
});

// --- Live values
function format(value) {
  if (typeof value !== "number") return String(value);
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });
}

function showValue({ metric: key, value, quality, time }) {
  const row = document.querySelector(`.value-row[data-metric="${CSS.escape(key)}"]`);
  if (!row) {
    planReload(); // the first value of a metric: the server writes its row
    return;
  }
  const moment = row.querySelector("time");
  if (Date.parse(time) < Date.parse(moment.dateTime)) return; // late: the newest source time stays
  moment.dateTime = time;
  moment.title = "";
  const shown = row.querySelector(".value");
  shown.textContent = row.dataset.boolean ? (value ? "yes" : "no") : format(value);
  const tag = document.getElementById("quality-tags").content.querySelector(`[data-quality="${quality}"]`);
  row.querySelector(".quality").replaceChildren(...(tag ? [tag.cloneNode(true)] : []));
  const now_ = row.querySelector(".value-now");
  now_.classList.remove("is-fresh");
  requestAnimationFrame(() => now_.classList.add("is-fresh"));
}

function showFrame(frame) {
  if (frame.type === "device_update") {
    planReload(); // its status changed
    return;
  }
  if (frame.type !== "telemetry_update") return;
  frame.values.forEach(showValue);
  const seen = document.createElement("time");
  seen.className = "num nowrap";
  seen.dateTime = new Date(now()).toISOString();
  seen.dataset.age = "ago";
  document.getElementById("last-seen").replaceChildren("last seen ", seen);
  document.getElementById("device-status").replaceChildren(document.getElementById("online-tag").content.cloneNode(true));
  refreshTimes();
}

let reloadPlanned = 0;

/** Read the values again from the server: after a lost connection, or when a new metric appeared. */
function planReload() {
  clearTimeout(reloadPlanned);
  reloadPlanned = setTimeout(async () => {
    const answer = await fetch(location.href).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["latest-values", "device-status", "last-seen"]) {
      document.getElementById(id).replaceChildren(...page.getElementById(id).childNodes);
    }
    refreshTimes();
    const known = [...document.querySelectorAll("[data-choose]")].map((button) => button.dataset.choose);
    if (known.length) choose(known.includes(chart.metric) ? chart.metric : known[0]);
  }, RELOAD_LATEST_MS);
}

live.subscribe(`device:${device}`, showFrame);
live.addEventListener("resumed", planReload);
