/* The theme that was chosen last. A plain script in the head, so that the page never flashes in the other one. */
"use strict";
try {
  const kept = localStorage.getItem("sentiscale-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* a browser may refuse to remember; the button works all the same */ }
