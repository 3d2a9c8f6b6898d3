/** A 64-bit hash of text or numbers, as 16 hexadecimal digits: to compare renderings, not to hide anything. */

/** MurmurHash3's final mix. */
const mix = (h: number): number => {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
};

export const hash = (input: string | ArrayLike<number>): string => {
  let a = 0x9747b28c;
  let b = 0x2f1a5e6d;
  const whole = typeof input === "string" ? undefined : new Uint32Array(Float32Array.from(input).buffer);
  for (let at = 0; at < input.length; at++) {
    const unit = whole ? (whole[at] as number) : (input as string).charCodeAt(at);
    a = Math.imul(a ^ mix(unit + at), 0xcc9e2d51);
    b = Math.imul((b + mix(unit ^ 0x5bd1e995)) ^ (a >>> 15), 0x1b873593);
  }
  const hex = (value: number): string => (mix(value) >>> 0).toString(16).padStart(8, "0");
  return hex(a ^ input.length) + hex(b ^ a);
};
