// Short notes at the edge of the page, read out by screen readers.
const SHOWN_MS = { note: 2_500, error: 8_000 };

/** Show `text` for a moment; `kind` is "note" or "error". */
export function toast(text, kind = "note") {
  const note = document.createElement("div");
  note.className = "toast-note";
  note.dataset.kind = kind;
  note.textContent = text;
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), SHOWN_MS[kind]);
}
