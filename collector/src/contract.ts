// Generated from schemas/telemetry.py: change that, then run `make contracts`. What a browser may send, and its units.

/** What a pointer sample is. Codes are stable: they are on the wire. */
export const enum PointerKind {
  MOVE = 0,
  DOWN = 1,
  UP = 2,
  WHEEL = 3,
  DRAG = 4,
  CLICK = 5,
}

/** The class of a key; the character itself is never sent. Codes are stable. */
export const enum KeyClass {
  LETTER = 1,
  DIGIT = 2,
  SPACE = 3,
  ENTER = 4,
  DELETE = 5,
  MODIFIER = 6,
  PUNCTUATION = 7,
  NAVIGATION = 8,
  OTHER = 9,
}

/** A change of focus or visibility. Codes are stable. */
export const enum FocusKind {
  FOCUS = 0,
  BLUR = 1,
  VISIBLE = 2,
  HIDDEN = 3,
  FIELD_FOCUS = 4,
  FIELD_BLUR = 5,
}

/** What the media track says of itself, or what was asked of it. */
export interface CameraTrack {
  /** Frame width, px. */
  width_px?: number;
  /** Frame height, px. */
  height_px?: number;
  /** Frames a second. */
  frame_rate_hz?: number;
  /** user, environment, left or right. */
  facing_mode?: string;
  /** Time until the constraints were settled, ms. */
  response_ms?: number;
}

/** What the capture step observed of the camera. The columns of frame times have one length. */
export interface Capture {
  /** Label of the track in use. */
  camera_label?: string;
  /** Labels of all video inputs. */
  camera_labels?: string[];
  /** devicechange fired during the capture. */
  device_list_changed?: boolean;
  /** The track in use changed during the capture. */
  camera_switched?: boolean;
  /** Constraints asked for. */
  asked?: CameraTrack;
  /** Settings that the track reports. */
  reported?: CameraTrack;
  /** Sizes and rate measured on frames. */
  delivered?: CameraTrack;
  /** Names of track capabilities. */
  capabilities?: string[];
  /** Presentation times of frames, ms from event start. */
  frame_t?: number[];
  /** Media times of the same frames, s. */
  media_t?: number[];
  /** Capture times of the same frames, ms from event start; null where absent. */
  capture_t?: (number | null)[];
  /** presentedFrames at the last callback. */
  presented_frames?: number;
  /** Media functions that are not the browser's own. */
  hooked_functions?: string[];
  /** A file was uploaded in place of a live capture. */
  upload?: boolean;
  /** Hash of the captured image or video. */
  capture_ref?: string;
}

/** Which collector recorded the event, and how finely. */
export interface Collector {
  /** Collector package, e.g. tellwire-web. */
  name: string;
  /** Collector version, semantic. */
  version: string;
  /** Shortest time between two pointer samples that it keeps, ms; 0 = every one. */
  sampling_interval_ms?: number;
}

