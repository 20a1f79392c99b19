// Comparisons that are asked for when their page is shown, plans that are followed while something runs, and pictures that
// may be gone.
//
//   <section id="report" data-load data-seconds="60">  is asked for at once, and tells why when there is no answer
//   <button data-loads="report">                        asks again        <form data-reloads="due">  does when it is done
//   <form data-leads-to-plan>                           leads to the plan that its answer names
//   <section id="plan"> with [data-under-way] in it     comes anew until that is over

import { element, icon } from "./core/dom.js";
import { fetchFragment, fragmentAddress, morphChildren, parsed, refresh } from "./core/fragments.js";
import { t } from "./core/texts.js";

const FOLLOW_MILLISECONDS = 1500;
const PATIENCE_SECONDS = 30;

// --- parts that take their time

async function load(part) {
  if (part.getAttribute("aria-busy") === "true") return;
  part.setAttribute("aria-busy", "true");
  const buttons = document.querySelectorAll(`[data-loads="${part.id}"]`);
  for (const button of buttons) button.disabled = true;
  const begun = Date.now();
  const clock = setInterval(() => {
    const elapsed = part.querySelector("[data-elapsed]");
    if (elapsed) elapsed.textContent = t("consistency.elapsed", { count: Math.round((Date.now() - begun) / 1000) });
  }, 1000);
  try {
    const html = await fetchFragment(fragmentAddress(part.id), Number(part.dataset.seconds || PATIENCE_SECONDS));
    morphChildren(part, parsed(html));
  } catch (error) {
    part.replaceChildren(trouble(part, error));
  } finally {
    clearInterval(clock);
    for (const button of buttons) button.disabled = false;
    part.removeAttribute("aria-busy");
  }
}

function trouble(part, error) {
  const told = error.html ? parsed(error.html).childNodes : [element("p", {}, t("consistency.no_answer"))];
  const again = element("button", { type: "button" }, icon("retry"), t("consistency.try_again"));
  again.addEventListener("click", () => load(part));
  return element("div", { class: "notice bad", role: "alert" }, element("p", {}, element("strong", {}, t("consistency.not_compared"))), ...told, again);
}

for (const part of document.querySelectorAll("[data-load]")) load(part);

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-loads], [data-refreshes]") : null;
  if (!button) return;
  if (button.dataset.loads) load(document.getElementById(button.dataset.loads));
  else refresh(button.dataset.refreshes);
});

// --- forms

document.addEventListener("done", (event) => {
  const form = event.target;
  if (form.dataset.leadsToPlan !== undefined) location.assign(`/admin/consistency/plans/${encodeURIComponent(event.detail.answer.id)}`);
  if (form.dataset.reloads) load(document.getElementById(form.dataset.reloads));
});

// Somebody else may have decided meanwhile: show how it stands.
document.addEventListener("refused", () => refresh("plan"));

// --- plans under way

async function follow() {
  const plan = document.getElementById("plan");
  const goesOn = plan?.querySelector('[data-under-way], form[aria-busy="true"]');
  if (goesOn && !document.hidden) await refresh("plan");
  setTimeout(follow, FOLLOW_MILLISECONDS);
}

if (document.getElementById("plan")) setTimeout(follow, FOLLOW_MILLISECONDS);

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
