// Forms that call the API: <form method="dialog" data-api="PATCH" action="/api/…" data-refresh="jobs" data-toast="…">.
// By that method a browser in which this script does not run yet sends nothing: fields would stand in an address.
//
// Fields become JSON by their names ("a.b" is nested), as data-type says: number, boolean, json, list (by commas). What is
// empty is left out, or null with data-empty="null"; data-local keeps a field here, data-factor="1048576" sends mebibytes as
// bytes. With enctype="multipart/form-data" the form is sent as it is. With data-changed only what the visitor changed is
// sent, so that saving takes nothing back which others changed meanwhile.
//   data-confirm="text" (data-danger, data-action="word")  asks first
//   data-refresh="id id"   parts that are rendered anew afterwards; "drawer" is what the drawer shows
//   data-toast="text"      is told when done      data-go="address"  leads on      data-closes  closes the dialog
//   data-reset             empties the form afterwards
//   data-version="3"       is refused if somebody else changed it since (If-Match)
// The form gets the events "done" {answer} and "refused" {problem}. Problems are told in its .problem, and beside fields:
// until the form is sent again, and beside a field until it is edited.

import { ApiProblem, call } from "./api.js";
import { confirmed, refreshDrawer } from "./dialogs.js";
import { element } from "./dom.js";
import { refresh } from "./fragments.js";
import { errorWords } from "./problems.js";
import { toast } from "./toasts.js";

let faults = 0;

export function startActions() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.dataset.api === undefined) return;
    event.preventDefault();
    submit(form, event.submitter);
  });
  for (const kind of ["input", "change"]) {
    document.addEventListener(kind, (event) => {
      if (event.target instanceof Element && event.target.matches("[aria-invalid]")) clearField(event.target);
    });
  }
}

async function submit(form, submitter) {
  if (form.getAttribute("aria-busy") === "true") return;
  const question = submitter?.dataset.confirm ?? form.dataset.confirm;
  const danger = form.dataset.danger !== undefined || submitter?.classList.contains("danger");
  if (question && !(await confirmed(question, { action: form.dataset.action, danger }))) return;
  clearProblems(form);
  form.setAttribute("aria-busy", "true");
  submitter?.setAttribute("aria-busy", "true");
  try {
    const method = submitter?.dataset.method ?? form.dataset.api;
    const address = submitter?.formAction && submitter.hasAttribute("formaction") ? submitter.formAction : form.action;
    const body = bodyOf(form, submitter, method);
    if (body === undefined && form.dataset.changed !== undefined) {
      await succeed(form, submitter, null);
      return;
    }
    const answer = await call(method, address, body, {
      seconds: Number(form.dataset.seconds || 60),
      headers: form.dataset.version ? { "If-Match": `"${form.dataset.version}"` } : {},
    });
    if (form.dataset.changed !== undefined) takeAsSaved(form);
    await succeed(form, submitter, answer);
  } catch (error) {
    refuse(form, error);
  } finally {
    form.removeAttribute("aria-busy");
    submitter?.removeAttribute("aria-busy");
  }
}

async function succeed(form, submitter, answer) {
  form.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: { answer } }));
  const said = submitter?.dataset.toast ?? form.dataset.toast;
  if (said) toast(said);
  const lead = submitter?.dataset.go ?? form.dataset.go;
  if (lead) {
    location.assign(lead);
    return;
  }
  if (form.dataset.closes !== undefined) form.closest("dialog")?.close();
  if (form.dataset.reset !== undefined) form.reset();
  const parts = (form.dataset.refresh || "").split(/\s+/).filter(Boolean);
  await Promise.all(parts.map((part) => (part === "drawer" ? refreshDrawer() : refresh(part))));
}

