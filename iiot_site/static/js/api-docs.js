// The API's pages follow the reader's choice of light or dark (theme.js): Swagger UI knows a class for it.
(() => {
  const root = document.documentElement;
  const follow = () => root.classList.toggle("dark-mode", root.dataset.bsTheme === "dark");
  root.addEventListener("themechange", follow);
  follow();
})();
