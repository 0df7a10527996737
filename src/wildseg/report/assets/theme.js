"use strict"; // of the script of the page behind this one, too
(() => {
  // Dark or light: as the system has it, until somebody chooses; the choice holds for all pages of wildseg.
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("wildseg-theme"); } catch { /* a browser may refuse to store for files */ }
  const paint = () => { root.dataset.theme = chosen || (system.matches ? "dark" : "light"); };
  system.addEventListener("change", paint);
  paint();
  document.getElementById("theme").addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("wildseg-theme", chosen); } catch { /* as above */ }
    paint();
  });
})();
