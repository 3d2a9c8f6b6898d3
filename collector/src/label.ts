// What a camera calls itself, without what it says of a person.

/** A camera's label without its owner's name: phones used as cameras carry it, in any language ("Annas iPhone Kamera"). */
export const labelOf = (label: string): string => {
  const phone = /(iPhone|iPad|Galaxy|Pixel)/.exec(label);
  return phone ? `${phone[1]} Camera` : label.slice(0, 256);
};
