/* The admin theme (unfold) writes its behaviour as Alpine expressions. Our Content-Security-Policy forbids evaluating
   strings, so Alpine's CSP build interprets them instead. It sees no globals: here are those that the theme's pages name. */
"use strict";

// Style attributes written as text are refused; the same text through the style object is not.
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (name === "style" && this.style) {
    this.style.cssText = value;
  } else {
    setAttribute.call(this, name, value);
  }
};
window.htmx.config.includeIndicatorStyles = false;
window.htmx.config.allowEval = false;

document.addEventListener("alpine:init", () => {
  const stored = {
    getItem: (key) => window.localStorage.getItem(key),
    setItem: (key, value) => window.localStorage.setItem(key, value),
  };

  // The outermost component, so every expression on the page sees what it holds.
  Alpine.data("theme", (chosen) => ({
    ...window.theme(chosen),
    localStorage: stored,
    sortRecords: (event) => window.sortRecords(event),
    moveRecords: (event) => window.moveRecords(event),
    window: { location: { pathname: window.location.pathname, search: window.location.search } },
  }));
  for (const name of ["searchForm", "searchDropdown", "searchCommand"]) {
    Alpine.data(name, () => window[name]());
  }

  // The one expression with an arrow function, which the CSP build does not know.
  const body = document.body;
  body.removeAttribute("x-init");
  Alpine.directive("remembered", (element, directive, { effect }) => {
    const state = Alpine.$data(element);
    state.activeTab = (window.getCurrentTab && window.getCurrentTab()) || state.activeTab || "";
    effect(() => stored.setItem("sidebarDesktopOpen", state.sidebarDesktopOpen ? "1" : "0"));
  });
  body.setAttribute("x-remembered", "");
});
