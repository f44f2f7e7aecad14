// What a zero-cost proxy is: one number of an untrained network and one batch, higher being (mostly) better.
import type { Probe } from './probe.js';

export interface Proxy {
  readonly name: string;
  /** What it takes: 'forward' and below need no operator to have a gradient rule. */
  readonly needs: 'shapes' | 'weights' | 'forward' | 'gradients';
  /** NaN or infinite where the network degenerates; throws PareError where it makes no sense of the network. */
  readonly score: (probe: Probe) => number | Promise<number>;
}
