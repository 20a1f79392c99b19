// <button data-suggests="id"> puts the suggestion of a text area into it.

export function startSuggestions() {
  for (const button of document.querySelectorAll("[data-suggests]")) {
    button.addEventListener("click", () => {
      const area = document.getElementById(button.dataset.suggests);
      area.value = area.dataset.suggestion;
      area.focus();
    });
  }
}
