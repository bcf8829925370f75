// Messages for screen readers; they are visible elsewhere on the page.

export function announce(text) {
  document.getElementById("announcements").textContent = text;
}
