// The list of mutations: one line each. Plug-ins are added to it by the caller.
import type { Surgery } from '../replay.js';
import { createFactorizer } from './factorize-conv.js';
import type { Mutation } from './mutation.js';
import { pruneChannels } from './prune-channels.js';

/** Everything built in. Some keep what they computed, so one list should serve a whole search. */
export function standardMutations(surgery: Pick<Surgery, 'prune'>): readonly Mutation[] {
  return [pruneChannels(surgery), createFactorizer().mutation];
}
