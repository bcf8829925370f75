// While the models are being loaded: opens the page again as soon as the server is ready.

const { root } = document.querySelector("main").dataset;

async function look() {
  try {
    if ((await fetch(`${root}/readyz`)).ok) {
      location.reload();
      return;
    }
  } catch {
    // the server was restarted; it may come back
  }
  setTimeout(look, 1000);
}

setTimeout(look, 1000);
