/** What a browser says of itself without any work: read as soon as it may be, so that a session's first event tells it. */

import type { Device } from "./contract.js";
import { count, scopeOf, text } from "./scope.js";

type Nav = Navigator & { userAgentData?: { platform?: string; mobile?: boolean } };

/**
 * Begin a device with what costs far below a millisecond together, asks no other process of the browser, and needs no
 * table that a first use would load. Each part that fails is absent.
 */
export const begun = (): Device => {
  const device: Device = {};
  const nav: Nav = navigator;
  const parts = [
    () => scopeOf(window),
    () => ({ language: text(nav.language), vendor: text(nav.vendor), max_touch_points: count(nav.maxTouchPoints) }),
    () => ({ ua_platform: text(nav.userAgentData?.platform), ua_mobile: nav.userAgentData?.mobile }),
    () => ({ screen_width_px: count(screen.width), screen_height_px: count(screen.height) }),
    () => ({ avail_width_px: count(screen.availWidth), avail_height_px: count(screen.availHeight) }),
    () => ({ outer_width_px: count(outerWidth), outer_height_px: count(outerHeight) }),
    () => ({ color_depth_bits: count(screen.colorDepth), has_focus: document.hasFocus(), chrome_object: "chrome" in window }),
  ];
  for (const part of parts) {
    try {
      Object.assign(device, part());
    } catch {
      // Not every browser or policy lets everything be read.
    }
  }
  return device;
};
