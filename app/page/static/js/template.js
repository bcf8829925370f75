// Access to the <template> elements of the page.

/** Return a new copy of the one element in the template with this id. */
export function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
