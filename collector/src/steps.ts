/** Work in small steps: between two of them the page does what it has to do. */

/** Wait until the page has nothing to do, or for so many ms. */
export const idle = (timeout = 1000): Promise<void> =>
  new Promise((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => resolve(), { timeout });
    else setTimeout(resolve, 20);
  });

/** Work that says, by `yield`, where it may be interrupted. */
export type Steps<Result> = Generator<void, Result, void>;

/** Do all of it, each step in a task of its own; waits at most `timeout` ms before each. */
export const inSteps = async <Result>(work: Steps<Result>, timeout?: number): Promise<Result> => {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    await idle(timeout);
  }
};
