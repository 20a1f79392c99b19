// The pages of one event.

import { startDays } from "./day.js";
import { startFaces } from "./faces.js";
import { startLinks } from "./links.js";
import { startMerging } from "./merging.js";
import { startNaming } from "./naming.js";
import { startReceipts } from "./receipts.js";
import { startErasing, startSeeking } from "./seeking.js";
import { startSplitting } from "./splitting.js";
import { startSuggestions } from "./suggestions.js";

startDays();
startSuggestions();
startFaces();
startNaming();
startReceipts();
if (document.getElementById("merge-bar")) startMerging();
if (document.getElementById("split-bar")) startSplitting();
if (document.getElementById("new-link-form")) startLinks();
if (document.getElementById("seek-form")) startSeeking();
if (document.getElementById("erase-form")) startErasing();
// On a phone the tabs are wider than the screen.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
document.addEventListener("done", (event) => {
  // Where no list is behind it, what was deleted leads back to one.
  const { leads } = event.target.dataset;
  if (leads && !event.target.closest("dialog")) location.assign(leads);
});
