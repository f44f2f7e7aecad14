// Mutations of a program (`optimize({ mutations })`) are somebody else's code: what one of them throws, other than a PareError, disables
// it with a sentence, and the run goes on. Plug-ins are guarded by their own process as well.
import { messageOf, PareError } from '../src/errors.js';
import { checkModel } from '../src/ir/check.js';
import type { Model } from '../src/ir/graph.js';
import type { Mutation } from './mutations/mutation.js';

export interface GuardedMutations {
  readonly mutations: readonly Mutation[];
  /** Sentences since the last call. */
  readonly warnings: () => readonly string[];
}

export function guardMutations(mutations: readonly Mutation[]): GuardedMutations {
  let said: string[] = [];
  return {
    mutations: mutations.map((m) => guarded(m, (sentence) => void said.push(sentence))),
    warnings() {
      const list = said;
      said = [];
      return list;
    },
  };
}

/** What it gave before stays: an edit that could be applied can still be. */
function guarded(mutation: Mutation, say: (sentence: string) => void): Mutation {
  const { name } = mutation;
  let disabled = false;
  const disable = (doing: string, cause: unknown): PareError => {
    const why = `mutation "${name}" threw in ${doing}: ${messageOf(cause)}`;
    if (!disabled) say(`${why}; it is disabled, and the run goes on without it`);
    disabled = true;
    return new PareError(why, { cause });
  };
  /** Nothing where it throws, and from then on. */
  const offered = <T>(doing: string, empty: T, act: () => T): T => {
    if (disabled) return empty;
    try {
      return act();
    } catch (error) {
      if (!(error instanceof PareError)) disable(doing, error);
      return empty;
    }
  };
  const done = <T>(doing: string, act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw error instanceof PareError ? error : disable(doing, error);
    }
  };
  const checked = (made: Model): Model => {
    checkModel(made);
    return made;
  };
  return {
    name,
    summary: mutation.summary,
    law: mutation.law,
    ...(mutation.refit === undefined ? {} : { refit: mutation.refit }),
    propose: (context, rng) => offered('propose', undefined, () => mutation.propose(context, rng)),
    apply: (params, context) => done('apply', () => checked(mutation.apply(params, context))),
    ...(mutation.places === undefined ? {} : { places: (c) => offered('places', [], () => mutation.places!(c)) }),
    ...(mutation.join === undefined ? {} : { join: (p) => done('join', () => mutation.join!(p)) }),
    ...(mutation.removal === undefined
      ? {}
      : { removal: (g, c) => offered('removal', undefined, () => mutation.removal!(g, c)) }),
  };
}
