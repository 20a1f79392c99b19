// Short news at the corner of the window, told to screen readers.

import { element, icon } from "./dom.js";
import { errorWords } from "./problems.js";
import { t } from "./texts.js";

const SHOWN_SECONDS = 6;
let region;

function shownRegion() {
  if (!region) {
    region = element("div", { class: "toasts", role: "status", "aria-live": "polite", popover: "manual" });
    document.body.append(region);
  }
  // In the top layer, and above a dialog that was opened later.
  region.hidePopover?.();
  region.showPopover?.();
  return region;
}

/** `news` is a text or an error. Problems stay until they are closed. */
export function toast(news, { bad = false } = {}) {
  const close = element("button", { type: "button", class: "plain square", "aria-label": t("common.close") }, icon("close"));
  const made = element("div", { class: bad ? "toast bad" : "toast" }, element("span", {}, ...(news instanceof Error ? errorWords(news) : [news])), close);
  close.addEventListener("click", () => made.remove());
  shownRegion().append(made);
  if (!bad) setTimeout(() => made.remove(), SHOWN_SECONDS * 1000);
}
