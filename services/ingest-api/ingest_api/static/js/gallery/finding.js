// "Find me": what a search found, and what helps where it found nobody or saw several faces.

import { call } from "../core/api.js";
import { element } from "../core/dom.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { tileOf } from "./photos.js";
import { wordsFor } from "./problems.js";
import { SelfieForm } from "./selfie_form.js";

const MOST_OFFERED_FACES = 6;

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

  const offerFaces = (answer, picture) => {
    const notice = document.getElementById("found-faces");
    notice.hidden = answer.faces_in_selfie < 2;
    if (notice.hidden) return;
    notice.querySelector("p").textContent = t("gallery.several_faces", { count: answer.faces_in_selfie });
    const numbers = Array.from({ length: Math.min(answer.faces_in_selfie, MOST_OFFERED_FACES) }, (_, index) => index);
    notice.querySelector(".row").replaceChildren(
      ...numbers.map((index) => {
        const pressed = String(index === answer.chosen);
        const attributes = { type: "button", class: "small", "aria-pressed": pressed, disabled: index === answer.chosen };
        return element("button", { ...attributes, onclick: () => form.send(picture, index) }, t("gallery.face_number", { number: index + 1 }));
      }),
    );
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
    offerFaces(answer, picture);
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
