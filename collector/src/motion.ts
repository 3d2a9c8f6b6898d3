/** Accelerometer and gyroscope, at most 60 samples a second. */

import type { Motion } from "./contract.js";
import { Listeners, MAX_COLUMN, round, timeOf, type Env, type Family } from "./env.js";

const INTERVAL_MS = 16;
/** Samples an event may hold: of seven numbers each. */
const MAX_ROWS = MAX_COLUMN / 2;

interface Asking {
  requestPermission?: () => Promise<string>;
}

/** Ask for the sensors where the browser wants that, which must happen in a tap. Elsewhere they are just there. */
export const askForMotion = async (): Promise<boolean> => {
  if (typeof DeviceMotionEvent === "undefined") return false;
  const ask = (DeviceMotionEvent as unknown as Asking).requestPermission;
  return ask ? (await ask.call(DeviceMotionEvent)) === "granted" : true;
};

export const motion = (env: Env): Family<Motion> => {
  const listeners = new Listeners(env);
  let rows: (number | null)[][] = [];
  let last = -1e9;

  const measured = (event: DeviceMotionEvent): void => {
    const a = event.accelerationIncludingGravity;
    const time = timeOf(event);
    // Machines without sensors send one event of nulls.
    if (!a || a.x === null || a.y === null || a.z === null || time - last < INTERVAL_MS - 2) return;
    last = time;
    if (rows.length >= MAX_ROWS) env.flush();
    env.mark(time);
    const r = event.rotationRate;
    rows.push([time, a.x, a.y, a.z, r?.alpha ?? null, r?.beta ?? null, r?.gamma ?? null]);
  };

  return {
    start() {
      listeners.on(window, "devicemotion", measured);
    },
    stop() {
      listeners.off();
      rows = [];
    },
    take() {
      if (!rows.length) return undefined;
      const column = (at: number): number[] => rows.map((row) => round(row[at] as number));
      const whole = (at: number): number[] | undefined => (rows.some((row) => row[at] === null) ? undefined : column(at));
      const block: Motion = {
        t: rows.map((row) => env.offset(row[0] as number)),
        ax: column(1),
        ay: column(2),
        az: column(3),
        rx: whole(4),
        ry: whole(5),
        rz: whole(6),
      };
      rows = [];
      return block;
    },
  };
};
