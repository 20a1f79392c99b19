// From files to a batch: dropped anywhere or chosen, then said what they are of, then uploaded.

import { confirmed } from "../core/dialogs.js";
import { sizeText } from "../core/formats.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { filesOf, picturesAmong } from "./dropped_files.js";

/** `remembered` names the fields that a later batch begins with, `leaving` the links that lead away from the page. */
export function startUploadDialog(queue, { remembered = null, leaving = ".sidebar a, .topbar a" } = {}) {
  const dialog = document.getElementById("upload-dialog");
  const form = document.getElementById("upload-form");
  const zone = form.querySelector(".drop");
  const told = form.querySelector("[data-picked]");
  const start = form.querySelector("[data-start]");
  const overlay = document.getElementById("drop-anywhere");
  const pickers = { files: document.getElementById("pick-files"), folder: document.getElementById("pick-folder") };
  const startText = start.textContent;
  let files = [];

  const show = ({ files: found, leftOut = 0 }) => {
    files = found;
    const size = sizeText(files.reduce((sum, file) => sum + file.size, 0));
    const parts = files.length ? [t("uploads.files_chosen", { count: files.length, size })] : [t("uploads.nothing_chosen")];
    if (leftOut) parts.push(t("uploads.left_out", { count: leftOut }));
    told.textContent = parts.join(". ").replace(/\.\. /g, ". ");
    start.disabled = files.length === 0;
    start.textContent = files.length ? t("uploads.start_files", { count: files.length }) : startText;
    if (!dialog.open) dialog.showModal();
    if (files.length) (form.querySelector("input:invalid") ?? start).focus();
  };
  const drop = async (transfer) => {
    const found = filesOf(transfer);
    told.textContent = t("uploads.reading_folder");
    if (!dialog.open) dialog.showModal();
    try {
      show(await found);
    } catch {
      show({ files: [] });
    }
  };

  if (remembered) recall(form, remembered);
  form.querySelector('[data-pick="files"]').addEventListener("click", () => pickers.files.click());
  form.querySelector('[data-pick="folder"]').addEventListener("click", () => pickers.folder.click());
  pickers.files.addEventListener("change", () => show({ files: [...pickers.files.files] }));
  pickers.folder.addEventListener("change", () => show(picturesAmong(pickers.folder.files)));
  dialog.addEventListener("close", () => {
    files = [];
    told.textContent = "";
    start.disabled = true;
    start.textContent = startText;
    for (const picker of Object.values(pickers)) picker.value = "";
  });
  form.addEventListener("submit", () => {
    const fields = Object.fromEntries(new FormData(form));
    if (remembered) remember(fields, remembered);
    queue.add(files, fields);
  });

  let inside = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (isOver) => {
    if (!isOver) inside = 0;
    overlay.hidden = !isOver || dialog.open;
    zone.classList.toggle("over", isOver && dialog.open);
  };
  document.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    inside += 1;
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    inside -= 1;
    if (inside <= 0) mark(false);
  });
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(false);
    const other = document.querySelector("dialog[open]:not(#upload-dialog)");
    if (other?.classList.contains("drawer")) other.close();
    else if (other) return;
    drop(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (!pasted.length || document.querySelector("dialog[open]:not(#upload-dialog)")) return;
    event.preventDefault();
    show({ files: pasted });
  });

  queue.addEventListener("signed-out", () => toast(t("common.signed_out"), { bad: true }));
  addEventListener("beforeunload", (event) => {
    if (queue.isRunning) event.preventDefault();
  });
  // Links would end the uploads: ask in our own words, and take no for an answer before the browser asks.
  document.addEventListener("click", async (event) => {
    const link = event.target instanceof Element ? event.target.closest(leaving) : null;
    if (!link || !queue.isRunning || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    if (!(await confirmed(t("uploads.leave_uploads"), { action: t("uploads.leave_action"), danger: true }))) return;
    queue.cancelAll();
    location.assign(link.href);
  });
}

function recall(form, { key, names }) {
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
    for (const name of names) form.elements[name].value = kept[name] ?? "";
  } catch {
    localStorage.removeItem(key);
  }
}

/** What the last batch was of; which one it belonged to changes with each. */
function remember(fields, { key, names }) {
  localStorage.setItem(key, JSON.stringify(Object.fromEntries(names.map((name) => [name, fields[name]]))));
}
