// The original network with further values to aim at: layers that a structural edit put in place of others (the first of two
// factors, say) get as their target what their own weights give on the original's activations.
import type { Model, Node } from '../ir/graph.js';
import type { Tensor } from '../ir/tensor.js';
import { constantOf } from './constants.js';

/**
 * `base` plus the Convs, Gemms and MatMuls of `edited` that it lacks and whose inputs it has (or has got by now). `edited` has
 * the weights from before any channel was cut. O(nodes).
 */
export function withEditedLayers(base: Model, edited: Model): Model {
  const known = new Set<string>(base.graph.initializers.keys());
  for (const v of base.graph.inputs) known.add(v.name);
  for (const node of base.graph.nodes) for (const o of node.outputs) known.add(o);
  const constants = new Map<string, Node>();
  for (const node of edited.graph.nodes) if (constantOf(node) !== undefined) constants.set(node.outputs[0]!, node);
  const nodes: Node[] = [];
  const initializers = new Map(base.graph.initializers);
  for (const node of edited.graph.nodes) {
    if (!LINEAR.has(node.opType) || node.outputs.length !== 1 || known.has(node.outputs[0]!)) continue;
    const [input, ...weights] = node.inputs;
    if (input === undefined || !known.has(input) || input === '') continue;
    const found = weights
      .filter((w) => w !== '')
      .map((w) => edited.graph.initializers.get(w) ?? constantOf(constants.get(w)));
    if (found.some((t) => t === undefined)) continue;
    // names of weights may stand for other values in the base: they get names of their own
    const own = weights.map((w) => (w === '' ? '' : `${w} of ${node.outputs[0]!}`));
    own.filter((w) => w !== '').forEach((name, i) => initializers.set(name, { ...plain(found[i]!), name }));
    nodes.push({ ...node, inputs: [input, ...own] });
    known.add(node.outputs[0]!);
  }
  if (nodes.length === 0) return base;
  return { ...base, graph: { ...base.graph, nodes: [...base.graph.nodes, ...nodes], initializers } };
}

const LINEAR: ReadonlySet<string> = new Set(['Conv', 'Gemm', 'MatMul']);

function plain({ name, dataType, dims, bytes }: Tensor): Tensor {
  return bytes === undefined ? { name, dataType, dims } : { name, dataType, dims, bytes };
}
