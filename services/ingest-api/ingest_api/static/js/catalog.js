// Changes of products' files. They end at once, or go on as a job that is followed to its end; what failed leaves
// everything as it was, and why is told.
//
//   <form data-change="DELETE" action="…">     like data-api, for changes of files
//   <… data-drops data-method data-address>    takes pictures that are dropped on it or chosen by its file input

import { bodyOf, clearProblems, refuse } from "./core/actions.js";
import { ApiProblem, NotReached, call } from "./core/api.js";
import { confirmed } from "./core/dialogs.js";
import { element, icon } from "./core/dom.js";
import { sizeText } from "./core/formats.js";
import { refresh } from "./core/fragments.js";
import { t } from "./core/texts.js";
import { toast } from "./core/toasts.js";

const LOOK_MILLISECONDS = 1000;
const MOST_LOOKS = 600;
const UPLOAD_MILLISECONDS = 15 * 60 * 1000;

/** Resolves once a change has ended well: at once, or when its job did. Throws ApiProblem, NotReached. */
async function ended(answer, told = () => {}) {
  if (!answer?.jobId) return;
  for (let looks = 0; looks < MOST_LOOKS; looks += 1) {
    const job = await lookAt(answer.jobId);
    if (job?.status === "completed") return;
    if (job?.status === "failed") throw new ChangeFailed(409, job.error ?? {});
    if (job) told(job.status);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
  }
  throw new ApiProblem(503, { detail: t("catalog.goes_on") });
}

/** A change that ended, and left everything as it was. */
class ChangeFailed extends ApiProblem {}

/** Null while nobody answers: the change goes on without being watched. */
async function lookAt(jobId) {
  try {
    return await call("GET", `/admin/products/jobs/${encodeURIComponent(jobId)}`);
  } catch (error) {
    if (error instanceof NotReached || error.status >= 500) return null;
    throw error;
  }
}

// --- forms

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || form.dataset.change === undefined) return;
  event.preventDefault();
  change(form, event.submitter);
});

async function change(form, submitter) {
  if (form.getAttribute("aria-busy") === "true") return;
  if (form.dataset.confirm && !(await confirmed(form.dataset.confirm, { action: form.dataset.action, danger: true }))) return;
  clearProblems(form);
  form.setAttribute("aria-busy", "true");
  submitter?.setAttribute("aria-busy", "true");
  form.closest(".tile, .variant")?.classList.add("changing");
  try {
    const method = form.dataset.change;
    await ended(await call(method, form.action, bodyOf(form, submitter, method)), () => {});
    form.closest("dialog")?.close();
    toast(form.dataset.toast);
    if (form.dataset.go) location.assign(form.dataset.go);
    else await refresh("variants");
  } catch (error) {
    // First, for what is told at fields is no part of what the server renders.
    await refresh("variants");
    refuse(form, error);
  } finally {
    form.removeAttribute("aria-busy");
    submitter?.removeAttribute("aria-busy");
    form.closest(".tile, .variant")?.classList.remove("changing");
  }
}

document.addEventListener("done", (event) => {
  if (event.target.dataset.leadsToProduct !== undefined) location.assign(`/admin/catalog/${encodeURIComponent(event.detail.answer.id)}`);
});

// --- pictures that arrive

let turn = Promise.resolve();

function take(place, files) {
  const pictures = [...files].filter((file) => !file.type || file.type.startsWith("image/"));
  if (pictures.length < files.length) toast(t("catalog.only_pictures"), { bad: true });
  const wanted = place.dataset.method === "PUT" || !place.querySelector("input[multiple]") ? pictures.slice(0, 1) : pictures;
  for (const picture of wanted) {
    const row = uploadRow(place, picture);
    // One after the other: changes of one product wait for each other anyway.
    turn = turn.then(() => row.send());
  }
}

