// "Why this candidate" in words: which signals moved the search's predictor most, against the mean of the front.
import { z } from 'zod';
import { signed } from './words.js';

export const whySchema = z.object({
  foretold: z.number(),
  reference: z.number(),
  effects: z.array(z.object({ signal: z.string(), value: z.number(), mean: z.number(), effect: z.number() })),
});
export type Why = z.infer<typeof whySchema>;

/** Signals that a line of the report names. */
const NAMED = 3;

/** `foretold 97.9 % (front's mean 96.4 %): +0.8 expected loss in stage 1 0.02 (mean 0.05), ...`. */
export function whyText(why: Why, percent: boolean): string {
  const score = (v: number): string => (percent ? `${(100 * v).toFixed(2)} %` : v.toPrecision(4));
  const named = why.effects.slice(0, NAMED).map((e) => {
    const show = valueText(e.signal);
    return `${signed(e.effect, percent)} by ${signalText(e.signal)} (${show(e.value)}; mean ${show(e.mean)})`;
  });
  const reasons = named.length === 0 ? 'nothing sets it apart' : named.join(', ');
  return `foretold ${score(why.foretold)}, the front's mean network ${score(why.reference)}: ${reasons}`;
}

/** What a signal is called by people. */
export function signalText(signal: string): string {
  const known = WORDS.get(signal);
  if (known !== undefined) return known;
  const [kind = '', ...rest] = signal.split(':');
  const of = rest.at(-1) ?? '';
  if (kind === 'aiop') return `what AIO-P foretells for ${rest.join(':')}`;
  if (kind === 'proxy') return `the proxy ${of}`;
  if (kind === 'edits') return `${of} edits`;
  const stage = /^stage\/(\d+)$/.exec(of);
  if (stage !== null) return `${kind === 'loss' ? 'the expected loss' : 'MACs'} in stage ${Number(stage[1]) + 1}`;
  if (kind === 'graf') return PATHS.get(rest[0] ?? '')?.(of) ?? `graph feature ${rest.join(' ')}`;
  return signal;
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ['loss', 'the expected loss of all cuts'],
  ['loss:replaced', 'the expected loss of replaced layers'],
  ['loss:rms', 'the expected loss of the groups, squared'],
  ['loss:worst', 'the expected loss of the worst group'],
  ['groups:cut', 'the share of groups that are cut'],
  ['macs', 'its share of the MACs'],
  ['params', 'its share of the parameters'],
  ['memory', 'its share of the activation memory'],
  ['graf:depth', 'operators on the longest path'],
  ['graf:shortest', 'the shortest path'],
]);

const PATHS: ReadonlyMap<string, (of: string) => string> = new Map([
  ['macs', (of) => `MACs in ${of} layers`],
  ['count', (of) => `the number of ${of} operators`],
  ['longest', (of) => `${of} operators on one path`],
  ['around', (of) => `the shortest path around ${of} operators`],
  ['degree', (of) => `edges of ${of} operators`],
]);

/** Shares as percentages, counts as they are. */
function valueText(signal: string): (v: number) => string {
  if (/^(macs|params|memory|groups:cut|graf:macs)/.test(signal)) return (v) => `${(100 * v).toFixed(1)} %`;
  return (v) => (Number.isInteger(v) ? String(v) : v.toPrecision(3));
}
