// A picture in the hands of staff: the photos of whoever is on it, and their faces to be erased.

import { ApiProblem, call } from "../core/api.js";
import { element } from "../core/dom.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";

const MOST_OFFERED_FACES = 6;

/** What looks like the face on a picture, on the event's page of people. */
export function startSeeking() {
  const form = document.getElementById("seek-form");
  const found = document.getElementById("sought");
  const list = document.getElementById("sought-photos");
  const more = document.getElementById("sought-more");
  let next = null;

  const append = (answer) => {
    list.append(...answer.matches.map((match) => tileOf(form.dataset.photos, match)));
    next = answer.next_cursor && `${form.dataset.searches}/${answer.search_id}?${new URLSearchParams({ cursor: answer.next_cursor })}`;
    more.hidden = !next;
  };

  const offerFaces = ({ faces_in_selfie: faces, chosen }) => {
    const notice = document.getElementById("sought-faces");
    notice.hidden = faces < 2;
    if (notice.hidden) return;
    notice.querySelector("p").textContent = t("events.several_faces", { count: faces });
    const numbers = Array.from({ length: Math.min(faces, MOST_OFFERED_FACES) }, (_, index) => index);
    notice.querySelector(".row").replaceChildren(
      ...numbers.map((index) => {
        const attributes = { type: "button", class: "small", "aria-pressed": String(index === chosen), disabled: index === chosen };
        const choose = () => {
          form.elements.choose.value = String(index);
          form.requestSubmit();
        };
        return element("button", { ...attributes, onclick: choose }, t("events.face_number", { number: index + 1 }));
      }),
    );
  };

  form.addEventListener("done", ({ detail: { answer } }) => {
    form.elements.choose.value = "largest";
    form.closest("dialog").close();
    list.replaceChildren();
    append(answer);
    const count = answer.matches.length;
    document.getElementById("sought-title").textContent = count ? t(next ? "events.sought_many" : "events.sought", { count }) : t("events.sought_none");
    offerFaces(answer);
    found.hidden = false;
    found.focus({ preventScroll: true });
    found.scrollIntoView({ block: "start" });
  });
  form.addEventListener("refused", ({ detail: { problem } }) => {
    form.elements.choose.value = "largest";
    const dialog = form.closest("dialog");
    if (!dialog.open) dialog.showModal();
    if (problem instanceof ApiProblem && problem.code === "consent_needed") askAnew(form, problem.problem);
  });
  more.addEventListener("click", async () => {
    try {
      append(await call("GET", next));
    } catch (error) {
      toast(error.message, { bad: true });
    }
  });
}

/** What is to be erased is looked at among the requests; here is told that there is nothing. */
export function startErasing() {
  document.getElementById("erase-form").addEventListener("done", ({ detail: { answer } }) => {
    if (answer.erasures.every(({ matches }) => matches.length === 0)) toast(t("events.sought_none"));
  });
}

function tileOf(photos, match) {
  const name = match.s3_key.split("/").pop();
  const shown = match.preview_url ? element("img", { src: match.preview_url, alt: name, loading: "lazy", decoding: "async" }) : element("span", { class: "none" }, name);
  return element("li", { class: "tile" }, element("a", { class: "picture", href: `${photos}/${match.photo_id}`, dataset: { drawer: "" } }, shown));
}

/** The text has changed since the page was loaded. */
function askAnew(form, { consent_text: text, consent_version: version }) {
  const agrees = form.querySelector("[data-agrees]");
  if (!agrees || version === undefined) return;
  agrees.value = String(version);
  agrees.checked = false;
  form.querySelector("[data-consent-text]").textContent = text;
}
