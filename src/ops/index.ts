// The operator table: every operator that Pare knows, one file per family. A new family is one import and one line here.
import { activationOps } from './activation.js';
import { convOps } from './conv.js';
import { elementwiseOps } from './elementwise.js';
import { matmulOps } from './matmul.js';
import { normOps } from './norm.js';
import { opTable } from './op.js';
import type { OpDef, OpTable } from './op.js';
import { poolOps } from './pool.js';
import { randomOps } from './random.js';
import { reduceOps } from './reduce.js';
import { signalOps } from './signal.js';
import { trainingOps } from './training.js';

export const operators: readonly OpDef[] = [
  ...activationOps,
  ...convOps,
  ...elementwiseOps,
  ...matmulOps,
  ...normOps,
  ...poolOps,
  ...randomOps,
  ...reduceOps,
  ...signalOps,
  ...trainingOps,
];

/** The operators of ONNX; plug-ins add theirs by `.with(...)`. */
export const standardOps: OpTable = opTable(operators);
