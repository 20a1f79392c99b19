// Dialogs, and the drawer in which a detail page is shown beside its list.

import { comeBack, standIn, startDrawer } from "./address.js";
import { element } from "./dom.js";
import { fetchFragment, fragmentAddress, parsed, watchFragments } from "./fragments.js";
import { t } from "./texts.js";

/** Ask before something is done; resolves to whether the visitor wants it. */
export function confirmed(text, { action = t("common.confirm"), danger = false } = {}) {
  return new Promise((resolve) => {
    const dialog = element(
      "dialog",
      { "aria-labelledby": "confirm-text" },
      element(
        "form",
        { method: "dialog" },
        element("p", { id: "confirm-text" }, text),
        element(
          "div",
          { class: "row end" },
          element("button", { value: "no" }, t("common.cancel")),
          element("button", { value: "yes", class: danger ? "first danger" : "first", autofocus: true }, action),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const drawer = document.getElementById("drawer");
const content = document.getElementById("drawer-content");
/** What the drawer is to show: an answer that comes after something else was asked for, or after it was closed, is not shown. */
let wanted = null;
/** What it shows; null once it is closed. */
let shown = null;

/** Show the part "drawer" of a detail page; its address becomes the browser's, so that it can be shared. */
export async function openDrawer(address) {
  const asked = { address };
  wanted = asked;
  let html;
  try {
    html = await fetchFragment(fragmentAddress("drawer", address));
  } catch (error) {
    if (asked !== wanted) return;
    if (!error.html) {
      location.assign(address);
      return;
    }
    html = error.html;
  }
  if (asked !== wanted) return;
  await standIn(address);
  if (!wanted) comeBack();
  if (asked !== wanted) return;
  shown = asked;
  content.replaceChildren(...parsed(html).childNodes);
  watchFragments(content);
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
  content.dispatchEvent(new CustomEvent("drawer-opened", { bubbles: true, detail: { address } }));
}

/** Render what the drawer shows anew. */
export function refreshDrawer() {
  return drawer?.open && wanted ? openDrawer(wanted.address) : Promise.resolve();
}

export function startDialogs() {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || !(event.target instanceof Element)) return;
    const opener = event.target.closest("[data-opens]");
    if (opener) {
      document.getElementById(opener.dataset.opens).showModal();
      return;
    }
    const closer = event.target.closest("button[data-closes]");
    if (closer) {
      closer.closest("dialog").close();
      return;
    }
    const link = event.target.closest("a[data-drawer]");
    if (link && drawer && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      openDrawer(link.href);
      return;
    }
    // A click beside an open dialog closes it.
    if (event.target instanceof HTMLDialogElement && event.target.classList.contains("drawer")) event.target.close();
  });
  if (!drawer) return;
  startDrawer(openDrawer, hideDrawer);
  drawer.addEventListener("close", () => {
    // This comes with the next frame: where the browser itself went back, the drawer may be open again.
    if (!shown || drawer.open) return;
    clearDrawer();
    comeBack();
  });
}

function clearDrawer() {
  wanted = shown = null;
  content.replaceChildren();
}

/** Questions that are asked above the drawer go with it. */
function hideDrawer() {
  clearDrawer();
  if (!drawer.open) return;
  for (const dialog of [...document.querySelectorAll("dialog[open]")].reverse()) dialog.close();
}
