// One medium: beside the list, where keys lead to its neighbours, or as a page of its own.

import { openDrawer } from "../core/dialogs.js";
import { refresh } from "../core/fragments.js";
import { isLive, onMessage } from "../core/live.js";

const LIBRARY = "/admin/media";
const LOOK_EVERY_MILLISECONDS = 4000;
const LOOK_LIVE_MILLISECONDS = 15_000;

/** `list` is null where the medium is the page. */
export function startMedium(list) {
  document.addEventListener("done", (event) => {
    const change = event.target.dataset.changes;
    const medium = event.target.closest(".medium");
    if (!medium) return;
    if (!list) {
      if (change === "gone") location.assign(LIBRARY);
      return;
    }
    list.refresh([idOf(medium)]);
  });
  followProgress();
  if (!list) return;
  document.addEventListener("click", async (event) => {
    const step = event.target instanceof Element ? event.target.closest(".medium [data-step]") : null;
    if (!step) return;
    const at = list.indexOf(idOf(step.closest(".medium")));
    const tile = at < 0 ? null : await list.reach(at + Number(step.dataset.step));
    if (tile) await openDrawer(tile.firstElementChild.href);
    document.querySelector(`.medium [data-step="${step.dataset.step}"]`)?.focus();
  });
  // Closing leads back to the tile of what was shown last.
  document.getElementById("drawer").addEventListener("close", () => {
    const tile = shown && list.tile(shown);
    if (tile?.isConnected) tile.firstElementChild.focus({ preventScroll: true });
  });
  let shown = null;
  document.addEventListener("drawer-opened", (event) => {
    shown = new URL(event.detail.address, location.href).pathname.split("/").pop();
  });
}

/** Of the medium that is shown: messages about it, and looks while it has no outcome. */
function followProgress() {
  let looked = Date.now();
  for (const type of ["media:progress", "media:processed"]) {
    onMessage(type, ({ mediaId }) => {
      const medium = document.getElementById("medium");
      if (medium && idOf(medium) === mediaId) refresh("medium");
    });
  }
  setInterval(() => {
    const isDue = Date.now() - looked >= (isLive() ? LOOK_LIVE_MILLISECONDS : LOOK_EVERY_MILLISECONDS);
    if (!isDue || document.hidden || !document.querySelector("#medium [data-unfinished]")) return;
    looked = Date.now();
    refresh("medium");
  }, 1000);
}

function idOf(medium) {
  return medium.dataset.source.split("/").pop();
}

if (!document.getElementById("library")) startMedium(null);
