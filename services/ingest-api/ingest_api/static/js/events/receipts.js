// <button data-receipt="address of the erasure"> saves its signed receipt.

import { call } from "../core/api.js";
import { saveReceipt } from "../receipts.js";
import { toast } from "../core/toasts.js";

export function startReceipts() {
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-receipt]") : null;
    if (!button) return;
    try {
      saveReceipt(await call("GET", button.dataset.receipt));
    } catch (error) {
      toast(error, { bad: true });
    }
  });
}
