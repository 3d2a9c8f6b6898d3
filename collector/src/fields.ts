/** Form fields: which elements count, under which key they are known, and which are too sensitive for key classes. */

/** Kinds of input that are typed into. What is chosen by pointing has input without keys, which says nothing. */
const TYPED = /^(text|search|email|tel|url|password|number)$/;
const NO_FIELD = /^(hidden|submit|button|reset|image)$/;

export type Field = HTMLElement;

/** The field that the target is or lies in, if any. */
export const fieldOf = (target: EventTarget | null): Field | null => {
  if (!(target instanceof HTMLElement)) return null;
  if (target instanceof HTMLInputElement) return NO_FIELD.test(target.type) ? null : target;
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return target;
  return target.isContentEditable ? (target.closest<HTMLElement>("[contenteditable]") ?? target) : null;
};

/** Whether text is typed into it. */
export const typed = (field: Field): boolean =>
  field instanceof HTMLInputElement ? TYPED.test(field.type) : !(field instanceof HTMLSelectElement);

/** Elements that may hold a closed shadow root, in which nobody knows what kind of field is typed into. */
const MAY_HIDE = /-|^(article|aside|blockquote|div|footer|h[1-6]|header|main|nav|p|section|span)$/;
/** Fields that were a password's once: "show what I type" makes them plain. */
const secret = new WeakSet<EventTarget>();

/** Whether even the classes of keys would tell too much: passwords, codes and cards, and what cannot be seen. */
export const sensitive = (target: EventTarget | null): boolean => {
  if (!target || secret.has(target)) return !!target;
  if (!(target instanceof HTMLInputElement)) {
    return target instanceof HTMLElement && !fieldOf(target) && MAY_HIDE.test(target.localName);
  }
  if (target.type !== "password") return /password|one-time-code|(^| )cc-/.test(target.autocomplete || "");
  secret.add(target);
  return true;
};

/** How many fields of a form are counted to name one without a name. */
const MAX_COUNTED = 500;

/** The field's key in its form: what the page's author called it. Never its value. */
export const keyOf = (field: Field): string => {
  const named = field.dataset["tellwireField"] || field.getAttribute("name") || field.id;
  // Printable, as long as the contract allows, and without what careless pages put into names: addresses and numbers.
  const clean = (named || "")
    .replace(/[\u0000-\u001f\u007f-\u009f]/g, "")
    .replace(/[\w.+]+@[\w.-]+|\d[\d -]{5,}\d/g, "*")
    .slice(0, 128);
  if (clean) return clean;
  const kind = field instanceof HTMLInputElement ? field.type : field.localName;
  const same = (field.closest("form") ?? document).getElementsByTagName(field.localName);
  let at = 0;
  while (at < MAX_COUNTED && same[at] && same[at] !== field) at++;
  return `${kind}#${at < MAX_COUNTED && same[at] ? at : "n"}`;
};
