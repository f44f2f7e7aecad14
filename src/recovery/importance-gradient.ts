// Criteria from gradients of a loss on calibration samples: how it reacts to channels (Taylor, Fisher) and to weights (OBD-C, SNR).
import { readFloats } from '../ir/tensor.js';
import type { Importance } from './importance.js';
import { eachTensorOf } from './unit-weights.js';

export const gradientCriterionNames = ['taylor', 'fisher', 'obdc', 'snr'] as const;
export type GradientCriterionName = (typeof gradientCriterionNames)[number];

/** What a criterion reads of the sensitivity; undefined where it is none of these. */
export function sensitivityFor(criterion: string): 'gates' | 'curvature' | undefined {
  if (criterion === 'taylor' || criterion === 'fisher') return 'gates';
  return criterion === 'obdc' || criterion === 'snr' ? 'curvature' : undefined;
}

export const gradientCriteria: Readonly<Record<GradientCriterionName, Importance>> = {
  /** Mean |first-order change of a sample's loss when the unit is switched off| (Molchanov et al., ICLR 2017, arXiv 1611.06440). */
  taylor: ({ group, sensitivity }) => sensitivity?.gate(group.id)?.magnitude,
  /** Half its mean square: the second-order change with the Fisher information for the Hessian (Theis et al. 2018, arXiv 1801.05787). */
  fisher: ({ group, sensitivity }) => sensitivity?.gate(group.id)?.square.map((x) => x / 2),
  /** Half the sum of weight squared times the diagonal of the Gauss-Newton matrix (C-OBD of Wang et al., ICML 2019, arXiv 1905.05934). */
  obdc: (context) => sumByUnit(context, (w, h) => (w * w * h) / 2),
  /** |Weight| / deviation of a Laplace posterior with that curvature and prior N(0, 1) (methods.md §11), as shares of the group's sum. */
  snr: (context) => {
    const samples = context.sensitivity?.samples ?? 1;
    const sums = sumByUnit(context, (w, h) => signalToNoise(w, posteriorDeviation(h, samples)));
    // a ratio knows nothing of losses: each group counts alike, as with norms
    const total = sums?.reduce((a, b) => a + b, 0) ?? 0;
    return sums?.map((s) => s / (total || 1));
  },
};

/** |mean| / deviation of a weight's distribution. */
export function signalToNoise(mean: number, deviation: number): number {
  return Math.abs(mean) / deviation;
}

/** Of a weight with mean curvature `h` of the loss over `samples`, prior N(0, 1). */
export function posteriorDeviation(h: number, samples: number): number {
  return 1 / Math.sqrt(samples * h + 1);
}

function sumByUnit(
  { analysis, group, sensitivity }: Parameters<Importance>[0],
  measure: (weight: number, curvature: number) => number,
): Float64Array | undefined {
  const sums = new Float64Array(group.size);
  let any = false;
  eachTensorOf(analysis, group, 'weights', (tensor, unitAt) => {
    const curvature = sensitivity?.curvature(tensor.name);
    if (curvature === undefined) return;
    any = true;
    readFloats(tensor).forEach((w, i) => {
      const unit = unitAt(i);
      if (unit !== undefined) sums[unit] = sums[unit]! + measure(w, curvature[i]!);
    });
  });
  return any ? sums : undefined;
}
