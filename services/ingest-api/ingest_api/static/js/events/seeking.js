// A picture in the hands of staff: the photos of whoever is on it, and their faces to be erased.

import { ApiProblem, call } from "../core/api.js";
import { element } from "../core/dom.js";
import { refresh } from "../core/fragments.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { offerFaces } from "../offered_faces.js";

/** What looks like the face on a picture, on the event's page of people. */
export function startSeeking() {
  const form = document.getElementById("seek-form");
  const found = document.getElementById("sought");
  const list = document.getElementById("sought-photos");
  const more = document.getElementById("sought-more");
  let searchId = null;
  let cursor = null;

  const append = (answer) => {
    list.append(...answer.matches.map((match) => tileOf(form.dataset.photos, match)));
    cursor = answer.next_cursor;
    more.hidden = !cursor;
  };

  form.addEventListener("done", ({ detail: { answer } }) => {
    searchId = answer.search_id;
    list.replaceChildren();
    append(answer);
    const count = answer.matches.length;
    document.getElementById("sought-title").textContent = count ? t(cursor ? "events.sought_many" : "events.sought", { count }) : t("events.sought_none");
    form.closest("dialog").close();
    found.hidden = false;
    found.focus({ preventScroll: true });
    found.scrollIntoView({ block: "start" });
  });
  form.addEventListener("refused", ({ detail: { problem } }) => {
    const dialog = form.closest("dialog");
    if (!dialog.open) dialog.showModal();
    if (problem instanceof ApiProblem && problem.code === "consent_needed") askAnew(form, problem.problem);
  });
  lookForOthers(form, document.getElementById("sought-faces"), (answer) => answer);
  more.addEventListener("click", async () => {
    const asked = searchId;
    more.disabled = true;
    more.setAttribute("aria-busy", "true");
    try {
      const answer = await call("GET", `${form.dataset.searches}/${asked}?${new URLSearchParams({ cursor })}`);
      // Meanwhile somebody else may have been looked for.
      if (asked === searchId) append(answer);
    } catch (error) {
      toast(error, { bad: true });
    } finally {
      more.disabled = false;
      more.removeAttribute("aria-busy");
    }
  });
}

/** What is to be erased is looked at among the requests; here is told that there is nothing, or who else is on it. */
export function startErasing() {
  const form = document.getElementById("erase-form");
  let proposed = null;
  form.addEventListener("done", ({ detail: { answer } }) => {
    [proposed] = answer.erasures;
    if (!proposed.matches.length) toast(t("events.sought_none"));
    refresh("requests");
  });
  form.addEventListener("refused", () => {
    const dialog = form.closest("dialog");
    if (!dialog.open) dialog.showModal();
  });
  lookForOthers(
    form,
    document.getElementById("erase-faces"),
    (answer) => answer.erasures[0],
    // Nobody should erase the faces of whoever stands beside the one who asks.
    async () => {
      try {
        await call("POST", `${form.getAttribute("action")}/${proposed.id}/refuse`);
      } catch (error) {
        // Decided before, or over.
        if (error.status !== 404 && error.status !== 409) throw error;
      }
    },
  );
}

/**
 * Of a picture with several faces `chosen` was looked for: buttons look for the others. `about(answer)` tells of the
 * picture, `leave()` takes back what came of the face before.
 */
function lookForOthers(form, notice, about, leave = async () => {}) {
  const choice = form.elements.choose;
  const settle = () => {
    choice.value = "largest";
    for (const button of notice.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  };
  const send = async (index, button) => {
    if (form.getAttribute("aria-busy") === "true" || notice.querySelector("[aria-busy]")) return;
    button.setAttribute("aria-busy", "true");
    try {
      await leave();
      choice.value = String(index);
      form.requestSubmit();
    } catch (error) {
      settle();
      toast(error, { bad: true });
    }
  };
  form.addEventListener("refused", settle);
  form.addEventListener("done", ({ detail: { answer } }) => {
    settle();
    offerFaces(notice, about(answer), "events", send);
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
