// The message rate: a number and ten minutes as a line, read every few seconds while the page is visible.
import { live } from "iiot/live.js";

const POLL_MS = 3_000;
const SMOOTH_SECONDS = 10;

const box = document.getElementById("rate-chart");
const number = document.getElementById("rate-now");
const note = document.getElementById("rate-note");
const root = document.documentElement;
let plot = null;

/** Mean of the last ten seconds at every second: single seconds only jitter. */
function smooth(counts) {
  let sum = 0;
  return counts.map((count, i) => {
    sum += count - (i >= SMOOTH_SECONDS ? counts[i - SMOOTH_SECONDS] : 0);
    return sum / Math.min(i + 1, SMOOTH_SECONDS);
  });
}

function makePlot(data) {
  const style = getComputedStyle(document.body);
  const ink = style.getPropertyValue("--chart-ink").trim();
  const line = style.getPropertyValue("--chart-1").trim();
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  return new uPlot(
    {
      width: box.clientWidth,
      height: box.clientHeight,
      padding: [6, 16, 0, 16],
      cursor: { show: false },
      legend: { show: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.15)] } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: { show: false }, size: 22, values: (_, times) => times.map((t) => clock.format(t * 1000)), space: 60 },
        { show: false },
      ],
      series: [{}, { stroke: line, width: 1.5, fill: `${line}22`, points: { show: false } }],
    },
    data,
    box,
  );
}

async function refresh() {
  const answer = await fetch(box.dataset.url, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) {
    say("The rate is not known right now; it will be read again.");
    return;
  }
  const { until, counts, per_second: rate } = await answer.json();
  if (!counts) {
    number.textContent = "–";
    say("The counters (Redis) do not answer. Readings are stored all the same.");
    return;
  }
  note.hidden = true;
  number.textContent = rate >= 100 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1);
  const times = counts.map((_, i) => until - counts.length + 1 + i);
  const data = [times, smooth(counts)];
  if (plot) plot.setData(data);
  else plot = makePlot(data);
}

function say(text) {
  note.textContent = text;
  note.hidden = false;
}

function redraw() {
  plot?.destroy();
  plot = null;
  refresh();
}

new ResizeObserver(() => plot?.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);
root.addEventListener("themechange", redraw);
live?.addEventListener("resumed", refresh);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
setInterval(() => document.visibilityState === "visible" && refresh(), POLL_MS);
refresh();
