/** JSON as the language has it, also where an old library gave arrays or objects a `toJSON` of its own. */

const plain = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(plain).join()}]`;
  if (typeof value !== "object" || !value) return JSON.stringify(value) ?? "null";
  const told = Object.entries(value).filter(([, one]) => one !== undefined);
  return `{${told.map(([name, one]) => `${JSON.stringify(name)}:${plain(one)}`).join()}}`;
};

export const json = (value: unknown): string => ("toJSON" in [] || "toJSON" in {} ? plain(value) : JSON.stringify(value));

/** Bytes of `text` in UTF-8: what browsers bound. */
export const sizeOf = (text: string): number => new TextEncoder().encode(text).length;
