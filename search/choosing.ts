// How a search by one fitness chooses what to measure next: who foretells, who is asked in its place, and how far candidates are apart.
import type { FitnessMethod } from '../src/predictor/fitness-methods.js';
import type { Predictor } from '../src/predictor/predictor.js';
import { createRankAggregation } from '../src/predictor/rank-aggregation.js';
import { distanceOver } from './distance.js';
import type { ExploreOptions } from './explore.js';
import type { Fitness } from './fitness.js';

/** `predictor`: of the method, where it foretells. */
export function choosingBy(
  method: FitnessMethod,
  predictor: Predictor | undefined,
  fitness: Fitness,
): Pick<ExploreOptions, 'predictor' | 'fallback' | 'blindly' | 'distance'> {
  return {
    distance: distanceOver(fitness.base.groups.reduce((sum, g) => sum + g.size, 0)),
    ...(predictor === undefined ? {} : { predictor, fallback: createRankAggregation() }),
    ...('choose' in method ? { blindly: method.choose } : {}),
  };
}
