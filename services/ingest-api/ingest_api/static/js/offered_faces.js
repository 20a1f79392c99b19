// Buttons for the faces of a picture, from the largest: for one of them was searched.

import { element } from "./core/dom.js";
import { t } from "./core/texts.js";

const MOST_OFFERED_FACES = 6;

/**
 * Show them in `notice`, which stays hidden where there is one face. `area` names the texts; `choose(index, button)` is
 * called with a face that was not searched for.
 */
export function offerFaces(notice, { faces_in_selfie: faces, chosen }, area, choose) {
  notice.hidden = faces < 2;
  if (notice.hidden) return;
  notice.querySelector("p").textContent = t(`${area}.several_faces`, { count: faces });
  const numbers = Array.from({ length: Math.min(faces, MOST_OFFERED_FACES) }, (_, index) => index);
  notice.querySelector(".row").replaceChildren(
    ...numbers.map((index) => {
      const attributes = { type: "button", class: "small", "aria-pressed": String(index === chosen), disabled: index === chosen };
      return element("button", { ...attributes, onclick: (event) => choose(index, event.currentTarget) }, t(`${area}.face_number`, { number: index + 1 }));
    }),
  );
}
