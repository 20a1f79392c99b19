// What is done with many media at once: asked for in one call, and followed until it is done.

import { ApiProblem, NotReached, call } from "../core/api.js";
import { confirmed } from "../core/dialogs.js";
import { element } from "../core/dom.js";
import { onMessage } from "../core/live.js";
import { failureText } from "../core/problems.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { numberText } from "./everything.js";

const MOST_MEDIA = 10_000;
const COUNTING_SECONDS = 60;
const FIRST_LOOK_MILLISECONDS = 500;
const LONGEST_LOOK_MILLISECONDS = 5000;
/** Where the page of storage jobs looks for what was chosen here. */
const SELECTION = "mediabus-selection";
/** The jobs that this tab follows, also after another page was loaded: what each does, by its id. */
const FOLLOWED = "mediabus-followed";
const SYNC = "/api/admin/media/sync";
const ENDED = new Set(["completed", "failed", "cancelled"]);

const ACTIONS = {
  delete: { address: "/api/admin/media/delete", body: { hard: false }, asks: "media.delete_soft_confirm", asksAll: "media.delete_soft_all", action: "media.delete_action", danger: true, told: "media.deleting" },
  delete_hard: { address: "/api/admin/media/delete", body: { hard: true }, asks: "media.delete_hard_confirm", typesAll: "media.delete_hard_all", action: "media.delete_action", danger: true, told: "media.deleting" },
  restore: { address: "/api/admin/media/restore", body: {}, asksAll: "media.restore_all", action: "media.restore_action", told: "media.restoring" },
  rerender: { address: "/api/admin/media/watermark", body: {}, asks: "media.rerender_confirm", asksAll: "media.rerender_all", action: "media.rerender_action", told: "media.rerendering" },
};

export function startBulkActions(bar, list, choice, everything) {
  const count = bar.querySelector("[data-count]");
  choice.addEventListener("change", () => {
    bar.hidden = choice.size === 0;
    count.textContent = choice.size ? t(choice.all ? "media.chosen_all" : "media.chosen", { count: choice.size, number: numberText(choice.size) }) : "";
    document.documentElement.classList.toggle("has-chosen", choice.size > 0);
  });
  for (const [jobId, text] of Object.entries(followed())) followToTheEnd(jobId, text, [], list);
  bar.addEventListener("click", (event) => {
    const what = event.target.closest("[data-do]")?.dataset.do;
    if (what === "everything") everything.choose();
    else if (what) act(what, list, choice);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Delete" || !choice.size || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("input:not([type=checkbox]), textarea, select")) return;
    act(new URL(list.address, location.href).searchParams.get("deleted") === "true" ? "delete_hard" : "delete", list, choice);
  });
}

async function act(what, list, choice) {
  if (what === "clear") {
    choice.clear();
    return;
  }
  const ids = choice.ids;
  const selection = choice.all ? { matching: choice.all.matching } : { mediaIds: ids };
  if (ids.length > MOST_MEDIA) {
    toast(t("media.too_many", { count: MOST_MEDIA }), { bad: true });
    return;
  }
  try {
    if (what === "sync") {
      await leaveForStorageJob(selection);
      return;
    }
    const begun = await begin(ACTIONS[what], selection, ids.length);
    if (!begun) return;
    choice.clear();
    const text = t(ACTIONS[what].told, { count: begun.count });
    toast(text);
    await followToTheEnd(begun.jobId, text, ids, list);
  } catch (error) {
    toast(error, { bad: true });
  }
}

async function leaveForStorageJob(selection) {
  // What is counted is the same for each operation.
  const count = selection.matching ? await counted(SYNC, { operation: "upload_to_s3", ...selection }) : selection.mediaIds.length;
  if (count === 0) return;
  sessionStorage.setItem(SELECTION, JSON.stringify(selection.matching ? { matching: selection.matching, count } : selection.mediaIds));
  location.assign("/admin/media/sync?new=");
}

/** How much a call would be about, told where that is nothing. */
async function counted(address, body) {
  const { total } = await call("POST", `${address}?dryRun=true`, body, { seconds: COUNTING_SECONDS });
  if (!total) toast(t("media.nothing_matches"), { bad: true });
  return total;
}

/**
 * Ask the visitor, then the API; resolves to the job and how many media it is about, or to null where somebody does not
 * want it. More than a few are deleted only by who types how many, and all that match are never deleted for good without.
 */
async function begin(action, selection, chosen) {
  const body = { ...action.body, ...selection };
  const count = selection.matching ? await counted(action.address, body) : chosen;
  if (!count) return null;
  if (selection.matching && action.typesAll) {
    if (!(await numberTyped(count, action.typesAll))) return null;
    body.confirm = count;
  } else {
    const asks = selection.matching ? action.asksAll : action.asks;
    const question = { action: t(action.action ?? "common.confirm"), danger: action.danger };
    if (asks && !(await confirmed(t(asks, { count, number: numberText(count) }), question))) return null;
  }
  try {
    return { count, jobId: (await call("POST", action.address, body, { seconds: COUNTING_SECONDS })).jobId };
  } catch (error) {
    if (!(error instanceof ApiProblem) || error.code !== "confirmation_needed") throw error;
    const confirm = error.problem.count;
    if (!(await numberTyped(confirm, selection.matching && action.typesAll ? action.typesAll : "media.confirm_number"))) return null;
    return { count: confirm, jobId: (await call("POST", action.address, { ...body, confirm }, { seconds: COUNTING_SECONDS })).jobId };
  }
}

