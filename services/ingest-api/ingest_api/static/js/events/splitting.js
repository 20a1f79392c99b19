// Faces that are somebody else's are chosen, and split off.

import { t } from "../core/texts.js";

export function startSplitting() {
  const person = document.getElementById("person");
  const update = () => {
    const boxes = [...person.querySelectorAll('input[name="faces"]')];
    const chosen = boxes.filter((box) => box.checked);
    for (const box of boxes) box.closest(".tile").classList.toggle("chosen", box.checked);
    document.getElementById("split-bar").hidden = chosen.length === 0;
    document.getElementById("split-count").textContent = t("events.chosen_faces", { count: chosen.length });
  };
  person.addEventListener("change", update);
  person.addEventListener("refreshed", update);
}
