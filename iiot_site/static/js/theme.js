// Light, dark or as the system says. Loaded before the style sheets are painted, so that no page flashes.
(() => {
  const root = document.documentElement;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");

  function readChoice() {
    try {
      return localStorage.getItem("theme") || "auto";
    } catch {
      return "auto"; // storage is blocked: follow the system
    }
  }

  function apply() {
    const choice = readChoice();
    root.dataset.themeChoice = choice;
    root.dataset.bsTheme = choice === "auto" ? (systemDark.matches ? "dark" : "light") : choice;
    for (const button of document.querySelectorAll("[data-theme-set]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeSet === choice));
    }
    root.dispatchEvent(new CustomEvent("themechange"));
  }

  systemDark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", apply);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-set]");
    if (!button) return;
    try {
      localStorage.setItem("theme", button.dataset.themeSet);
    } catch {
      root.dataset.bsTheme = button.dataset.themeSet; // for this page only
      return;
    }
    apply();
  });
  apply();
})();
