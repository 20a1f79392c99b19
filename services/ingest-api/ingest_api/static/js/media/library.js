// The media library: tiles, filters, uploads, and one medium beside them.

import { isLive, onMessage } from "../core/live.js";
import { startUploadDialog } from "../uploads/dialog.js";
import { startUploadPanel } from "../uploads/panel.js";
import { UploadQueue } from "../uploads/queue.js";
import { startBulkActions } from "./bulk_actions.js";
import { Choice } from "./choice.js";
import { startChoosing } from "./choosing.js";
import { Everything } from "./everything.js";
import { startFilters } from "./filters.js";
import { MediaUploads } from "./media_uploads.js";
import { startMedium } from "./medium.js";
import { TileList } from "./tile_list.js";

const BUNDLED_MILLISECONDS = 600;
const LOOK_EVERY_MILLISECONDS = 5000;
/** Messages come to who uploaded; what others upload is looked at now and then. */
const LOOK_LIVE_MILLISECONDS = 20_000;
const KEEP_PLACE_MILLISECONDS = 300;

const choice = new Choice();
const list = new TileList(document.getElementById("library"), location.href, choice);
const queue = new UploadQueue(Number(document.getElementById("upload-form").dataset.limit), new MediaUploads());

document.documentElement.classList.add("scripted");
const chosenBar = document.getElementById("chosen");
const everything = new Everything(list, choice, chosenBar.querySelector('[data-do="everything"]'));
startChoosing(list, choice, everything);
startBulkActions(chosenBar, list, choice, everything);
startUploadPanel(document.getElementById("queue"), queue);
startUploadDialog(queue, { remembered: { key: "mediabus-upload", names: ["entityType", "storageStrategy"] } });
startFilters(list, choice);
startMedium(list);
keepPlace();
followNews();

/** Going back, or loading the page anew, leads to where one was. */
function keepPlace() {
  history.scrollRestoration = "manual";
  const kept = history.state?.library;
  if (kept && list.element.children.length) list.restore(kept);
  let timer = null;
  const keep = () => {
    clearTimeout(timer);
    timer = setTimeout(() => history.replaceState({ ...history.state, library: list.state }, ""), KEEP_PLACE_MILLISECONDS);
  };
  addEventListener("scroll", keep, { passive: true });
  // While one goes from medium to medium in the drawer, the list moves behind it.
  document.getElementById("drawer").addEventListener("close", keep);
}

function followNews() {
  const news = new Set();
  let timer = null;
  let looked = Date.now();
  const refreshSoon = (id) => {
    news.add(id);
    timer ??= setTimeout(async () => {
      const ids = [...news];
      news.clear();
      await list.refresh(ids);
      timer = null;
      if (news.size) refreshSoon([...news][0]);
    }, BUNDLED_MILLISECONDS);
  };
  onMessage("media:progress", ({ mediaId, progress }) => {
    const bar = list.tile(mediaId)?.querySelector("progress");
    if (bar) bar.value = progress;
  });
  onMessage("media:processed", ({ mediaId }) => refreshSoon(mediaId));
  queue.addEventListener("accepted", ({ detail }) => refreshSoon(detail.mediaId));
  queue.addEventListener("ended", ({ detail }) => detail.mediaId && refreshSoon(detail.mediaId));
  setInterval(() => {
    if (document.hidden || Date.now() - looked < (isLive() ? LOOK_LIVE_MILLISECONDS : LOOK_EVERY_MILLISECONDS)) return;
    looked = Date.now();
    for (const id of list.unfinished()) refreshSoon(id);
  }, 1000);
}
