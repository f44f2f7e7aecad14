// The list of methods that `pare predictor evaluate --method NAME` knows: one line each.
import { ortRuntime } from '../runtime/ort.js';
import { aiopMethod } from './aiop.js';
import type { Method } from './evaluate.js';
import { flopsMethod } from './flops-method.js';
import { gcnMethod } from './gcn-method.js';
import { grafMethod } from './graf-method.js';
import { omniMethod, zcpMethod } from './omni-method.js';

export interface MethodOptions {
  /** `--predictor FILE`, for methods that start from a pretrained predictor; absent: the shipped one. */
  readonly predictor?: string;
}

export const METHODS: ReadonlyMap<string, (options: MethodOptions) => Promise<Method>> = new Map([
  ['flops', async () => flopsMethod],
  ['graf', async () => grafMethod()],
  ['zcp', async () => zcpMethod],
  ['gcn', async () => gcnMethod()],
  // what a pretrained predictor says without labels is a column of OMNI where one is named
  ['omni', async ({ predictor }: MethodOptions) => omniMethod(predictor === undefined ? undefined : aiop(predictor))],
  ['aiop', async ({ predictor }: MethodOptions) => aiop(predictor)],
]);

function aiop(file: string | undefined): Method {
  return aiopMethod({ runtime: ortRuntime(), ...(file === undefined ? {} : { file }) });
}
