// People who are the same are chosen, and one of them is said to stay.

import { call } from "../core/api.js";
import { refuse } from "../core/actions.js";
import { element } from "../core/dom.js";
import { refresh } from "../core/fragments.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";

export function startMerging() {
  const people = document.getElementById("people");
  const bar = document.getElementById("merge-bar");
  const count = document.getElementById("merge-count");
  const open = document.getElementById("merge-open");
  const dialog = document.getElementById("merge");
  const form = document.getElementById("merge-form");
  const chosen = () => [...people.querySelectorAll("input[data-person]:checked")];

  const update = () => {
    const boxes = chosen();
    for (const box of people.querySelectorAll("input[data-person]")) box.closest(".tile").classList.toggle("chosen", box.checked);
    bar.hidden = boxes.length === 0;
    count.textContent = boxes.length === 1 ? t("events.choose_another") : t("events.chosen_people", { count: boxes.length });
    open.disabled = boxes.length < 2;
  };
  people.addEventListener("change", update);
  people.addEventListener("refreshed", update);
  document.getElementById("merge-clear").addEventListener("click", () => {
    for (const box of chosen()) box.checked = false;
    update();
  });

  open.addEventListener("click", () => {
    const boxes = chosen();
    // Who has a name, else who is on most photos: those come first.
    const first = boxes.find((box) => box.dataset.name) ?? boxes[0];
    const choices = boxes.map((box) => {
      const radio = element("input", { type: "radio", name: "into", value: box.dataset.person });
      radio.checked = box === first;
      const portrait = box.closest(".tile").querySelector(".face").cloneNode(true);
      const name = box.dataset.name || t("events.unnamed");
      const words = t("events.faces_of", { name, count: Number(box.dataset.faces) });
      return element("label", { class: "choice person-choice" }, radio, portrait, element("span", {}, words));
    });
    document.getElementById("merge-choices").replaceChildren(...choices);
    form.querySelector(".problem").replaceChildren();
    dialog.showModal();
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = document.getElementById("merge-do");
    if (button.getAttribute("aria-busy")) return;
    button.setAttribute("aria-busy", "true");
    const into = form.elements.into.value;
    const others = chosen().map((box) => box.dataset.person).filter((person) => person !== into);
    try {
      await call("POST", bar.dataset.merge, { into, from: others });
      for (const box of chosen()) box.checked = false;
      update();
      dialog.close();
      toast(t("events.merged"));
      await refresh("people");
    } catch (error) {
      refuse(form, error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}
