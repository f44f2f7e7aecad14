// Any network -> its compressed computation graph, by the rules of AIO-P's compressor (methods.md §1.1): constants, shape
// arithmetic and movement go, biases fold into their operator, gates become one node. Weights are never read.
import { countCost, type Cost } from '../analysis/cost.js';
import { inferShapes, type Binding, type Shapes } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { standardOps } from '../ops/index.js';
import type { OpTable } from '../ops/op.js';
import { dimsOf } from './channel-axis.js';
import type { ComputationGraph } from './computation-graph.js';
import { draftGraph } from './draft.js';
import { layOut } from './draft-layout.js';
import { inlined } from '../ir/inline.js';

export interface CompressOptions {
  /** What is known of this very model already: saves finding it again. */
  readonly known?: { readonly shapes: Shapes; readonly cost?: Cost };
  /** Sizes of inputs; dynamic ones are 1 in the batch, 224 in images and 128 in sequences unless given. */
  readonly binding?: Binding;
  readonly table?: OpTable;
  /** Also groups, strides, MACs, parameters and position. */
  readonly extras?: boolean;
  /** Uses AIO-P's reserved classes: other norms, Softmax, Max, Resize, Sub and Div. */
  readonly extended?: boolean;
}

/** The computation graph of any legal model. Deterministic: equal models give equal bytes (`graphBytes`). */
export function compress(original: Model, options: CompressOptions = {}): ComputationGraph {
  const table = options.table ?? standardOps;
  const model = inlined(original);
  const known = model === original ? options.known : undefined;
  const shapes = known?.shapes ?? assumedShapes(model, table, options.binding);
  const cost = known?.cost ?? countCost(model, table, shapes);
  const draft = draftGraph(model, shapes, cost, options.extended === true);
  return layOut(draft, cost.macs, options.extras === true);
}

/** With what compression assumes of dynamic sizes. */
export function assumedShapes(model: Model, table: OpTable, binding?: Binding): Shapes {
  const tries: Binding[] = [binding ?? defaultBinding(model), { dynamic: 1 }, {}];
  for (const attempt of tries) {
    try {
      return inferShapes(model, table, attempt);
    } catch (error) {
      // the sizes assumed for dynamic inputs may contradict the network: then with less assumed
      if (!(error instanceof PareError)) throw error;
    }
  }
  return { types: new Map(), values: new Map(), unknown: [] };
}

function defaultBinding(model: Model): Binding {
  const inputs = new Map<string, readonly number[]>();
  for (const v of model.graph.inputs) {
    const dims = dimsOf(v.type);
    if (dims === undefined || dims.every((d) => typeof d === 'number' && d >= 0)) continue;
    const size = dims.length > 3 ? 224 : 128;
    inputs.set(
      v.name,
      dims.map((d, i) => (typeof d === 'number' && d >= 0 ? d : i === 0 ? 1 : i === 1 && dims.length > 3 ? 3 : size)),
    );
  }
  return { inputs, dynamic: 1 };
}
