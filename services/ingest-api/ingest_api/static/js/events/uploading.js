// Photos that are dropped onto the page of an event, or chosen there.

import { refresh } from "../core/fragments.js";
import { startUploadDialog } from "../uploads/dialog.js";
import { startUploadPanel } from "../uploads/panel.js";
import { UploadQueue } from "../uploads/queue.js";
import { PhotoUploads } from "./photo_uploads.js";

const LOOK_EVERY_MILLISECONDS = 4000;
/** For so long behind the last file photos are looked at, and somewhat longer for each. */
const LOOKED_AT_MILLISECONDS = 60_000;
const EACH_MILLISECONDS = 500;

const form = document.getElementById("upload-form");
const queue = new UploadQueue(Number(form.dataset.limit), new PhotoUploads(form.dataset.address));
startUploadPanel(document.getElementById("queue"), queue);
startUploadDialog(queue, { leaving: ".sidebar a, .topbar a, .crumbs a, .tabs a, .chips a, .pages a, #sync a" });
showThemAsTheyCome();

function showThemAsTheyCome() {
  let until = 0;
  queue.addEventListener("accepted", () => {
    until = Math.max(until, Date.now() + LOOKED_AT_MILLISECONDS) + EACH_MILLISECONDS;
  });
  setInterval(() => {
    if (!document.hidden && Date.now() < until) refresh("photos");
  }, LOOK_EVERY_MILLISECONDS);
}
