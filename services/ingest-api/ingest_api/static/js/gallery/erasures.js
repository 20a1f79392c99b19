// "Forget me": what a guest asked for, kept in this browser with its secret, and how it stands.

import { ApiProblem, call } from "../core/api.js";
import { element, icon } from "../core/dom.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { saveReceipt } from "../receipts.js";
import { tell, wordsFor } from "./problems.js";
import { SelfieForm } from "./selfie_form.js";

const KEY = "mediabus-erasures";
const MOST_KEPT = 20;

function kept() {
  try {
    const entries = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(entries) ? entries.filter(({ id, secret }) => typeof id === "string" && typeof secret === "string") : [];
  } catch {
    return [];
  }
}

function keep(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries.slice(-MOST_KEPT)));
  } catch {
    // Private windows may keep nothing: the guest has the number and the secret on the screen.
  }
}

function stateOf({ id, secret }) {
  return call("GET", `/api/v1/faces/erasure-requests/${encodeURIComponent(id)}`, undefined, { headers: { "X-Erasure-Secret": secret } });
}

function time(text) {
  return element("time", { datetime: text }, text);
}

function words(erasure) {
  if (erasure.status === "completed") return t("gallery.erasure_completed", { count: erasure.faces_erased });
  return t(`gallery.erasure_${erasure.status}`);
}

function line(entry, erasure, error) {
  const place = element("li", { class: "card padded" });
  const about = element("p", {}, element("strong", {}, entry.event || t("gallery.erasure")), " ", element("code", {}, entry.id.slice(-8)));
  place.append(about);
  if (erasure) {
    place.append(element("p", { dataset: { status: erasure.status } }, words(erasure), " ", erasure.status === "proposed" ? time(erasure.expires_at) : null));
    if (erasure.receipt) place.append(element("button", { type: "button", class: "small", onclick: () => saveReceipt(erasure) }, icon("download"), t("gallery.receipt")));
  } else {
    const isOver = error instanceof ApiProblem && error.status === 404;
    place.append(element("p", { class: "quiet" }, isOver ? t("gallery.erasure_over") : wordsFor(error)));
  }
  const drop = element("button", { type: "button", class: "plain small" }, t("gallery.erasure_drop"));
  drop.addEventListener("click", () => {
    keep(kept().filter(({ id }) => id !== entry.id));
    showErasures();
  });
  place.append(drop);
  return place;
}

export async function showErasures() {
  const section = document.getElementById("erasures");
  const entries = kept();
  section.hidden = entries.length === 0;
  const lines = await Promise.all(
    entries.map((entry) => stateOf(entry).then((erasure) => line(entry, erasure), (error) => line(entry, null, error))),
  );
  section.querySelector("ul").replaceChildren(...lines);
}

/** The list of what was asked for, and the form for a number that was written down. */
export function startErasures() {
  showErasures();
  const form = document.getElementById("ask-after");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const entry = { id: form.elements.id.value.trim(), secret: form.elements.secret.value.trim() };
    const problem = form.querySelector(".problem");
    try {
      await stateOf(entry);
      tell(problem);
      keep([...kept().filter(({ id }) => id !== entry.id), entry]);
      form.reset();
      await showErasures();
    } catch (error) {
      problem.replaceChildren(element("p", { class: "notice bad", role: "alert" }, error instanceof ApiProblem && error.status < 500 ? t("gallery.erasure_unknown") : wordsFor(error)));
    }
  });
}

/** Asking to be forgotten. */
export function startForgetting() {
  const dialog = document.getElementById("forget");
  const steps = Object.fromEntries([...dialog.querySelectorAll("[data-step]")].map((step) => [step.dataset.step, step]));
  let made = null;
  const form = new SelfieForm(dialog, (answer) => {
    made = answer;
    form.selfie.clear();
    form.agrees.checked = false;
    form.update();
    steps.consent.hidden = true;
    steps.made.hidden = false;
    for (const place of steps.made.querySelectorAll("[data-made]")) {
      const text = answer[place.dataset.made];
      place.replaceChildren(place.dataset.made === "expires_at" ? time(text) : text);
    }
    keep([...kept(), { id: answer.id, secret: answer.secret, event: form.form.dataset.event }]);
    showErasures();
    steps.made.querySelector("[data-copies]").focus();
  });
  dialog.querySelector("[data-copies]").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(`${made.id}\n${made.secret}`);
      toast(t("common.copied"));
    } catch {
      toast(t("common.failed"), { bad: true });
    }
  });
  dialog.addEventListener("close", () => {
    steps.consent.hidden = false;
    steps.made.hidden = true;
  });
}
