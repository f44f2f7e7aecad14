// Learning-rate schedules: the share of the run that is done (0 to 1) to the share of the peak rate.

export type Schedule = (done: number) => number;

export const scheduleNames = ['cosine', 'one-cycle', 'constant'] as const;
export type ScheduleName = (typeof scheduleNames)[number];

/** From 1 down to 0 by half a cosine. */
export const cosine: Schedule = (done) => 0.5 * (1 + Math.cos(Math.PI * done));

/** Up from 1/25 in the first third, then down to 0 by a cosine (Smith & Topin 2018). */
export const oneCycle: Schedule = (done) =>
  done < 1 / 3 ? 0.04 + 2.88 * done : 0.5 * (1 + Math.cos(Math.PI * (1.5 * done - 0.5)));

/** `then` after a linear rise from 0 over this share of the run. */
export function warmUp(share: number, then: Schedule): Schedule {
  return (done) => (done < share ? done / share : then((done - share) / (1 - share)));
}

export function scheduleOf(name: ScheduleName): Schedule {
  if (name === 'constant') return () => 1;
  // a short warm-up: the slots of the optimizer know nothing yet
  return name === 'cosine' ? warmUp(0.03, cosine) : oneCycle;
}
