// What is done with many media at once: asked for in one call, and followed until it is done.

import { ApiProblem, call } from "../core/api.js";
import { confirmed } from "../core/dialogs.js";
import { element } from "../core/dom.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";

const MOST_MEDIA = 10_000;
const FIRST_LOOK_MILLISECONDS = 500;
const LONGEST_LOOK_MILLISECONDS = 5000;
const FOLLOWED_MILLISECONDS = 30 * 60_000;
/** Where the page of storage jobs looks for what was chosen here. */
const SELECTION = "mediabus-selection";

const ACTIONS = {
  delete: { address: "/api/admin/media/delete", body: { hard: false }, asks: "media.delete_soft_confirm", action: "media.delete_action", danger: true, told: "media.deleting" },
  delete_hard: { address: "/api/admin/media/delete", body: { hard: true }, asks: "media.delete_hard_confirm", action: "media.delete_action", danger: true, told: "media.deleting" },
  restore: { address: "/api/admin/media/restore", body: {}, told: "media.restoring" },
  rerender: { address: "/api/admin/media/watermark", body: {}, asks: "media.rerender_confirm", action: "media.rerender_action", told: "media.rerendering" },
};

export function startBulkActions(bar, list, choice) {
  const count = bar.querySelector("[data-count]");
  choice.addEventListener("change", () => {
    bar.hidden = choice.size === 0;
    count.textContent = choice.size ? t("media.chosen", { count: choice.size }) : "";
    document.documentElement.classList.toggle("has-chosen", choice.size > 0);
  });
  bar.addEventListener("click", (event) => {
    const what = event.target.closest("[data-do]")?.dataset.do;
    if (what) act(what, list, choice);
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
  if (ids.length > MOST_MEDIA) {
    toast(t("media.too_many", { count: MOST_MEDIA }), { bad: true });
    return;
  }
  if (what === "sync") {
    sessionStorage.setItem(SELECTION, JSON.stringify(ids));
    location.assign("/admin/media/sync?new=");
    return;
  }
  const action = ACTIONS[what];
  if (action.asks && !(await confirmed(t(action.asks, { count: ids.length }), { action: t(action.action), danger: action.danger }))) return;
  try {
    const started = await begin(action, ids);
    if (!started) return;
    choice.clear();
    toast(t(action.told, { count: ids.length }));
    await follow(started.jobId, ids, list);
  } catch (error) {
    toast(error.message, { bad: true });
  }
}

/** Ask for it; more than a few are deleted only by who types how many. */
async function begin(action, ids) {
  const body = { ...action.body, mediaIds: ids };
  try {
    return await call("POST", action.address, body);
  } catch (error) {
    if (!(error instanceof ApiProblem) || error.code !== "confirmation_needed") throw error;
    const count = error.problem.count;
    if (!(await numberTyped(count))) return null;
    return call("POST", action.address, { ...body, confirm: count });
  }
}

function numberTyped(count) {
  return new Promise((resolve) => {
    const input = element("input", { id: "confirm-number", inputmode: "numeric", autocomplete: "off", autofocus: true });
    const go = element("button", { value: "yes", class: "first danger", disabled: true }, t("media.delete_action"));
    const dialog = element(
      "dialog",
      { "aria-labelledby": "confirm-number-text" },
      element(
        "form",
        { method: "dialog" },
        element("p", { id: "confirm-number-text" }, t("media.confirm_number", { count })),
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

async function follow(jobId, ids, list) {
  const end = Date.now() + FOLLOWED_MILLISECONDS;
  for (let wait = FIRST_LOOK_MILLISECONDS; Date.now() < end; wait = Math.min(1.5 * wait, LONGEST_LOOK_MILLISECONDS)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    const job = await call("GET", `/api/admin/media/jobs/${jobId}`);
    if (job.status !== "completed" && job.status !== "failed") continue;
    await list.refresh(ids);
    tellOutcome(job);
    return;
  }
}

function tellOutcome(job) {
  if (!job.failed) {
    toast(t("media.bulk_done", { count: job.completed }));
    return;
  }
  const reason = job.children.find((child) => child.error)?.error.detail ?? "";
  toast(t("media.bulk_failed", { done: job.completed, failed: job.failed, reason }), { bad: true });
}
