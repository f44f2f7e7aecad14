/** All that a generator returns in the end, its reports handed on. */
export async function drain<R, T>(steps: AsyncGenerator<R, T>, report?: (r: R) => void): Promise<T> {
  for (;;) {
    const next = await steps.next();
    if (next.done === true) return next.value;
    report?.(next.value);
  }
}
