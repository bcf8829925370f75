// The templates that the server wrote into the page.

/** A new copy of the one element in the template with this id. */
export function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
