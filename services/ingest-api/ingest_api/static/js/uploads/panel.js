// The uploads as people see them: a panel in the corner, with what needs them first.

import { element, icon } from "../core/dom.js";
import { t } from "../core/texts.js";
import { ENDED } from "./queue.js";

const SHOWN_ROWS = 60;
/** What needs somebody comes first, what is over last. */
const RANK = { failed: 0, uploading: 1, processing: 1, waiting: 1, done: 2, cancelled: 2 };

export function startUploadPanel(panel, queue) {
  const view = new Panel(panel, queue);
  let frame = 0;
  queue.addEventListener("change", () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      view.render();
    });
  });
  panel.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) view.pressed(button);
  });
}

class Panel {
  #panel;
  #queue;
  #rows = new Map();
  #list;

  constructor(panel, queue) {
    this.#panel = panel;
    this.#queue = queue;
    this.#list = panel.querySelector("ul");
  }

  pressed(button) {
    const queue = this.#queue;
    const item = queue.items.find((one) => one.id === button.dataset.item);
    if (item) {
      if (ENDED.has(item.state)) queue.retry(item);
      else queue.cancel(item);
      return;
    }
    switch (button.dataset.queue) {
      case "pause":
        return queue.pause();
      case "resume":
        return queue.resume();
      case "retry":
        return queue.retryFailed();
      case "cancel":
        return queue.cancelAll();
      case "clear":
        return queue.clearEnded();
      case "close":
        return this.#close();
      case "fold":
        return button.setAttribute("aria-expanded", String(!this.#panel.classList.toggle("folded")));
    }
  }

  render() {
    const items = this.#queue.items;
    const counts = { failed: 0, uploading: 0, processing: 0, waiting: 0, done: 0, cancelled: 0 };
    for (const item of items) counts[item.state] += 1;
    if (!items.length) this.#panel.hidden = true;
    else if (this.#panel.hidden) this.#panel.hidden = false;
    document.documentElement.classList.toggle("has-queue", !this.#panel.hidden);
    this.#summarise(items, counts);
    this.#offer(counts);
    this.#list.replaceChildren(...this.#shownRows(items));
  }

  /** Closed once nothing runs any more; until then it only folds, for who closes it wants it out of the way. */
  #close() {
    if (this.#queue.items.every((item) => ENDED.has(item.state))) this.#queue.clear();
    else this.#panel.classList.add("folded");
  }

  #summarise(items, counts) {
    const { isPaused, waitsUntil, isOffline } = this.#queue;
    const seconds = Math.ceil((waitsUntil - Date.now()) / 1000);
    const open = counts.waiting + counts.uploading;
    const wanted = items.length - counts.cancelled;
    const isDone = open + counts.processing === 0;
    const parts = [isDone ? t("uploads.queue_done", { count: counts.done }) : t("uploads.queue_running", { done: counts.done, count: wanted })];
    if (counts.failed) parts.push(t("uploads.queue_failed", { count: counts.failed }));
    if (isPaused && open) parts.push(t("uploads.queue_paused"));
    else if (open && isOffline) parts.push(t("uploads.queue_offline"));
    else if (open && seconds > 0) parts.push(t("uploads.queue_waits", { seconds }));
    const text = parts.join(" · ");
    const summary = this.#panel.querySelector("[data-summary]");
    if (summary.textContent !== text) summary.textContent = text;
    const total = this.#panel.querySelector("[data-total]");
    total.value = (100 * items.reduce((sum, item) => sum + shareOf(item, this.#queue.isFollowed), 0)) / Math.max(1, wanted);
    total.className = isDone ? (counts.failed ? "bad" : "good") : "";
  }

  #offer(counts) {
    const open = counts.waiting + counts.uploading;
    const shown = {
      pause: open > 0 && !this.#queue.isPaused,
      resume: open > 0 && this.#queue.isPaused,
      retry: this.#queue.items.some((item) => item.state === "failed" && !item.isFinal),
      cancel: open > 0,
      clear: counts.done + counts.cancelled > 0,
    };
    for (const [name, isShown] of Object.entries(shown)) {
      const button = this.#panel.querySelector(`[data-queue="${name}"]`);
      const hadFocus = button === document.activeElement;
      button.hidden = !isShown;
      // Who pressed a key that is gone goes on with the one in its place.
      if (hadFocus && !isShown) this.#panel.querySelector("[data-queue]:not([hidden])")?.focus();
    }
  }

  #shownRows(items) {
    const shown = items.map((item, place) => ({ item, place }));
    shown.sort((one, other) => RANK[one.item.state] - RANK[other.item.state] || one.place - other.place);
    const most = shown.slice(0, SHOWN_ROWS);
    const rows = most.map(({ item }) => this.#row(item));
    const kept = new Set(most.map(({ item }) => item.id));
    for (const id of this.#rows.keys()) if (!kept.has(id)) this.#rows.delete(id);
    const rest = items.length - most.length;
    if (rest > 0) rows.push(element("li", { class: "quiet" }, t("uploads.more_files", { count: rest })));
    return rows;
  }

  #row(item) {
    const row = this.#rows.get(item.id) ?? this.#newRow(item);
    this.#rows.set(item.id, row);
    const isActive = item.state === "uploading" || item.state === "processing";
    const percent = Math.round(100 * shareOf(item, this.#queue.isFollowed));
    setText(row.state, item.why || stateText(item));
    row.state.className = item.state === "failed" ? "why" : item.state === "done" ? "done" : "quiet";
    row.progress.hidden = !isActive;
    row.progress.value = percent;
    const canRetry = (item.state === "failed" || item.state === "cancelled") && !item.isFinal;
    const canCancel = item.state === "waiting" || item.state === "uploading";
    const wanted = canRetry ? "retry" : canCancel ? "close" : item.state === "done" ? "done" : "";
    if (row.action !== wanted) {
      row.action = wanted;
      row.place.replaceChildren(...this.#action(item, wanted));
    }
    return row.element;
  }

  #action(item, wanted) {
    if (wanted === "done") return [element("span", { class: "done" }, icon("check"))];
    if (!wanted) return [];
    const label = wanted === "retry" ? t("uploads.retry_one", { name: item.file.name }) : t("uploads.cancel_one", { name: item.file.name });
    return [element("button", { type: "button", class: "plain", "aria-label": label, title: label, dataset: { item: item.id } }, icon(wanted))];
  }

  #newRow(item) {
    const state = element("span", {});
    const progress = element("progress", { max: 100, value: 0, "aria-label": item.file.name });
    const place = element("span", {});
    const name = element("div", { class: "clip", title: item.file.webkitRelativePath || item.file.name }, item.file.name);
    return { element: element("li", {}, element("div", {}, name, progress, state), place), state, progress, place, action: null };
  }
}

function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** Where something follows the upload, each of both is half of the way. */
function shareOf(item, isFollowed) {
  if (item.state === "done" || item.state === "failed") return 1;
  if (item.state === "uploading") return isFollowed ? item.sent / 2 : item.sent;
  return item.state === "processing" ? 0.5 + item.progress / 200 : 0;
}

function stateText(item) {
  if (item.state === "uploading") return t("uploads.state_uploading", { percent: Math.round(100 * item.sent) });
  return t(`uploads.state_${item.state}`);
}
