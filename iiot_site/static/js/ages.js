// Keeps "12 s ago" true, and shows times in the reader's time zone. The server's clock counts, not the browser's.
const serverNow = Date.parse(document.querySelector('meta[name="server-now"]')?.content ?? "") || Date.now();
const clockOffsetMs = serverNow - Date.now();

/** The server's time now, in ms since 1970. */
export const now = () => Date.now() + clockOffsetMs;

/** 75 → "1 min", as the `age` template filter does. */
export function formatAge(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) {
    const minutes = Math.floor((s % 3600) / 60);
    return `${Math.floor(s / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
  }
  const hours = Math.floor((s % 86_400) / 3600);
  return `${Math.floor(s / 86_400)} d${hours ? ` ${hours} h` : ""}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const dayOfYear = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const withZone = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

export function formatTime(ms) {
  const at = new Date(ms);
  const today = new Date(now());
  if (at.toDateString() === today.toDateString()) return clock.format(ms);
  return (at.getFullYear() === today.getFullYear() ? dayAndClock : dayOfYear).format(ms);
}

/** Write the age or local time into every <time data-age> and <time data-local> below `root`. */
export function refreshTimes(root = document) {
  const at = now();
  for (const element of root.querySelectorAll("time[data-age]")) {
    const ms = Date.parse(element.dateTime);
    const text = formatAge((at - ms) / 1000) + (element.dataset.age === "ago" ? " ago" : "");
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = withZone.format(ms);
  }
  for (const element of root.querySelectorAll("time[data-local]:not([data-done])")) {
    const ms = Date.parse(element.dateTime);
    element.textContent = formatTime(ms);
    element.title = withZone.format(ms);
    element.dataset.done = "";
  }
}

for (const element of document.querySelectorAll("[data-time-zone]")) {
  element.textContent = `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
}
refreshTimes();
setInterval(refreshTimes, 1000);
