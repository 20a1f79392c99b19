// The PIN of a gallery.

import { call } from "../core/api.js";
import { tell } from "./problems.js";

const form = document.getElementById("unlock");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  try {
    await call("POST", form.dataset.address, { pin: form.elements.pin.value });
    location.reload();
  } catch (error) {
    tell(form.querySelector(".problem"), error);
    form.elements.pin.select();
    button.removeAttribute("aria-busy");
  }
});
