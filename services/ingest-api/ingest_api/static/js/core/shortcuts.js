// Keys: <button data-shortcut="u"> is pressed by "u" while nobody types; "?" shows all keys of the page.

import { element } from "./dom.js";
import { t } from "./texts.js";

function isTyping(target) {
  return target instanceof Element && target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]") !== null;
}

function nameOf(control) {
  return control.getAttribute("aria-label") || control.textContent.trim();
}

export function startShortcuts() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
    if (event.key === "?") {
      event.preventDefault();
      show();
      return;
    }
    const scope = [...document.querySelectorAll("dialog[open]")].pop() ?? document;
    const control = [...scope.querySelectorAll("[data-shortcut]")].find((one) => one.dataset.shortcut === event.key && one.offsetParent !== null);
    if (!control) return;
    event.preventDefault();
    if (control.matches("input, select, textarea")) control.focus();
    else control.click();
  });
}

function show() {
  if (document.getElementById("shortcuts")) return;
  const rows = [...document.querySelectorAll("[data-shortcut]")].filter((one) => one.offsetParent !== null);
  const list = element("dl", { class: "facts" });
  for (const control of rows) list.append(element("dt", {}, element("kbd", {}, control.dataset.shortcut)), element("dd", {}, nameOf(control)));
  list.append(element("dt", {}, element("kbd", {}, "?")), element("dd", {}, t("common.shortcuts")));
  const dialog = element(
    "dialog",
    { id: "shortcuts", "aria-labelledby": "shortcuts-title" },
    element(
      "form",
      { method: "dialog" },
      element("h2", { id: "shortcuts-title" }, t("common.shortcuts")),
      list,
      element("div", { class: "row end" }, element("button", { class: "first" }, t("common.close"))),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
