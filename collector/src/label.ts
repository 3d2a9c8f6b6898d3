// What a camera calls itself, without what it says of a person.

/** A camera's label without its owner's name: phones used as cameras carry it, in any language ("Annas iPhone Kamera"). */
export const labelOf = (label: string): string => {
  const phone = /(iPhone|iPad|Galaxy|Pixel)/.exec(label);
  if (phone) return `${phone[1]} Camera`;
  // "Ann's S24 (Windows Virtual Camera)", "S24 von Ann (...)": what it is stays.
  return label.replace(/^[^(]*['’]s /, "").replace(/ (von|de|di|da|van|af|av) \p{Lu}[\p{L}'’-]*/gu, "").slice(0, 256);
};