function numberTyped(count, text) {
  return new Promise((resolve) => {
    const input = element("input", { id: "confirm-number", inputmode: "numeric", autocomplete: "off", autofocus: true });
    const go = element("button", { value: "yes", class: "first danger", disabled: true }, t("media.delete_action"));
    const dialog = element(
      "dialog",
      { "aria-labelledby": "confirm-number-text" },
      element(
        "form",
        { method: "dialog" },
        element("p", { id: "confirm-number-text" }, t(text, { count, number: numberText(count) })),
        element("div", { class: "field" }, element("label", { for: "confirm-number" }, t("media.confirm_number_label")), input),
        // The first button of a form is the one that Enter presses.
        element("div", { class: "row end" }, element("button", { type: "button", "data-closes": true }, t("common.cancel")), go),
      ),
    );
    input.addEventListener("input", () => (go.disabled = input.value.replace(/\D/g, "") !== String(count)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function followed() {
  return JSON.parse(sessionStorage.getItem(FOLLOWED) ?? "{}");
}

/** So that who leaves the page and comes back can still cancel it. */
async function followToTheEnd(jobId, text, ids, list) {
  sessionStorage.setItem(FOLLOWED, JSON.stringify({ ...followed(), [jobId]: text }));
  try {
    await follow(jobId, text, ids, list);
  } catch (error) {
    toast(error, { bad: true });
  } finally {
    const { [jobId]: _, ...others } = followed();
    sessionStorage.setItem(FOLLOWED, JSON.stringify(others));
  }
}

/** The job as it stands; null while nobody answers. */
async function lookedAt(jobId) {
  try {
    return await call("GET", `/api/admin/media/jobs/${jobId}`);
  } catch (error) {
    if (error instanceof NotReached || error.status >= 500 || error.status === 429) return null;
    throw error;
  }
}

/** Look until the job has ended, and at once when it is told of; of everything that matched the top of the list is shown as it becomes. */
async function follow(jobId, text, ids, list) {
  let wait = FIRST_LOOK_MILLISECONDS;
  let hasNews = false;
  let lookNow = () => {};
  const listenNoMore = onMessage("jobs:progress", (told) => {
    if (told.jobId !== jobId) return;
    hasNews = true;
    lookNow();
  });
  const shown = progressOf(text, async () => {
    await cancel(jobId);
    wait = FIRST_LOOK_MILLISECONDS;
    lookNow();
  });
  try {
    for (; ; wait = Math.min(1.5 * wait, LONGEST_LOOK_MILLISECONDS)) {
      await new Promise((resolve) => {
        lookNow = resolve;
        if (hasNews) resolve();
        else setTimeout(resolve, wait);
      });
      hasNews = false;
      const job = await lookedAt(jobId);
      if (!job) continue;
      if (ENDED.has(job.status)) {
        await (ids.length ? list.refresh(ids) : list.show(list.address));
        tellOutcome(job);
        return;
      }
      shown.tell(job);
      if (!ids.length) await list.refreshTop();
    }
  } finally {
    listenNoMore();
    shown.line.remove();
  }
}

/** What can't be cancelled any more has ended, or is about to: how is told by the next look. */
async function cancel(jobId) {
  try {
    await call("POST", `/api/admin/media/jobs/${jobId}/cancel`);
  } catch (error) {
    toast(error, { bad: true });
  }
}

/** A line above the list, from the first look on that finds the job under way; `stop` begins nothing more of it. */
function progressOf(text, stop) {
  const progress = element("progress", { max: 100, value: 0, "aria-label": text });
  const what = element("span", {}, text);
  const counts = element("span", { class: "small" });
  const button = element("button", { type: "button", class: "small" }, t("media.bulk_cancel"));
  const line = element("p", {}, what, progress, counts, button);
  button.addEventListener("click", async () => {
    button.setAttribute("aria-busy", "true");
    await stop();
    button.removeAttribute("aria-busy");
  });
  const tell = (job) => {
    progress.value = job.progress;
    counts.textContent = t("media.bulk_progress", { done: numberText(job.completed + job.failed), number: numberText(job.total) });
    button.hidden = !job.isCancellable;
    if (job.cancelledAt) what.textContent = t("media.bulk_cancelling");
    document.getElementById("bulk-progress").append(line);
  };
  return { line, tell };
}

function tellOutcome(job) {
  if (job.status === "cancelled") {
    const text = job.failed ? "media.bulk_cancelled_failed" : "media.bulk_cancelled";
    toast(t(text, { done: numberText(job.completed), number: numberText(job.total), failed: numberText(job.failed) }), { bad: job.failed > 0 });
    return;
  }
  if (!job.failed) {
    toast(t("media.bulk_done", { count: job.completed }));
    return;
  }
  const failed = job.children.find((child) => child.error);
  const reason = failed ? failureText(failed.error) : "";
  toast(t("media.bulk_failed", { done: job.completed, failed: job.failed, reason }), { bad: true });
}