/** Fingerprint attributes that the client reports of its device and browser. Absent means not collected. */
export interface Device {
  /** navigator.userAgent. */
  user_agent?: string;
  /** UA client hint platform. */
  ua_platform?: string;
  /** UA client hint mobile. */
  ua_mobile?: boolean;
  /** navigator.platform. */
  platform?: string;
  /** navigator.vendor. */
  vendor?: string;
  /** navigator.productSub. */
  product_sub?: string;
  /** navigator.languages. */
  languages?: string[];
  /** navigator.language. */
  language?: string;
  /** IANA time zone. */
  timezone?: string;
  /** Date.getTimezoneOffset, minutes. */
  timezone_offset_min?: number;
  /** navigator.hardwareConcurrency, cores. */
  hardware_concurrency?: number;
  /** navigator.deviceMemory, GiB. */
  device_memory_gib?: number;
  /** navigator.maxTouchPoints. */
  max_touch_points?: number;
  /** screen.width, CSS px. */
  screen_width_px?: number;
  /** screen.height, CSS px. */
  screen_height_px?: number;
  /** screen.availWidth, CSS px. */
  avail_width_px?: number;
  /** screen.availHeight, CSS px. */
  avail_height_px?: number;
  /** window.outerWidth, CSS px. */
  outer_width_px?: number;
  /** window.outerHeight, CSS px. */
  outer_height_px?: number;
  /** screen.colorDepth, bits. */
  color_depth_bits?: number;
  /** Unmasked WebGL vendor. */
  gpu_vendor?: string;
  /** Unmasked WebGL renderer. */
  gpu_renderer?: string;
  /** navigator.plugins.length. */
  plugin_count?: number;
  /** eval.toString().length. */
  eval_length?: number;
  /** Notification.permission. */
  notification_permission?: string;
  /** permissions.query result for notifications. */
  notification_query?: string;
  /** navigator.connection.rtt, ms. */
  rtt_ms?: number;
  /** document.hasFocus() when attributes were read. */
  has_focus?: boolean;
  /** navigator.webdriver. */
  webdriver?: boolean;
  /** navigator.webdriver is the browser's own getter, not a replacement. */
  webdriver_native?: boolean;
  /** Names of automation tools' globals and attributes found. */
  automation_globals?: string[];
  /** A console serialisation probe fired. */
  cdp_open?: boolean;
  /** Developer tools were seen open by another cue. */
  devtools_open?: boolean;
  /** window.chrome exists. */
  chrome_object?: boolean;
  /** Native functions found replaced or proxied. */
  native_functions_patched?: string[];
  /** Letter keys gave capitals twice with neither Shift nor Caps Lock. */
  capitals_unshifted?: boolean;
  /** Hash of the canvas rendering. */
  canvas_hash?: string;
  /** Two canvas reads agree. */
  canvas_stable?: boolean;
  /** Hash of the audio rendering. */
  audio_hash?: string;
  /** Two audio reads agree. */
  audio_stable?: boolean;
  /** Hash of the fonts found. */
  fonts_hash?: string;
  /** prefers-reduced-motion: reduce. */
  reduced_motion?: boolean;
  /** A privacy mode that fakes attributes is on. */
  resist_fingerprinting?: boolean;
  /** The client or its user declares assistive technology. It only ever exempts. */
  assistive_technology?: boolean;
  /** The same attributes in a worker. */
  worker?: Scope;
  /** The same attributes in an iframe. */
  iframe?: Scope;
  /** Only what was read so far: the whole follows, unless the session ends first. */
  partial?: boolean;
}

/** Changes of focus and visibility. Columns have one length. */
export interface Focus {
  /** Time of the change, ms from the event's start. */
  t: number[];
  /** 0 window focus, 1 window blur, 2 visible, 3 hidden, 4 field focus, 5 field blur. */
  kind: number[];
}

/** Per-field counts and times, and the submission. */
export interface Form {
  /** Fields touched since the previous event. */
  fields: FormField[];
  /** The form was submitted. */
  submitted?: boolean;
  /** From page load to the submission, ms; absent before it. */
  submit_ms?: number;
}

/** What happened in one form field since the previous event; values are never sent, only counts and times. */
export interface FormField {
  /** Field's stable key in the form, e.g. email; never its value. */
  field: string;
  /** Time in focus, ms. */
  focus_ms?: number;
  /** From focus to the first input, ms; absent before the first input. */
  hesitation_ms?: number;
  /** Key presses in the field. */
  key_count?: number;
  /** Input events in the field. */
  input_count?: number;
  /** Pastes and drops. */
  paste_count?: number;
  /** Fills by browser or password manager. */
  autofill_count?: number;
  /** Deletions of typed input. */
  correction_count?: number;
  /** Composition (IME) commits. */
  ime_count?: number;
  /** The value changed with no key, paste, autofill or IME event. */
  changed_without_input?: boolean;
}

/** Key presses by class, ordered by press time. Columns have one length. A row waits at most one second for its release, and later rows wait behind it, so that rows of successive events are in order too; a press may therefore lie before the event's start (negative time). */
export interface Keys {
  /** Press time, ms from the event's start, not decreasing. */
  down: number[];
  /** Release time, ms from the event's start; null where the release was not seen. */
  up: (number | null)[];
  /** 1 letter, 2 digit, 3 space, 4 enter, 5 backspace or delete, 6 modifier, 7 punctuation, 8 navigation, tab or escape, 9 other. Never the character. */
  key_class: number[];
  /** Key events with isTrusted = false. */
  untrusted_count?: number;
  /** Composition (IME) events: typing that shows no single keys. */
  ime_count?: number;
  /** Key events while the document had no focus. */
  unfocused_count?: number;
}

/** Accelerometer and gyroscope samples, with permission. Columns that are there have one length. */
export interface Motion {
  /** Sample time, ms from the event's start. */
  t: number[];
  /** Acceleration with gravity along x, m/s². */
  ax: number[];
  /** Acceleration with gravity along y, m/s². */
  ay: number[];
  /** Acceleration with gravity along z, m/s². */
  az: number[];
  /** Rotation rate about x, °/s. */
  rx?: number[];
  /** Rotation rate about y, °/s. */
  ry?: number[];
  /** Rotation rate about z, °/s. */
  rz?: number[];
}

