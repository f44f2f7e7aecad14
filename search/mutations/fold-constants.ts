// fold-constants: what computes the same on every run becomes a constant (see analysis/fold.ts).
import { foldConstants as fold } from '../../src/analysis/fold.js';
import type { Mutation, MutationContext } from './mutation.js';

export function foldConstants(): Mutation {
  const folded = ({ analysis }: MutationContext) => fold(analysis.model, analysis.table);
  return {
    name: 'fold-constants',
    summary: 'computes once and for all what does not depend on the inputs',
    law: 'exact',
    propose: (context) => (folded(context) === context.analysis.model ? undefined : {}),
    places: (context) =>
      folded(context) === context.analysis.model ? [] : [{ params: {}, site: 'constants', saving: 0, error: () => 0 }],
    apply: (_, context) => folded(context),
  };
}
