// Moments in the visitor's own time zone; the server writes them in UTC.

import { language } from "./texts.js";

const near = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" });

export function localiseTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    const text = near.format(moment);
    if (time.textContent !== text) time.textContent = text;
    time.title = exact.format(moment);
  }
}

/** Put times right that come later, too. */
export function startTimes() {
  localiseTimes();
  new MutationObserver((changes) => {
    for (const change of changes) {
      const changed = change.target instanceof Element ? change.target : change.target.parentElement;
      if (changed) localiseTimes(changed.closest("time")?.parentElement ?? changed);
    }
  }).observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ["datetime"] });
}