/** Pointer samples of any pointing device, in the order of their times. Columns that are there have one length. */
export interface Pointer {
  /** Sample time, ms from the event's start, not decreasing. */
  t: number[];
  /** Horizontal position in the viewport, CSS px. */
  x: number[];
  /** Vertical position in the viewport, CSS px. */
  y: number[];
  /** 0 move, 1 down, 2 up, 3 wheel, 4 drag, 5 click without down and up. Absent: all moves. */
  kind?: number[];
  /** 0 none, 1 left, 2 right, 3 middle, 4 wheel. */
  button?: number[];
  /** Pointing device as the browser reports it. */
  pointer_type?: "mouse" | "pen" | "touch" | "touchpad" | "unknown";
  /** Samples whose event had isTrusted = false. */
  untrusted_count?: number;
  /** Samples that came out of getCoalescedEvents; absent where unsupported. */
  coalesced_count?: number;
  /** Distance of each click from the centre of its target, px. */
  click_offset_px?: number[];
}

/** The same attributes read in another scope (worker or iframe), to be compared with the window's. */
export interface Scope {
  /** navigator.userAgent in that scope. */
  user_agent?: string;
  /** navigator.platform in that scope. */
  platform?: string;
  /** navigator.hardwareConcurrency in that scope. */
  hardware_concurrency?: number;
  /** navigator.deviceMemory, GiB. */
  device_memory_gib?: number;
  /** navigator.languages. */
  languages?: string[];
  /** IANA time zone of that scope. */
  timezone?: string;
  /** navigator.webdriver in that scope. */
  webdriver?: boolean;
  /** Unmasked WebGL renderer in that scope. */
  gpu_renderer?: string;
}

/** Scroll positions of the document or a scrolled element. Columns have one length. */
export interface Scroll {
  /** Sample time, ms from the event's start. */
  t: number[];
  /** Horizontal scroll position, CSS px. */
  x: number[];
  /** Vertical scroll position, CSS px. */
  y: number[];
}

/** The collector says that the session is over: the next risk event is the session's final one. */
export interface SessionEnd {
  /** Why the session ended. */
  reason: "abandoned" | "completed" | "error" | "timeout";
}

/** Touch contacts with their geometry; `id` tells fingers apart. Columns that are there have one length. */
export interface Touch {
  /** Sample time, ms from the event's start. */
  t: number[];
  /** Horizontal position, CSS px. */
  x: number[];
  /** Vertical position, CSS px. */
  y: number[];
  /** 0 move, 1 start, 2 end, 3 cancel. */
  kind: number[];
  /** Contact number; absent: one finger. */
  id?: number[];
  /** Contact radius, CSS px. */
  radius_px?: number[];
  /** Pressure, 0 to 1. */
  force?: number[];
  /** Samples whose event had isTrusted = false. */
  untrusted_count?: number;
}

/** The layout viewport that coordinates refer to. */
export interface Viewport {
  /** Width, CSS px. */
  width_px: number;
  /** Height, CSS px. */
  height_px: number;
  /** Device pixels a CSS pixel. */
  device_pixel_ratio?: number;
}

/** One batch of what a collector observed of a capture session. Key: `session_id`. */
export interface TelemetryEvent {
  /** Message type and version. */
  type: "capture.telemetry.v1";
  /** The producer's idempotency key. */
  event_id: string;
  /** Opaque id of the capture session; also the record's key. */
  session_id: string;
  /** Number of this event in its session, from 0; a repeat is dropped. */
  sequence: number;
  /** Event time: when the batch began, client clock, epoch ms. */
  effective_at: number;
  /** Which collector recorded it. */
  collector: Collector;
  /** One-time value that the gateway issued for this session. */
  nonce: string;
  /** Layout viewport. */
  viewport?: Viewport;
  /** Pointer samples. */
  pointer?: Pointer;
  /** Touch contacts. */
  touch?: Touch;
  /** Scroll positions. */
  scroll?: Scroll;
  /** Key presses by class. */
  keys?: Keys;
  /** Accelerometer and gyroscope. */
  motion?: Motion;
  /** Form fields. */
  form?: Form;
  /** Focus and visibility. */
  focus?: Focus;
  /** Fingerprint attributes. */
  device?: Device;
  /** Camera facts. */
  capture?: Capture;
  /** Present on the last event of the session. */
  end?: SessionEnd;
}
