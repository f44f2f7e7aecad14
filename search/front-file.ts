// front.json: what a run hands over.
import type { Belief } from '../src/predictor/predictor.js';
import type { Constraints } from './constraints.js';
import type { Figure, FrontMember } from './finish.js';
import type { Genome } from './genome.js';
import type { Rounding } from './rounding.js';

/** front.json. */
export interface FrontFile {
  readonly model: string;
  readonly metric: string;
  readonly constraints: Constraints;
  /** The run was interrupted: this is what it had, refitted as the search does. Absent otherwise. */
  readonly interrupted?: true;
  /** False: no candidate holds the constraints, these come closest; `note` says why. */
  readonly reached: boolean;
  readonly note?: string;
  /** How widths were rounded, and why so. */
  readonly rounding: Rounding;
  readonly original: {
    readonly macs: number;
    readonly params: number;
    readonly memoryBytes: number;
    readonly measured: Figure;
    readonly test?: Figure;
  };
  /** What the search's predictor thinks of itself: of scores as the search measures them. */
  readonly belief?: Belief;
  /** What `predicted` of the candidates means, and how well it is foretold of the networks that were refitted, each left out. */
  readonly foretelling: { readonly quantity: string; readonly belief?: Belief };
  /** What the predictor says of each measured candidate when that one is left out; in the order of archive.jsonl. */
  readonly leaveOneOut?: readonly number[];
  readonly candidates: readonly FrontMember[];
  /** Chosen ones that did not pass the last stage, and why. Absent when all did. */
  readonly leftOut?: readonly { readonly genome: Genome; readonly reason: string }[];
}
