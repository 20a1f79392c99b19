// "Find me": what a search found, and what helps where it found nobody or saw several faces.

import { call } from "../core/api.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { offerFaces } from "../offered_faces.js";
import { tileOf } from "./photos.js";
import { wordsFor } from "./problems.js";
import { SelfieForm } from "./selfie_form.js";

/** Returns what tells the id of the last search, or null. */
export function startFinding(root, changed) {
  const dialog = document.getElementById("find");
  let searchId = null;
  if (!dialog) return () => null;
  const found = document.getElementById("found");
  const list = document.getElementById("found-photos");
  const more = document.getElementById("found-more");
  let cursor = null;

  const append = (answer) => {
    const photos = answer.matches.map((match) => ({ id: match.photo_id, url: match.preview_url, hasOriginal: match.image_url !== null }));
    list.append(...photos.map(tileOf));
    cursor = answer.next_cursor;
    more.hidden = !cursor;
  };

  const form = new SelfieForm(dialog, (answer, picture) => {
    dialog.close();
    searchId = answer.search_id;
    list.replaceChildren();
    append(answer);
    const isEmpty = answer.matches.length === 0;
    document.getElementById("found-title").textContent = isEmpty ? t("gallery.found_none") : cursor ? t("gallery.found_many", { count: answer.matches.length }) : t("gallery.found", { count: answer.matches.length });
    document.getElementById("found-hint").hidden = !isEmpty;
    const all = document.getElementById("found-all");
    if (all) {
      all.hidden = answer.matches.every((match) => match.image_url === null);
      document.getElementById("found-search").value = searchId;
    }
    offerFaces(document.getElementById("found-faces"), answer, "gallery", (index) => form.send(picture, index));
    found.hidden = false;
    found.focus({ preventScroll: true });
    found.scrollIntoView({ block: "start" });
    changed();
  });

  more.addEventListener("click", async () => {
    try {
      const query = new URLSearchParams({ cursor });
      append(await call("GET", `${root.dataset.address}/searches/${searchId}?${query}`));
    } catch (error) {
      toast(wordsFor(error), { bad: true });
    }
  });
  return () => searchId;
}
