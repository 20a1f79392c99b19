// What every page starts with.

import { startActions } from "./actions.js";
import { startDialogs } from "./dialogs.js";
import { watchFragments } from "./fragments.js";
import { startShortcuts } from "./shortcuts.js";
import { t } from "./texts.js";
import { startTimes } from "./times.js";
import { toast } from "./toasts.js";

function startMenu() {
  const button = document.querySelector("[data-menu]");
  const sidebar = document.getElementById("sidebar");
  if (!button || !sidebar) return;
  const set = (open) => {
    sidebar.classList.toggle("open", open);
    button.setAttribute("aria-expanded", String(open));
  };
  button.addEventListener("click", () => {
    set(!sidebar.classList.contains("open"));
    sidebar.querySelector("a")?.focus();
  });
  sidebar.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      set(false);
      button.focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (!sidebar.contains(event.target) && !button.contains(event.target)) set(false);
  });
}

function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!button) return;
    try {
      // What is an address here is copied as one that works elsewhere.
      const isAddress = button.dataset.address !== undefined;
      await navigator.clipboard.writeText(isAddress ? new URL(button.dataset.copy, location.href).href : button.dataset.copy);
      toast(t("common.copied"));
    } catch {
      toast(t("common.failed"), { bad: true });
    }
  });
}

startDialogs();
startActions();
startShortcuts();
startTimes();
startMenu();
startCopying();
watchFragments();
// Tests and people's own scripts can tell that the page answers now.
document.documentElement.dataset.ready = "yes";
