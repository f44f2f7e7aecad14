// The masked reference: the original network with every consumed operand multiplied by 0 at its dead positions. What a
// pruned network must equal; labels enter only here and where they are consumed.
import type { Attribute, Model, Node } from '../ir/graph.js';
import { DataType, floatToHalf, type Tensor } from '../ir/tensor.js';
import { allNames, freshName } from '../ir/walk.js';
import { movingAxes, walk } from '../ops/labels.js';
import type { Labels } from '../ops/op.js';
import type { Analysis } from './analyse.js';
import { decideFate } from './fate.js';
import type { DeadUnits } from './groups.js';

export function maskModel(analysis: Analysis, dead: DeadUnits): Model {
  const fate = decideFate(analysis, dead);
  const { graph, flow, plan, shapes } = analysis;
  const names = allNames(graph);
  const before = new Map<number, Node[]>();
  const inputs = new Map<number, string[]>();
  for (const { node, input, labels, zero } of plan.consumptions) {
    const isDead = (atom: number): boolean => fate.dead[plan.classOf(atom)] === 1;
    const made = maskOf(labels, isDead);
    if (made === undefined) continue;
    const original = graph.nodes[node]!;
    const own = inputs.get(node) ?? [...original.inputs];
    const source = own[input]!;
    const type = shapes.types.get(original.inputs[input]!);
    const elemType = type?.kind === 'tensor' ? type.elemType : DataType.FLOAT;
    const mask = freshName(names, `${source}_mask`);
    const masked = freshName(names, `${source}_masked`);
    names.add(mask).add(masked);
    if (elemType === DataType.UINT8 || elemType === DataType.INT8) {
      // no runtime multiplies bytes: they pass through 32 bits
      const fresh = (stem: string): string => {
        const name = freshName(names, stem);
        names.add(name);
        return name;
      };
      const nodes = before.get(node) ?? [];
      nodes.push(...maskBytes(source, zero === undefined ? '' : original.inputs[zero]!, masked, elemType, made, fresh));
      before.set(node, nodes);
      own[input] = masked;
      inputs.set(node, own);
      continue;
    }
    const attributes = new Map<string, Attribute>([
      ['value', { name: 'value', kind: 'tensor', value: maskTensor(mask, elemType, made) }],
    ]);
    const nodes = before.get(node) ?? [];
    nodes.push(
      { name: '', opType: 'Constant', domain: '', inputs: [], outputs: [mask], attributes },
      { name: '', opType: 'Mul', domain: '', inputs: [source, mask], outputs: [masked], attributes: new Map() },
    );
    before.set(node, nodes);
    own[input] = masked;
    inputs.set(node, own);
  }
  const nodes = graph.nodes.flatMap((node, i) => {
    const own = inputs.get(i);
    return own === undefined ? [node] : [...before.get(i)!, { ...node, inputs: own }];
  });
  return flow.close({ ...flow.model, graph: { ...graph, nodes } });
}

interface Mask {
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

/** 0 and 1 over the axes that move, size 1 elsewhere; undefined when nothing is dead. */
function maskOf(labels: Labels, isDead: (atom: number) => boolean): Mask | undefined {
  const axes = movingAxes([labels]);
  const values: number[] = [];
  walk(
    axes.map((k) => labels.shape[k]!),
    [axes.map((k) => labels.strides[k]!)],
    [labels.offset],
    (at) => values.push(isDead(labels.atoms[at[0]!]!) ? 0 : 1),
  );
  if (!values.includes(0)) return undefined;
  return { dims: labels.shape.map((d, k) => (axes.includes(k) ? d : 1)), values };
}

/** Dead positions become the zero point. */
function maskBytes(
  source: string,
  zero: string,
  masked: string,
  elemType: number,
  mask: Mask,
  fresh: (stem: string) => string,
): Node[] {
  const node = (
    opType: string,
    inputs: readonly string[],
    output: string,
    attributes: readonly Attribute[] = [],
  ): Node => ({
    name: '',
    opType,
    domain: '',
    inputs,
    outputs: [output],
    attributes: new Map(attributes.map((a) => [a.name, a])),
  });
  const to = (dataType: number): Attribute => ({ name: 'to', kind: 'int', value: dataType });
  const [alive, wide, point, chosen] = ['alive', 'wide', 'point', 'chosen'].map((s) => fresh(`${source}_${s}`));
  const bools: Tensor = {
    name: alive!,
    dataType: DataType.BOOL,
    dims: mask.dims,
    bytes: () => Uint8Array.from(mask.values),
  };
  const nothing: Tensor = { name: point!, dataType: DataType.INT32, dims: [], bytes: () => new Uint8Array(4) };
  return [
    node('Constant', [], alive!, [{ name: 'value', kind: 'tensor', value: bools }]),
    node('Cast', [source], wide!, [to(DataType.INT32)]),
    zero === ''
      ? node('Constant', [], point!, [{ name: 'value', kind: 'tensor', value: nothing }])
      : node('Cast', [zero], point!, [to(DataType.INT32)]),
    node('Where', [alive!, wide!, point!], chosen!),
    node('Cast', [chosen!], masked, [to(elemType)]),
  ];
}

function maskTensor(name: string, dataType: number, mask: Mask): Tensor {
  const bytes = new Uint8Array(
    dataType === DataType.DOUBLE
      ? Float64Array.from(mask.values).buffer
      : dataType === DataType.FLOAT16
        ? Uint16Array.from(mask.values, floatToHalf).buffer
        : Float32Array.from(mask.values).buffer,
  );
  return { name, dataType, dims: mask.dims, bytes: () => bytes };
}
