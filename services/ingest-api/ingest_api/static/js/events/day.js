// <input type="date" data-ends-in="id">: the hidden input of that id gets the moment at which the day ends here.

/** The day of a moment in the visitor's time zone, as date inputs take it. */
export function dayOf(moment) {
  const two = (number) => String(number).padStart(2, "0");
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
}

export function endOfDay(day) {
  return new Date(`${day}T23:59:59`).toISOString();
}

export function startDays(root = document) {
  for (const input of root.querySelectorAll("input[data-ends-in]")) {
    const moment = document.getElementById(input.dataset.endsIn);
    const first = moment.value;
    if (first) input.value = dayOf(new Date(moment.value));
    input.addEventListener("input", () => {
      moment.value = input.value ? endOfDay(input.value) : "";
    });
    // A hidden input is not emptied with its form.
    input.form.addEventListener("reset", () => {
      moment.value = first;
    });
  }
}
