// The dialog of a new storage job: fields that belong to the operation, and media that were chosen in the library.

import { element } from "./core/dom.js";
import { language, t } from "./core/texts.js";

const SELECTION = "mediabus-selection";

const form = document.getElementById("new-job-form");
const dialog = document.getElementById("new-job");
const operation = document.getElementById("operation");
const copies = new Set(["upload_to_s3", "download_from_s3"]);
const removals = new Set(["delete_s3", "delete_local", "hard_delete"]);

/** What the library left for a job: `{ mediaIds }` or `{ matching }`, and how many media that is; null for nothing. */
function chosenMedia() {
  try {
    const left = JSON.parse(sessionStorage.getItem(SELECTION) ?? "[]");
    if (left?.matching) return { matching: left.matching, count: Number(left.count) };
    return Array.isArray(left) && left.length ? { mediaIds: left, count: left.length } : null;
  } catch {
    return null;
  }
}

function which() {
  return form.elements.which.value;
}

function show() {
  const isFilter = which() === "filter";
  document.getElementById("filter-fields").hidden = !isFilter;
  document.getElementById("rename-fields").hidden = operation.value !== "rename";
  document.getElementById("source-field").hidden = !copies.has(operation.value);
  document.getElementById("operation-hint").textContent = t(`sync.hint_${operation.value}`);
  // Fields that are not shown are not sent: the API refuses what has no meaning for the operation.
  for (const input of document.querySelectorAll("#filter-fields :is(input, select)")) input.disabled = !isFilter;
  for (const input of document.querySelectorAll("#rename-fields input")) input.disabled = operation.value !== "rename";
  form.elements.deleteSource.disabled = !copies.has(operation.value);
  setSelection();
}

/** Puts what is selected into hidden fields, as the API takes it. */
function setSelection() {
  for (const hidden of form.querySelectorAll("input[type=hidden]")) hidden.remove();
  const add = (name, value, type) => form.append(element("input", { type: "hidden", name, value, "data-type": type }));
  if (which() === "everything") add("filter.everything", "true", "boolean");
  if (which() === "chosen") {
    const { count, ...chosen } = chosenMedia() ?? { mediaIds: [] };
    for (const [name, value] of Object.entries(chosen)) add(name, JSON.stringify(value), "json");
  }
  const wish = { operation: operation.selectedOptions[0].textContent, which: nameOfSelection() };
  delete form.dataset.confirm;
  delete form.dataset.danger;
  if (removals.has(operation.value)) form.dataset.confirm = t("sync.removes", wish);
  else if (copies.has(operation.value) && form.elements.deleteSource.checked) form.dataset.confirm = t("sync.removes_source", wish);
  if (form.dataset.confirm) form.dataset.danger = "";
}

function nameOfSelection() {
  return form.querySelector("input[name=which]:checked").closest("label").textContent.trim();
}

function start() {
  const chosen = chosenMedia();
  const choice = document.getElementById("chosen-choice");
  choice.hidden = !chosen;
  if (chosen) {
    const number = new Intl.NumberFormat(language).format(chosen.count);
    document.getElementById("chosen-text").textContent = t(chosen.matching ? "sync.chosen_all" : "sync.chosen", { count: chosen.count, number });
    // Chosen a moment ago for this job; later somebody may have forgotten them.
    choice.querySelector("input").checked = isAskedFor;
  }
  show();
}

// What only chooses between fields is nothing that the API knows.
for (const radio of form.querySelectorAll("input[name=which]")) radio.dataset.local = "yes";
form.addEventListener("change", show);
form.addEventListener("reset", () => setTimeout(show));
form.addEventListener("done", () => sessionStorage.removeItem(SELECTION));
const isAskedFor = new URLSearchParams(location.search).has("new");
start();
if (isAskedFor) dialog.showModal();
