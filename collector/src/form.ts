/**
 * How fields are filled: counts and times by field. No value is read, here or anywhere: not `.value`, not what an
 * input event carries, not the clipboard.
 */

import type { Form, FormField } from "./contract.js";
import { ignored, Listeners, now, round, targetOf, timeOf, type Env, type Family } from "./env.js";
import { fieldOf, keyOf, typed, type Field } from "./fields.js";
import { classOf, composing, keyless } from "./keys.js";

/** Reports an event may hold. */
const MAX_FIELDS = 64;
/** A page's own scripts may answer a key or a press elsewhere (a calendar, a look-up) for so long, ms. */
const ANSWER_MS = 3000;
/** An input event this long after a key belongs to it, ms. */
const KEY_MS = 1000;

/** Neither a key that types nor one that deletes. */
const SILENT = new Set<number>([6, 8]);

/** What is known of a field while the page lives. */
interface State {
  key: string;
  typed: boolean;
  /** Report of the open event; the next one starts anew. */
  report?: FormField;
  /** When the focus came, or its time was last counted; 0 without focus. */
  since: number;
  /** When the focus came; 0 once the first input came. */
  waiting: number;
  lastKey: number;
  /** Input, keys or presses since the focus came: its value may have changed by them. */
  touched: boolean;
  wasEmpty: boolean | undefined;
  filled: boolean;
}

/** Whether the field is empty, as CSS and validation tell without its value; undefined where they do not. */
const isEmpty = (field: Field): boolean | undefined => {
  if (!(field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement)) return undefined;
  if (field.placeholder) return field.matches(":placeholder-shown");
  return field.required ? field.validity.valueMissing : undefined;
};

const autofilled = (field: Field): boolean => {
  for (const name of [":autofill", ":-webkit-autofill"]) {
    try {
      return field.matches(name);
    } catch {
      // An older browser has another name for it.
    }
  }
  return false;
};

export interface FormFamily extends Family<Form> {
  /** A submission, at page time `t`. */
  submitted(t: number): void;
}

