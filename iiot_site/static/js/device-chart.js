// One metric over time: values that were stored, chosen by the server so that the curve keeps its shape; thresholds of rules as
// dashed lines; grows live.
import { formatTime, now } from "iiot/ages.js";

const [TIME, VALUE, QUALITY] = [0, 1, 2];
const POINTS_AT_MOST = 4_000;
const FEW_POINTS = 40; // up to so many each has a mark
const NARROW_PX = 4; // a stretch between two gaps that is narrower has marks: its line would hardly be seen
const OPERATORS = { gt: ">", gte: "≥", lt: "<", lte: "≤", ">": ">", ">=": "≥", "<": "<", "<=": "≤" };
const yesOrNo = (value) => (value ? "yes" : "no");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayClock = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export class DeviceChart {
  #box;
  #chart = null;
  #data = null;
  #drawPlanned = false;

  constructor(box) {
    this.#box = box;
    new ResizeObserver(() => this.#chart?.resize()).observe(box);
    document.documentElement.addEventListener("themechange", () => this.#redrawWhole());
  }

  /** Show what the server sent (see iiot_site/web/device_chart.py). */
  show(data) {
    this.#data = data;
    this.#redrawWhole();
  }

  get metric() {
    return this.#data?.metric;
  }

  get isEmpty() {
    return !this.#data?.points.length;
  }

  /** Add a live value; a break in the line before it where nothing came for too long. */
  append(ms, value, quality) {
    const data = this.#data;
    if (!data) return;
    const last = data.points.at(-1);
    if (last && ms <= last[TIME]) return; // older than what is shown: the next reload sorts it in
    if (last && ms - last[TIME] > this.#gap()) data.points.push([ms - 1, null, null]);
    data.points.push([ms, value, quality]);
    if (data.points.length > POINTS_AT_MOST) data.points.splice(0, data.points.length - POINTS_AT_MOST);
    this.#planDraw();
  }

  /** As the server has it: the longest silence that is none, but a few of the steps before it at least. */
  #gap() {
    const [before, last] = this.#data.points.slice(-2);
    return Math.max(this.#data.gap_ms, last && before[VALUE] !== null ? 5 * (last[TIME] - before[TIME]) : 0);
  }

  /** Move the window on, so that silence shows as an empty right edge. */
  tick() {
    if (this.#chart && document.visibilityState === "visible") this.#planDraw();
  }

  #planDraw() {
    if (this.#drawPlanned) return;
    this.#drawPlanned = true;
    requestAnimationFrame(() => {
      this.#drawPlanned = false;
      this.#chart?.setOption({ xAxis: this.#window(), series: this.#series() });
    });
  }

  #window() {
    const length = this.#data.to - this.#data.from;
    return { min: now() - length, max: now() };
  }

  #redrawWhole() {
    if (!this.#data) return;
    this.#chart?.dispose();
    this.#chart = window.echarts.init(this.#box, null, { renderer: "canvas" });
    this.#chart.setOption(this.#options());
  }

  #colour(name) {
    return getComputedStyle(document.body).getPropertyValue(name).trim();
  }

  #options() {
    const [ink, grid, surface] = ["--chart-ink", "--chart-grid", "--chart-surface"].map((name) => this.#colour(name));
    const { unit, to, from, is_boolean: isBoolean } = this.#data;
    const isLong = to - from > 86_400_000;
    return {
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { left: 8, right: 12, top: 28, bottom: 8, containLabel: true },
      xAxis: {
        type: "time", ...this.#window(),
        axisLine: { lineStyle: { color: grid } }, axisTick: { show: false },
        axisLabel: { color: ink, hideOverlap: true, formatter: (ms) => (isLong ? dayClock : clock).format(ms) },
      },
      yAxis: {
        type: "value", scale: true, name: unit, nameTextStyle: { color: ink, align: "left" }, nameGap: 12,
        ...(isBoolean
          ? { min: 0, max: 1, interval: 1 }
          : { min: (range) => this.#edge(range.min, Math.min, -1, range), max: (range) => this.#edge(range.max, Math.max, 1, range) }),
        axisLabel: isBoolean
          ? { color: ink, formatter: yesOrNo }
          : { color: ink, showMinLabel: false, showMaxLabel: false },
        splitLine: { lineStyle: { color: grid } },
      },
      tooltip: {
        trigger: "axis", renderMode: "richText", confine: true,
        backgroundColor: surface, borderColor: grid, textStyle: { color: this.#colour("--chart-text"), fontSize: 12 },
        axisPointer: { lineStyle: { color: ink } },
        formatter: (items) => this.#describe(items[0]?.data?.[TIME]),
      },
      series: this.#series(),
    };
  }

  /** Keep thresholds in view where they are near, without flattening the curve for those that are far. */
  #edge(value, pick, direction, range) {
    const height = range.max - range.min || Math.abs(range.max) || 1;
    const near = this.#data.limits.map((limit) => limit.value).filter((limit) => Math.abs(limit - value) < height * 1.5);
    return pick(value, ...near) + direction * height * 0.08;
  }

  #describe(ms) {
    const point = this.#data.points.findLast((each) => each[VALUE] !== null && each[TIME] <= ms + 1);
    if (!point) return "";
    const write = (value) => this.#data.is_boolean ? yesOrNo(value) : `${Number(value.toPrecision(6)).toLocaleString("en")} ${this.#data.unit}`;
    const quality = ["", "\nquality uncertain", "\nquality bad"][point[QUALITY]];
    return `${formatTime(point[TIME])}\n${write(point[VALUE])}${quality}`;
  }

  #series() {
    const line = this.#colour("--chart-1");
    const points = this.#data.points;
    const marked = this.#endsOfNarrowStretches();
    const isMarked = (index) => points.length < FEW_POINTS || marked.has(index);
    return [
      {
        type: "line", name: this.#data.name, step: this.#data.is_boolean ? "end" : false, animation: false,
        showAllSymbol: true, symbolSize: 5, symbol: (_, { dataIndex }) => (isMarked(dataIndex) ? "circle" : "none"),
        data: points.map((point) => [point[TIME], point[VALUE]]), lineStyle: { width: 1.75, color: line }, itemStyle: { color: line },
        areaStyle: { color: line, opacity: 0.07, origin: "start" },
        markLine: { silent: true, symbol: "none", animation: false, data: this.#data.limits.map((limit) => this.#limitLine(limit)) },
      },
    ];
  }

  #endsOfNarrowStretches() {
    const { points, to, from } = this.#data;
    const narrowMs = (NARROW_PX * (to - from)) / Math.max(this.#box.clientWidth, 1);
    const ends = new Set();
    let first = 0;
    for (let i = 0; i <= points.length; i++) {
      if (i < points.length && points[i][VALUE] !== null) continue;
      if (i > first && points[i - 1][TIME] - points[first][TIME] < narrowMs) ends.add(first).add(i - 1);
      first = i + 1;
    }
    return ends;
  }

  #limitLine(limit) {
    const colour = this.#colour(`--chart-${limit.severity}`);
    return {
      yAxis: limit.value,
      lineStyle: { color: colour, type: "dashed", width: 1.25 },
      label: { position: "insideStartTop", color: colour, fontSize: 11, padding: [1, 4], backgroundColor: this.#colour("--chart-surface"), formatter: `${limit.name}  ${OPERATORS[limit.operator] ?? limit.operator} ${limit.value}` },
    };
  }
}