/** Tell an error of a call at the form, or in the corner where the form has no place for it. */
export function refuse(form, error) {
  form.dispatchEvent(new CustomEvent("refused", { bubbles: true, detail: { problem: error } }));
  let isTold = false;
  if (error instanceof ApiProblem) {
    for (const { field, message } of error.errors) isTold = tellField(form, field, message) || isTold;
  }
  const place = form.querySelector(".problem");
  if (place) {
    place.replaceChildren(element("p", { class: "notice bad", role: "alert" }, ...errorWords(error)));
  } else if (!isTold) {
    toast(error, { bad: true });
  }
  form.querySelector('[aria-invalid="true"]')?.focus();
}

function tellField(form, field, message) {
  const input = form.elements.namedItem(field);
  if (!(input instanceof Element)) return false;
  faults += 1;
  const id = `fault-${faults}`;
  clearField(input);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", id);
  input.after(element("p", { class: "fault", id, role: "alert" }, message));
  return true;
}

function clearField(input) {
  document.getElementById(input.getAttribute("aria-errormessage"))?.remove();
  input.removeAttribute("aria-invalid");
  input.removeAttribute("aria-errormessage");
}

/** What was told of the last attempt is over. */
export function clearProblems(form) {
  for (const input of form.querySelectorAll("[aria-invalid]")) clearField(input);
  form.querySelector(".problem")?.replaceChildren();
}

/** What the form says, as the API takes it; undefined where it has no fields. */
export function bodyOf(form, submitter, method) {
  if (form.enctype === "multipart/form-data") return new FormData(form, submitter);
  if (method === "GET" || method === "DELETE") return undefined;
  const body = {};
  let hasFields = false;
  const inputs = [...form.elements].filter((input) => input.name && !input.matches(":disabled") && input.dataset.local === undefined);
  for (const input of inputs) {
    if (input instanceof HTMLButtonElement && input !== submitter) continue;
    if (input.type === "radio" && !input.checked) continue;
    if (input.type === "checkbox" && input.dataset.type !== "boolean" && !input.checked) continue;
    if (form.dataset.changed !== undefined && !isChanged(input)) continue;
    const value = valueOf(input);
    if (value === undefined) continue;
    hasFields = true;
    put(body, input.name.split("."), value, input.dataset.type === "list" || input.dataset.many !== undefined);
  }
  return hasFields || form.dataset.body !== undefined ? body : undefined;
}

function isChanged(input) {
  // A hidden field has no default of its own.
  if (input.type === "hidden") return input.value !== input.dataset.saved;
  if (input.type === "checkbox" || input.type === "radio") return input.checked !== input.defaultChecked;
  if (input instanceof HTMLSelectElement) return [...input.options].some((option) => option.selected !== option.defaultSelected);
  return input instanceof HTMLButtonElement || input.value !== input.defaultValue;
}

/** What stands in the fields is what the server has now. */
function takeAsSaved(form) {
  for (const input of form.elements) {
    if (input.type === "hidden") input.dataset.saved = input.value;
    else if (input.type === "checkbox" || input.type === "radio") input.defaultChecked = input.checked;
    else if (input instanceof HTMLSelectElement) for (const option of input.options) option.defaultSelected = option.selected;
    else if ("defaultValue" in input) input.defaultValue = input.value;
  }
}

function valueOf(input) {
  if (input.dataset.type === "boolean") return input.type === "checkbox" ? input.checked : input.value === "true";
  const text = input.value;
  if (text === "") return input.dataset.empty === "null" ? null : input.dataset.empty === "text" ? "" : undefined;
  if (input.dataset.factor) return Math.round(Number(text) * Number(input.dataset.factor));
  if (input.dataset.type === "number") return Number(text);
  if (input.dataset.type === "json") return JSON.parse(text);
  if (input.dataset.type === "list") return text.split(",").map((part) => part.trim()).filter(Boolean);
  return text;
}

function put(body, [name, ...rest], value, isList) {
  if (rest.length) {
    body[name] ??= {};
    put(body[name], rest, value, isList);
  } else if (isList && !Array.isArray(value)) {
    (body[name] ??= []).push(value);
  } else {
    body[name] = value;
  }
}
