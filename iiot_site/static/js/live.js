// One WebSocket for the page: topics, reconnection with back-off, a heartbeat that notices half-open connections.
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const PING_EVERY_MS = 20_000;
const PONG_WITHIN_MS = 8_000;
const SIGNED_OUT = 4401;
const TOO_MANY = 4429; // sockets of this person or of the organisation
const CROWDED_WAIT_MS = 60_000;

export class LiveSocket extends EventTarget {
  #url;
  #socket = null;
  #topics = new Map(); // topic → set of callbacks
  #failures = 0;
  #timers = { retry: 0, ping: 0, pong: 0 };
  #wasOpen = false;
  state = "connecting";

  constructor(url) {
    super();
    this.#url = new URL(url, location.href);
    this.#url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    addEventListener("online", () => this.retryNow());
    addEventListener("pagehide", () => this.#socket?.close(1000));
    addEventListener("pageshow", (event) => event.persisted && this.retryNow());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#checkAlive());
    this.#connect();
  }

  /** Call `onFrame(frame)` for every frame of `topic`; returns a function that ends it. */
  subscribe(topic, onFrame) {
    const isNew = !this.#topics.has(topic);
    if (isNew) this.#topics.set(topic, new Set());
    this.#topics.get(topic).add(onFrame);
    if (isNew && this.state === "open") this.#send({ type: "subscribe", topics: [topic] });
    return () => this.#topics.get(topic)?.delete(onFrame);
  }

  retryNow() {
    if (this.state === "open" || this.#socket?.readyState === WebSocket.CONNECTING) return;
    clearTimeout(this.#timers.retry);
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#received(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => socket === this.#socket && this.#closed(event.code));
  }

  #opened() {
    this.#failures = 0;
    if (this.#topics.size) this.#send({ type: "subscribe", topics: [...this.#topics.keys()] });
    this.#timers.ping = setInterval(() => this.#checkAlive(), PING_EVERY_MS);
    this.#setState("open");
    // What was missed while away is read again from the server by whoever shows it.
    if (this.#wasOpen) this.dispatchEvent(new Event("resumed"));
    this.#wasOpen = true;
  }

  #received(frame) {
    clearTimeout(this.#timers.pong);
    this.#timers.pong = 0;
    if (frame.type === "pong" || frame.type === "subscribed") return;
    if (frame.type === "error") {
      console.warn(`live: ${frame.code}: ${frame.detail}`);
      return;
    }
    for (const callback of this.#topics.get(topicOf(frame)) ?? []) callback(frame);
  }

  #checkAlive() {
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      this.retryNow();
      return;
    }
    if (this.#timers.pong) return;
    this.#send({ type: "ping" });
    this.#timers.pong = setTimeout(() => {
      this.#timers.pong = 0;
      const dead = this.#socket;
      this.#closed(0);
      dead.close();
    }, PONG_WITHIN_MS);
  }

  #closed(code) {
    this.#socket = null;
    clearInterval(this.#timers.ping);
    clearTimeout(this.#timers.pong);
    this.#timers.pong = 0;
    if (code === SIGNED_OUT) {
      location.reload(); // the session has ended; the server answers with the login page
      return;
    }
    this.#failures += 1;
    this.#setState(code === TOO_MANY ? "crowded" : "lost");
    if (this.#failures % 3 === 0) this.dispatchEvent(new Event("refused"));
    const wait = code === TOO_MANY ? CROWDED_WAIT_MS : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#failures - 1));
    this.#timers.retry = setTimeout(() => this.#connect(), wait * (0.75 + Math.random() / 2));
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

function topicOf(frame) {
  if (frame.topic) return frame.topic;
  if (frame.type === "incident") return "incidents";
  return frame.device ? `device:${frame.device}` : frame.type;
}

const url = document.body.dataset.liveUrl;

/** The page's socket; null on pages outside a tenant. */
export const live = url ? new LiveSocket(url) : null;
