// Which gradient rule, or which expansion into simpler operators, belongs to which operator of the default domain; index.ts
// puts them into the entries.
import { recurrentExpansions } from './expand-recurrent.js';
import { simpleExpansions } from './expand-simple.js';
import { activationGradients } from './gradient-activation.js';
import { convGradients } from './gradient-conv.js';
import { denseGradients } from './gradient-dense.js';
import { elementwiseGradients } from './gradient-elementwise.js';
import { gatherGradients } from './gradient-gather.js';
import { movementGradients } from './gradient-movement.js';
import { normGradients } from './gradient-norm.js';
import { reduceGradients } from './gradient-reduce.js';
import { windowGradients } from './gradient-window.js';
import type { ExpandRule, GradientRule } from './op.js';

export const gradientRules: ReadonlyMap<string, GradientRule> = new Map([
  ...activationGradients,
  ...convGradients,
  ...denseGradients,
  ...elementwiseGradients,
  ...gatherGradients,
  ...movementGradients,
  ...normGradients,
  ...reduceGradients,
  ...windowGradients,
]);

export const expandRules: ReadonlyMap<string, ExpandRule> = new Map([...recurrentExpansions, ...simpleExpansions]);
