// What screen readers say and nobody sees, since it shows elsewhere.

export function announce(text) {
  document.getElementById("announcements").textContent = text;
}
