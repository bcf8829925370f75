// Reloads the page as soon as the server has loaded its models.

const { root } = document.querySelector("main").dataset;
const INTERVAL_MS = 1000;

async function poll() {
  try {
    if ((await fetch(`${root}/readyz`)).ok) {
      location.reload();
      return;
    }
  } catch {
    // the server may be restarting
  }
  setTimeout(poll, INTERVAL_MS);
}

setTimeout(poll, INTERVAL_MS);
