// A chart with its notes: reads history from the server, then follows the device's live frames.
import { DeviceChart } from "iiot/device-chart.js";
import { live } from "iiot/live.js";

const TICK_MS = 5_000;
const QUALITIES = { good: 0, uncertain: 1, bad: 2 };

export class ChartBox {
  #box;
  #note;
  #chart;
  #request = 0;
  metric;
  span;
  onLoaded = () => {};

  /** `box` names its source in data-url, data-device, data-metric and data-span. */
  constructor(box) {
    this.#box = box;
    this.#note = box.querySelector(".chart-note");
    const area = document.createElement("div");
    area.className = "chart-area";
    box.prepend(area);
    this.#chart = new DeviceChart(area);
    this.metric = box.dataset.metric;
    this.span = box.dataset.span;
    live.subscribe(`device:${box.dataset.device}`, (frame) => this.#append(frame));
    live.addEventListener("resumed", () => this.load());
    setInterval(() => this.#chart.tick(), TICK_MS);
    this.load();
  }

  async load() {
    if (!this.metric) return;
    const mine = ++this.#request;
    const url = `${this.#box.dataset.url}?${new URLSearchParams({ metric: this.metric, span: this.span })}`;
    const answer = await fetch(url, { headers: { Accept: "application/json" } }).catch(() => null);
    if (mine !== this.#request) return; // another choice was made meanwhile
    if (!answer?.ok) {
      this.#say("The history could not be read. It is read again when the connection is back; or reload the page.");
      return;
    }
    const data = await answer.json();
    if (mine !== this.#request) return;
    this.#chart.show(data);
    this.#say(this.#chart.isEmpty ? "No value in this span. Choose a longer one." : "");
    this.onLoaded(data);
  }

  #append(frame) {
    for (const { metric, value, time, quality } of frame.values ?? []) {
      if (metric !== this.#chart.metric || typeof value === "string") continue;
      if (this.#chart.isEmpty) this.#say("");
      this.#chart.append(Date.parse(time), Number(value), QUALITIES[quality] ?? 0);
    }
  }

  #say(text) {
    this.#note.textContent = text;
    this.#note.hidden = !text;
  }
}
