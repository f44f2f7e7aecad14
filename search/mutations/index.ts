// The list of mutations: one line each. Plug-ins are added to it by the caller.
import type { Surgery } from '../replay.js';
import { createFactorizer } from './factorize-conv.js';
import { foldBatchNorm } from './fold-batch-norm.js';
import { foldConstants } from './fold-constants.js';
import { groupConv } from './group-conv.js';
import type { Mutation } from './mutation.js';
import { pruneChannels } from './prune-channels.js';
import { reduceResolution } from './reduce-resolution.js';
import { removeBlock } from './remove-block.js';
import { removeNoOps } from './remove-no-ops.js';
import { replaceSegment } from './replace-segment.js';
import { shrinkKernel } from './shrink-kernel.js';
import { swapActivation } from './swap-activation.js';

/** Everything built in. Some keep what they computed, so one list should serve a whole search. */
export function standardMutations(surgery: Pick<Surgery, 'prune'>): readonly Mutation[] {
  return [
    pruneChannels(surgery),
    createFactorizer().mutation,
    removeBlock(),
    shrinkKernel(),
    groupConv(),
    swapActivation(),
    reduceResolution(),
    replaceSegment(),
    ...losslessMutations(),
  ];
}

/** Those that change no output: worth applying to every network before a search. */
export function losslessMutations(): readonly Mutation[] {
  return [foldConstants(), foldBatchNorm(), removeNoOps()];
}
