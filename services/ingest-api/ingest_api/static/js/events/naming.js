// Names are saved as one leaves them, or by Enter; Escape takes back what was typed.

export function startNaming() {
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("input[data-saves]")) event.target.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !event.target.matches?.("input[data-saves]")) return;
    if (event.target.value === event.target.defaultValue) return;
    event.preventDefault();
    event.target.value = event.target.defaultValue;
  });
  // What somebody typed into stays as typed unless it is told: a merge or an undo gives other names.
  document.addEventListener("refreshed", (event) => {
    for (const input of event.target.querySelectorAll("input[data-saves]")) {
      if (input !== document.activeElement) input.value = input.defaultValue;
    }
  });
  document.addEventListener("done", (event) => {
    const input = event.target.querySelector?.("input[data-saves]");
    if (input) input.defaultValue = input.value;
  });
}
