// The operator table: every operator that Pare knows, one file per family. A new family is one import and one line here.
import { activationOps } from './activation.js';
import { attentionOps } from './attention.js';
import { channelRules } from './channel-table.js';
import { contribOps } from './contrib.js';
import { controlOps } from './control.js';
import { convOps } from './conv.js';
import { elementwiseOps } from './elementwise.js';
import { expandRules, gradientRules } from './gradients.js';
import { imageOps } from './image.js';
import { matmulOps } from './matmul.js';
import { mlOps } from './ml.js';
import { movementOps } from './movement.js';
import { normOps } from './norm.js';
import { opTable } from './op.js';
import type { OpDef, OpTable } from './op.js';
import { poolOps } from './pool.js';
import { quantizeOps } from './quantize.js';
import { randomOps } from './random.js';
import { recurrentOps } from './recurrent.js';
import { reduceOps } from './reduce.js';
import { retiredOps } from './retired.js';
import { sequenceOps } from './sequence.js';
import { shapeOps } from './shape-ops.js';
import { signalOps } from './signal.js';
import { slicingOps } from './slicing.js';
import { textOps } from './text.js';
import { trainingOps } from './training.js';

const families: readonly OpDef[] = [
  ...activationOps,
  ...attentionOps,
  ...contribOps,
  ...controlOps,
  ...convOps,
  ...elementwiseOps,
  ...imageOps,
  ...matmulOps,
  ...mlOps,
  ...movementOps,
  ...normOps,
  ...poolOps,
  ...quantizeOps,
  ...randomOps,
  ...recurrentOps,
  ...reduceOps,
  ...retiredOps,
  ...sequenceOps,
  ...shapeOps,
  ...signalOps,
  ...slicingOps,
  ...textOps,
  ...trainingOps,
];

export const operators: readonly OpDef[] = families.map((def) => {
  const plain = (def.domain ?? '') === '';
  const gradient = plain ? gradientRules.get(def.opType) : undefined;
  const expand = plain ? expandRules.get(def.opType) : undefined;
  const channels = channelRules.get(plain ? def.opType : `${def.domain}:${def.opType}`);
  return {
    ...def,
    ...(gradient === undefined ? {} : { gradient }),
    ...(expand === undefined ? {} : { expand }),
    ...(channels === undefined ? {} : { channels }),
  };
});

/** The operators of ONNX; plug-ins add theirs by `.with(...)`. */
export const standardOps: OpTable = opTable(operators);
