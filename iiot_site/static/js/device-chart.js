// One metric over time: mean as a line, lowest to highest as a band, thresholds of rules as dashed lines; grows live.
import { formatTime, now } from "iiot/ages.js";

const [TIME, MEAN, LOW, HIGH, QUALITY] = [0, 1, 2, 3, 4];
const POINTS_AT_MOST = 4_000;
const GAP_AT_LEAST_MS = 15_000;
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

  /** Add a live value; it joins the last bucket where the chart shows buckets. */
  append(ms, value, quality) {
    const data = this.#data;
    if (!data) return;
    const last = data.points.at(-1);
    if (data.bucket_ms && last && Math.floor(ms / data.bucket_ms) === Math.floor(last[TIME] / data.bucket_ms)) {
      last[LOW] = Math.min(last[LOW], value);
      last[HIGH] = Math.max(last[HIGH], value);
      last[MEAN] = (last[MEAN] * 4 + value) / 5; // a running mean; the next reload shows the exact one
    } else if (!last || ms > last[TIME]) {
      data.points.push([data.bucket_ms ? Math.floor(ms / data.bucket_ms) * data.bucket_ms : ms, value, value, value, quality]);
    } else return; // older than what is shown: the next reload sorts it in
    if (data.points.length > POINTS_AT_MOST) data.points.splice(0, data.points.length - POINTS_AT_MOST);
    this.#planDraw();
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
    const point = this.#data.points.findLast((each) => each[TIME] <= ms + 1);
    if (!point) return "";
    const write = (value) => this.#data.is_boolean && Number.isInteger(value) ? yesOrNo(value) : `${Number(value.toPrecision(6)).toLocaleString("en")} ${this.#data.unit}`;
    const band = point[LOW] === point[HIGH] ? "" : `\n${write(point[LOW])} to ${write(point[HIGH])}`;
    const quality = ["", "\nquality uncertain", "\nquality bad"][point[QUALITY]];
    return `${formatTime(point[TIME])}\n${write(point[MEAN])}${band}${quality}`;
  }

  /** A gap breaks the line instead of being drawn over: a step five times as long as those before and after it. */
  #withGaps(points) {
    const steps = points.slice(1).map((point, i) => point[TIME] - points[i][TIME]);
    const isGap = (i) => steps[i] > GAP_AT_LEAST_MS && steps[i] > 5 * Math.max(steps[i - 1] ?? 0, steps[i + 1] ?? 0, this.#data.bucket_ms);
    return points.flatMap((point, i) => (points.length > 3 && isGap(i) ? [point, [point[TIME] + 1, null, null, null, 0]] : [point]));
  }

  #series() {
    const line = this.#colour("--chart-1");
    const points = this.#withGaps(this.#data.points);
    const quiet = { type: "line", symbol: "none", silent: true, animation: false, lineStyle: { opacity: 0 } };
    const band = this.#data.bucket_ms
      ? [
          { ...quiet, stack: "band", stackStrategy: "all", data: points.map((p) => [p[TIME], p[LOW]]) },
          { ...quiet, stack: "band", stackStrategy: "all", data: points.map((p) => [p[TIME], p[HIGH] === null ? null : p[HIGH] - p[LOW]]), areaStyle: { color: line, opacity: 0.18 } },
        ]
      : [];
    return [
      {
        type: "line", name: this.#data.name, step: this.#data.is_boolean ? "end" : false, animation: false, showSymbol: points.length < 40, symbolSize: 5,
        data: points.map((p) => [p[TIME], p[MEAN]]), lineStyle: { width: 1.75, color: line }, itemStyle: { color: line },
        areaStyle: band.length ? undefined : { color: line, opacity: 0.07, origin: "start" },
        markLine: { silent: true, symbol: "none", animation: false, data: this.#data.limits.map((limit) => this.#limitLine(limit)) },
      },
      ...band,
    ];
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
