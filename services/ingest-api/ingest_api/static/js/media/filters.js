// Filters in the address: they change the list without leaving the page, on which uploads may be running.

import { goTo, startPage } from "../core/address.js";

const TYPING_MILLISECONDS = 350;

export function startFilters(list, choice) {
  const form = document.getElementById("filters");
  let typing = null;

  const show = (address) => {
    clearTimeout(typing);
    goTo(address);
    choice.clear();
    markTabs(address);
    scrollTo({ top: 0, behavior: "instant" });
    // Without a connection the browser's own page says so.
    list.show(address).catch(() => location.assign(address));
  };
  const apply = () => show(addressOf(form));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  form.addEventListener("change", (event) => {
    if (event.target.name !== "q") apply();
  });
  form.addEventListener("input", (event) => {
    if (event.target.name !== "q" && event.target.name !== "entityId") return;
    clearTimeout(typing);
    typing = setTimeout(apply, TYPING_MILLISECONDS);
  });
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-view]") : null;
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    fill(form, link.href);
    show(link.href);
  });
  startPage(async (address) => {
    const kept = history.state?.library;
    fill(form, address);
    markTabs(address);
    choice.clear();
    await list.show(address).catch(() => location.reload());
    if (kept) list.restore(kept);
  });
  showFurther(form);
  markTabs(location.href);
}

function addressOf(form) {
  const address = new URL(form.action);
  for (const [name, value] of new FormData(form)) if (value.trim()) address.searchParams.set(name, value.trim());
  return address.href;
}

function fill(form, address) {
  const asked = new URL(address, location.href).searchParams;
  for (const input of form.elements) {
    if (!input.name) continue;
    const value = asked.get(input.name) ?? "";
    if (input instanceof HTMLSelectElement && ![...input.options].some((option) => option.value === value)) input.append(new Option(value));
    input.value = value;
  }
}

function markTabs(address) {
  const isOf = (href) => new URL(href, location.href).searchParams.get("deleted") === "true";
  for (const tab of document.querySelectorAll(".tabs a[data-view]")) {
    if (isOf(tab.href) === isOf(address)) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  for (const button of document.querySelectorAll("[data-do][data-of]")) button.hidden = (button.dataset.of === "deleted") !== isOf(address);
}

/** On a phone the search alone is shown at first. */
function showFurther(form) {
  const button = form.querySelector(".more-filters");
  const set = (isOpen) => {
    form.classList.toggle("open", isOpen);
    button.setAttribute("aria-expanded", String(isOpen));
  };
  button.hidden = false;
  button.addEventListener("click", () => set(!form.classList.contains("open")));
  set(["entityType", "entityId", "status", "storageStatus", "before"].some((name) => form.elements[name].value));
}