function uploadRow(place, file) {
  const { method, address, variant, type } = place.dataset;
  const list = place.closest(".slot").querySelector(".uploads");
  const bar = element("progress", { max: 100, value: 0, "aria-label": file.name });
  const state = element("span", { class: "quiet small", role: "status" }, t("catalog.queued"));
  const again = element("button", { type: "button", class: "small", hidden: true }, icon("retry"), t("catalog.try_again"));
  const close = element("button", { type: "button", class: "plain square", hidden: true, "aria-label": t("common.close") }, icon("close"));
  const row = element("li", {}, element("span", { class: "clip" }, file.name, " ", element("span", { class: "quiet" }, sizeText(file.size))), bar, state, element("span", { class: "row" }, again, close));
  list.append(row);
  const form = () => {
    const fields = new FormData();
    // Text fields come first: the file is read as a stream behind them.
    if (variant) fields.append("variantId", variant);
    if (type) fields.append("imageType", type);
    fields.append("file", file, file.name);
    return fields;
  };
  let answer = null;
  const send = async () => {
    again.hidden = close.hidden = true;
    row.classList.remove("failed");
    try {
      // What was taken on already is looked at again, not sent twice.
      answer ??= await upload(method, address, form(), (percent) => {
        bar.value = percent;
        state.textContent = percent < 100 ? t("catalog.sending", { percent }) : t("catalog.storing");
      });
      await ended(answer, (status) => {
        state.textContent = status === "waiting" ? t("catalog.waiting") : t("catalog.storing");
      });
      row.remove();
      toast(method === "PUT" ? t("catalog.replaced") : t("catalog.added"));
    } catch (error) {
      if (error instanceof ChangeFailed) answer = null;
      row.classList.add("failed");
      state.textContent = `${t("catalog.not_done")} ${error.message}`;
      again.hidden = close.hidden = false;
    }
    await refresh("variants");
  };
  again.addEventListener("click", () => (turn = turn.then(send)));
  close.addEventListener("click", () => row.remove());
  return { send };
}

/** Send a form and tell how much of it has gone: fetch can't. Resolves to the answer's JSON. */
function upload(method, address, fields, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, address);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.timeout = UPLOAD_MILLISECONDS;
    request.upload.addEventListener("progress", (event) => told(event.total ? Math.floor((100 * event.loaded) / event.total) : 0));
    request.addEventListener("load", () => {
      if (request.status >= 200 && request.status < 300) resolve(request.response);
      else reject(new ApiProblem(request.status, request.response || { title: String(request.status) }));
    });
    for (const end of ["error", "timeout", "abort"]) request.addEventListener(end, () => reject(new NotReached()));
    request.send(fields);
  });
}

document.addEventListener("change", (event) => {
  const input = event.target;
  const place = input instanceof HTMLInputElement && input.type === "file" ? input.closest("[data-drops]") : null;
  if (!place) return;
  take(place, input.files);
  input.value = "";
});

function placeOf(event) {
  const holdsFiles = event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  return holdsFiles && event.target instanceof Element ? event.target.closest("[data-drops]") : null;
}

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
    // A picture that is dropped beside a slot must not take the page's place.
    event.preventDefault();
    const place = placeOf(event);
    event.dataTransfer.dropEffect = place ? "copy" : "none";
    for (const other of document.querySelectorAll(".dragged-over")) if (other !== place) other.classList.remove("dragged-over");
    place?.classList.add("dragged-over");
  });
}

document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) for (const place of document.querySelectorAll(".dragged-over")) place.classList.remove("dragged-over");
});

document.addEventListener("drop", (event) => {
  const place = placeOf(event);
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  for (const other of document.querySelectorAll(".dragged-over")) other.classList.remove("dragged-over");
  if (place) take(place, event.dataTransfer.files);
});

// Whatever waits or is sent ends with the page.
window.addEventListener("beforeunload", (event) => {
  if (document.querySelector(".uploads li:not(.failed)")) event.preventDefault();
});

// --- pictures that are gone

document.addEventListener(
  "error",
  (event) => {
    const image = event.target;
    if (!(image instanceof HTMLImageElement) || !image.closest(".picture")) return;
    image.hidden = true;
    const note = image.parentElement.querySelector(".none");
    if (note) note.hidden = false;
  },
  true,
);
