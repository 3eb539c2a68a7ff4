// ReDoc reads its colours once, from an attribute: set here before it starts, when the reader's choice is dark (theme.js).
(() => {
  const ink = "#e6ebf0", soft = "#a3b1be", line = "#2a3540", ground = "#0e1318", surface = "#161d24", accent = "#6cb4ff", bad = "#ff8a80";
  const response = (color) => ({ color, backgroundColor: surface, tabTextColor: color });
  const dark = {
    colors: {
      primary: { main: accent },
      error: { main: bad },
      text: { primary: ink, secondary: soft },
      border: { dark: line, light: line },
      gray: { 50: surface, 100: line },
      responses: { success: response("#6fd88e"), error: response(bad), redirect: response("#f2cf5b"), info: response("#8dc2ff") },
    },
    schema: { nestedBackground: surface, linesColor: line, typeNameColor: soft, typeTitleColor: soft, requireLabelColor: bad },
    sidebar: { backgroundColor: "#101820", textColor: "#d5dde5", activeTextColor: accent, arrow: { color: "#d5dde5" } },
    rightPanel: { backgroundColor: "#0a0e12", textColor: ink },
    codeBlock: { backgroundColor: surface },
    typography: { code: { color: "#ffb066", backgroundColor: "#222d37" }, links: { color: accent, visited: accent, hover: ink } },
  };
  const root = document.documentElement;
  const isDark = root.dataset.bsTheme === "dark";
  if (isDark) {
    document.querySelector("redoc").setAttribute("theme", JSON.stringify(dark));
    document.body.style.background = ground;
  }
  root.addEventListener("themechange", () => {
    if ((root.dataset.bsTheme === "dark") !== isDark) location.reload();
  });
})();
