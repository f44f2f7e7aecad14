// The blocks of a network, by cuts: values that alone are alive when they are made, so that all that follows depends on them
// only. A block is what lies between two cuts and holds weights; what follows without weights (an activation; a normalisation
// right behind its layer) belongs to it.
import { concreteShape } from '../../analysis/shapes.js';
import { usedNames } from '../../ir/walk.js';
import type { Network } from './network.js';

export interface BlockOutput {
  readonly name: string;
  readonly dims: readonly number[];
  /** 1 for images [N, C, H, W], the last for sequences [N, T, C]. */
  readonly channelAxis: number;
}

/** F_0 (the stem's output) to F_L, in order; feature maps and sequences only, not vectors. O(nodes). */
export function blockOutputs({ model, shapes, layers }: Network): BlockOutput[] {
  const { nodes, inputs, initializers, outputs } = model.graph;
  const lastUse = new Map<string, number>();
  nodes.forEach((node, i) => {
    for (const name of usedNames(node)) lastUse.set(name, i);
  });
  for (const o of outputs) lastUse.set(o.name, nodes.length);
  // what depends on the input
  const flowing = new Set(inputs.filter((v) => !initializers.has(v.name)).map((v) => v.name));
  const alive = new Set(flowing);
  const dense = new Set(layers.map((l) => l.output));
  const found: BlockOutput[] = [];
  // since the last cut
  let weighty = false;
  let normalised = false;
  // whether more may belong to the last block
  let open = false;
  for (const [i, node] of nodes.entries()) {
    const used = [...usedNames(node)].filter((name) => flowing.has(name));
    // shapes are read, not passed on
    if (used.length > 0 && !/^(Shape|Size)$/.test(node.opType)) {
      for (const o of node.outputs) {
        flowing.add(o);
        if ((lastUse.get(o) ?? -1) > i) alive.add(o);
      }
    }
    for (const name of used) if (lastUse.get(name) === i) alive.delete(name);
    if (node.outputs.some((o) => dense.has(o))) weighty = true;
    if (node.opType.endsWith('Normalization')) normalised = true;
    const [only = ''] = alive;
    const dims = alive.size === 1 && node.outputs.includes(only) ? concreteShape(shapes, only) : undefined;
    if (dims === undefined || (dims.length !== 4 && dims.length !== 3) || dims.slice(2).every((d) => d === 1)) continue;
    const block = { name: only, dims, channelAxis: dims.length === 4 ? 1 : 2 };
    if (weighty) {
      found.push(block);
      open = true;
    } else if (open && normalised && !dense.has(found.at(-1)!.name)) {
      open = false;
    } else if (open) {
      found[found.length - 1] = block;
    }
    weighty = normalised = false;
  }
  return found;
}
