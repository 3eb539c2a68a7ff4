// Every page: live state and banner, parts that refresh themselves on live frames, errors of htmx, copy buttons.
import { refreshTimes } from "iiot/ages.js";
import { live } from "iiot/live.js";
import { toast } from "iiot/toast.js";

const BANNER_AFTER_MS = 2_000;
const LOST = "Connection lost. Values may be old; reconnecting…";
const CROWDED = "Not live: you or your organisation have too many pages open. Close some; this one tries again every minute.";
const REFRESH_AT_MOST_EVERY_MS = 1_000;

// --- Connection
function showLiveState() {
  const words = { connecting: "Connecting", open: "Live", lost: "Reconnecting", crowded: "Not live" };
  for (const element of document.querySelectorAll(".live")) {
    element.dataset.state = live.state === "crowded" ? "lost" : live.state;
    element.querySelector(".live-word").textContent = words[live.state];
  }
  const banner = document.getElementById("connection-banner");
  banner.querySelector("span").textContent = live.state === "crowded" ? CROWDED : LOST;
  clearTimeout(showLiveState.timer);
  if (live.state === "open") banner.hidden = true;
  else showLiveState.timer = setTimeout(() => (banner.hidden = false), BANNER_AFTER_MS);
}

async function askWhetherSignedOut() {
  // A refused socket does not say why: a session that ended answers 401 here, and the login page is next.
  const answer = await fetch(document.body.dataset.sessionUrl, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.status === 401 || answer?.status === 404) location.reload();
}

// --- Parts marked with data-live-topic (one or more) read themselves again: once per second at most, and after a lost connection
const lastRefresh = new WeakMap();

function refreshPart(part) {
  const waited = performance.now() - (lastRefresh.get(part) ?? -Infinity);
  if (part.dataset.refreshPlanned) return;
  part.dataset.refreshPlanned = "1";
  setTimeout(() => {
    delete part.dataset.refreshPlanned;
    lastRefresh.set(part, performance.now());
    if (part.isConnected) window.htmx.trigger(part, "refresh");
  }, Math.max(60, REFRESH_AT_MOST_EVERY_MS - waited));
}

function partsOf(topic) {
  return [...document.querySelectorAll(`[data-live-topic~="${CSS.escape(topic)}"]`)];
}

function watchParts() {
  const parts = [...document.querySelectorAll("[data-live-topic]")];
  for (const topic of parts.flatMap((part) => part.dataset.liveTopic.split(" "))) {
    if (watchParts.topics.has(topic)) continue;
    watchParts.topics.add(topic);
    live.subscribe(topic, (frame) => {
      for (const each of partsOf(topic)) {
        const { liveIncident: incident, liveType: type } = each.dataset;
        if ((!incident || incident === frame.incident?.id) && (!type || type === frame.type)) refreshPart(each);
      }
    });
  }
}
watchParts.topics = new Set();

if (live) {
  live.addEventListener("state", showLiveState);
  live.addEventListener("refused", askWhetherSignedOut);
  live.addEventListener("resumed", () => document.querySelectorAll("[data-live-topic]").forEach(refreshPart));
  document.getElementById("retry-now")?.addEventListener("click", () => live.retryNow());
  showLiveState();
  watchParts();
}

// --- htmx: say what went wrong, and never paint a login page into a table
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const finalPath = new URL(event.detail.xhr.responseURL || location.href, location.href).pathname;
  if (finalPath === document.body.dataset.loginPath) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});
/** Parts that read themselves again fail silently: the banner tells about a lost connection. */
function isBackground({ requestConfig }) {
  const trigger = requestConfig.triggeringEvent?.type;
  return requestConfig.verb === "get" && (!trigger || trigger === "refresh");
}
document.body.addEventListener("htmx:responseError", (event) => {
  const { status, responseText } = event.detail.xhr;
  const words = {
    403: "Your role does not allow this. Ask an administrator of this tenant.",
    404: "This is gone, or no longer yours. Reload the page.",
    409: responseText.length < 300 ? responseText : "Someone else was faster. The page shows the state as it is now.",
    503: "A part of the platform is busy or away, or your organisation has more requests in work than its share. Try again in some seconds.",
    429: "Too many requests. Wait a moment, then try again.",
  };
  if (status === 401) location.reload();
  else if (!isBackground(event.detail)) toast(words[status] ?? `The server could not do this (${status}). Try again; if it stays, look at the health page.`, "error");
});
document.body.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest("[data-reset-when-done]");
  if (form && event.detail.successful) form.reset();
});
document.body.addEventListener("htmx:sendError", (event) => isBackground(event.detail) || toast("No connection to the server. Nothing was changed; try again.", "error"));
document.body.addEventListener("htmx:afterSettle", (event) => {
  refreshTimes(event.detail.elt.isConnected ? event.detail.elt.parentElement : document);
  if (live) watchParts();
});

// --- Addresses of filtered lists carry only what is chosen
document.body.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.verb !== "get") return;
  for (const [name, value] of [...detail.formData]) if (value === "") detail.formData.delete(name);
});

// --- Copy buttons
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    toast("Copied.");
  } catch {
    toast("The browser refused to copy. Select the text and copy it yourself.", "error");
  }
});
