// The list of events: a new one is gone to at once.

import { startDays } from "./day.js";
import { startSuggestions } from "./suggestions.js";

startDays();
startSuggestions();
document.getElementById("new-event-form").addEventListener("done", (event) => {
  location.assign(`/admin/events/${event.detail.answer.uuid}`);
});
