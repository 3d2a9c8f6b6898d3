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

/** Whether even the classes of keys would tell too much: passwords, codes and cards. */
export const sensitive = (target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement &&
  (target.type === "password" || /password|one-time-code|(^| )cc-/.test(target.autocomplete || ""));

/** The field's key in its form: what the page's author called it. Never its value. */
export const keyOf = (field: Field): string => {
  const named = field.dataset["tellwireField"] || field.getAttribute("name") || field.id;
  // Printable, and as long as the contract allows.
  const clean = (named || "").replace(/[\u0000-\u001f\u007f-\u009f]/g, "").slice(0, 128);
  if (clean) return clean;
  const kind = field instanceof HTMLInputElement ? field.type : field.tagName.toLowerCase();
  const root = field.closest("form") ?? document;
  return `${kind}#${Array.from(root.querySelectorAll(field.tagName)).indexOf(field)}`;
};
