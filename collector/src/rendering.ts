/** Renderings that differ by machine: a small canvas, a short sound, and which fonts there are. */

import type { Steps } from "./steps.js";

const LETTERS = "Cwm fjordbank glyphs vext quiz, ";
const FACE = "\u{1f603}";
const AUDIO_FRAMES = 5000;
const SAMPLES_FROM = 4500;
const FONTS = (
  "Arial,Arial Black,Calibri,Cambria,Candara,Comic Sans MS,Consolas,Courier New,DejaVu Sans,Franklin Gothic Medium,Futura," +
  "Geneva,Georgia,Gill Sans,Helvetica Neue,Impact,Liberation Sans,Lucida Console,Menlo,Monaco,Noto Sans,Optima,Palatino," +
  "Roboto,SF Pro Text,Segoe UI,Segoe UI Emoji,Tahoma,Times New Roman,Trebuchet MS,Ubuntu,Verdana,Wingdings"
).split(",");

/** A small picture of text, curves and colours, as the browser encodes it; undefined where it has no canvas. */
export function* canvasText(): Steps<string | undefined> {
  const canvas = document.createElement("canvas");
  canvas.width = 160;
  canvas.height = 40;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return undefined;
  context.textBaseline = "alphabetic";
  context.font = "11pt no-real-font-123, sans-serif";
  // Fonts that are used for the first time are found and loaded: for each a step before the picture.
  for (const some of [LETTERS, FACE]) {
    yield;
    context.measureText(some);
  }
  yield;
  context.fillStyle = "#f60";
  context.fillRect(70, 1, 42, 18);
  context.fillStyle = "#069";
  context.fillText(LETTERS + FACE, 2, 15);
  context.globalCompositeOperation = "multiply";
  for (const [colour, x] of [["#f2f", 40], ["#2ff", 60], ["#ff2", 50]] as const) {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, 22, 14, 0, Math.PI * 2);
    context.fill();
  }
  yield;
  // A browser notes down what is drawn, and draws when pixels are asked for.
  context.getImageData(0, 0, 1, 1);
  yield;
  return canvas.toDataURL();
}

/** Samples of an oscillator through a compressor, rendered without any output; undefined where that is not there. */
export const audio = async (): Promise<Float32Array | undefined> => {
  if (typeof OfflineAudioContext === "undefined") return undefined;
  const context = new OfflineAudioContext(1, AUDIO_FRAMES, 44_100);
  const oscillator = context.createOscillator();
  const compressor = context.createDynamicsCompressor();
  oscillator.type = "triangle";
  oscillator.frequency.value = 10_000;
  compressor.threshold.value = -50;
  compressor.knee.value = 40;
  compressor.ratio.value = 12;
  compressor.attack.value = 0;
  compressor.release.value = 0.25;
  oscillator.connect(compressor).connect(context.destination);
  oscillator.start(0);
  const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 1000));
  const rendered = await Promise.race([context.startRendering(), late]);
  return rendered?.getChannelData(0).slice(SAMPLES_FROM);
};

/** Fonts to look for, a few at a time: to find that one is missing takes a browser a while. */
export const fontGroups = (): string[][] => {
  const groups: string[][] = [];
  for (let at = 0; at < FONTS.length; at += 4) groups.push(FONTS.slice(at, at + 4));
  return groups;
};

/** Which of these fonts are there: text that is as wide as in the fallback has no such font. */
export const fontsOf = (names: string[]): string[] | undefined => {
  const context = document.createElement("canvas").getContext("2d");
  if (!context) return undefined;
  const width = (font: string): number => {
    context.font = `40px ${font}`;
    return context.measureText("mmMwWLliI0O&1").width;
  };
  const plain = { monospace: width("monospace"), serif: width("serif") };
  return names.filter((name) => width(`"${name}",monospace`) !== plain.monospace || width(`"${name}",serif`) !== plain.serif);
};