export const form = (env: Env): FormFamily => {
  const listeners = new Listeners(env);
  let states = new WeakMap<Field, State>();
  let open: State[] = [];
  let current: Field | null = null;
  let submitAt: number | undefined;
  /** The last trusted key anywhere, the last press and where it was, the last password manager's event. */
  let lastKey = -1e9;
  let lastPress = -1e9;
  let pressedField: Field | null = null;
  let managed = -1e9;

  const stateOf = (field: Field): State => {
    let state = states.get(field);
    if (!state) {
      state = {
        key: keyOf(field),
        typed: typed(field),
        since: 0,
        waiting: 0,
        lastKey: -1e9,
        touched: false,
        wasEmpty: undefined,
        filled: false,
      };
      states.set(field, state);
    }
    return state;
  };
  const report = (state: State, time: number): FormField => {
    if (!state.report) {
      if (open.length >= MAX_FIELDS) env.flush();
      env.mark(time);
      state.report = { field: state.key };
      open.push(state);
    }
    return state.report;
  };
  const add = (one: FormField, name: keyof FormField & `${string}_count`): void => {
    one[name] = (one[name] ?? 0) + 1;
  };
  const spend = (state: State, time: number): void => {
    if (!state.since || !state.report) return;
    state.report.focus_ms = round((state.report.focus_ms ?? 0) + Math.max(0, Math.min(time - state.since, 8.64e7)));
    state.since = time;
  };

  const focused = (event: FocusEvent): void => {
    const field = fieldOf(targetOf(event));
    if (!field || ignored(field)) return;
    const time = timeOf(event);
    const state = stateOf(field);
    current = field;
    state.since = state.waiting = time;
    state.touched = false;
    state.wasEmpty = isEmpty(field);
    report(state, time);
  };
  const left = (event: FocusEvent): void => {
    const field = fieldOf(targetOf(event));
    const state = field && states.get(field);
    if (!field || !state) return;
    const time = timeOf(event);
    const one = report(state, time);
    if (!state.touched && state.wasEmpty && isEmpty(field) === false) one.changed_without_input = true;
    spend(state, time);
    state.since = state.waiting = 0;
    current = null;
  };
  const key = (event: KeyboardEvent): void => {
    const time = timeOf(event);
    if (keyless(event)) managed = time;
    else if (event.isTrusted) lastKey = time;
    const target = targetOf(event);
    const field = fieldOf(target);
    if (!field || keyless(event) || composing(event) || ignored(target)) return;
    if (SILENT.has(classOf(event.key ?? ""))) return;
    const state = stateOf(field);
    state.lastKey = time;
    state.touched = true;
    // A held key repeats its input, too: each counts, as each input does.
    add(report(state, time), "key_count");
  };
  const press = (event: PointerEvent): void => {
    const field = fieldOf(targetOf(event));
    pressedField = field;
    lastPress = timeOf(event);
    // A press elsewhere ends the focus, unless the page keeps it there: then it may be a calendar's day.
    if (current && field !== current) {
      const state = states.get(current);
      const here = current;
      setTimeout(() => {
        if (state && current === here) state.touched = true;
      }, 0);
    }
  };
  const input = (event: Event): void => {
    const target = targetOf(event);
    const field = fieldOf(target);
    if (!field || ignored(target)) return;
    const state = stateOf(field);
    if (!state.typed) return;
    const time = timeOf(event);
    const kind = event instanceof InputEvent ? event.inputType : "";
    const recentKey = time - state.lastKey < KEY_MS;
    const elsewhere = (pressedField !== field && time - lastPress < ANSWER_MS) || time - lastKey < ANSWER_MS;
    if (!event.isTrusted) {
      // The page's own script, a password manager's, or a bot's.
      if (autofilled(field) || time - managed < KEY_MS) fill(state, time);
      else if (!recentKey && !elsewhere) report(state, time).changed_without_input = true;
      state.touched = true;
      return;
    }
    state.touched = true;
    if (/Composition/.test(kind)) return;
    if (/Dictation/.test(kind)) {
      // Spoken: as with a composition no single key is to be seen.
      state.waiting = 0;
      add(report(state, time), "ime_count");
      return;
    }
    if (/FromPaste|FromDrop|FromYank/.test(kind)) return;
    const filled = autofilled(field) || time - managed < KEY_MS;
    if (!recentKey && (!kind || /Replacement/.test(kind) || filled)) {
      // A number's arrows are pressed; what else comes without a kind is filled in.
      if (filled || pressedField !== field || time - lastPress > KEY_MS) fill(state, time);
      return;
    }
    if (kind.startsWith("history") && !recentKey) return;
    const one = report(state, time);
    if (state.waiting) {
      one.hesitation_ms = round(Math.max(0, time - state.waiting));
      state.waiting = 0;
    }
    add(one, "input_count");
    if (kind.startsWith("delete")) add(one, "correction_count");
    // An input whose key was in the event before this one would look as if it had none.
    if (recentKey && !one.key_count) one.key_count = 1;
  };
  const fill = (state: State, time: number): void => {
    add(report(state, time), "autofill_count");
    state.waiting = 0;
  };
  const counted = (name: "paste_count" | "ime_count") => (event: Event): void => {
    const target = targetOf(event);
    const field = fieldOf(target);
    if (!field || ignored(target)) return;
    const state = stateOf(field);
    const time = timeOf(event);
    state.touched = true;
    state.waiting = 0;
    add(report(state, time), name);
  };
  const submitted = (time: number): void => {
    env.mark(time);
    // From when the page was seen: it may have been loaded long before.
    const [loaded] = performance.getEntriesByType("navigation") as { activationStart?: number }[];
    submitAt = Math.max(0, Math.min(time - (loaded?.activationStart ?? 0), 8.64e7));
  };

  return {
    submitted,
    start() {
      listeners.on(window, "focusin", focused);
      listeners.on(window, "focusout", left);
      listeners.on(window, "keydown", key);
      listeners.on(window, "pointerdown", press);
      listeners.on(window, "input", input);
      listeners.on(window, "paste drop", counted("paste_count"));
      listeners.on(window, "compositionend", counted("ime_count"));
      listeners.on(window, "submit", (event) => {
        if (!ignored(event.target)) submitted(timeOf(event));
      });
      // Consent may come while a field is in use.
      const active = fieldOf(document.activeElement);
      if (active && !ignored(active)) {
        const state = stateOf(active);
        current = active;
        state.since = state.waiting = now();
      }
    },
    stop() {
      listeners.off();
      states = new WeakMap();
      open = [];
      current = null;
      submitAt = undefined;
    },
    take() {
      if (!open.length && submitAt === undefined) return undefined;
      const time = now();
      for (const state of open) spend(state, time);
      const block: Form = { fields: open.map((state) => state.report as FormField) };
      for (const state of open) delete state.report;
      open = [];
      if (submitAt !== undefined) {
        block.submitted = true;
        block.submit_ms = round(submitAt);
        submitAt = undefined;
      }
      return block;
    },
  };
};
