// Nodes with attributes and inputs missing, shuffled or absurd: inference and counting end in true lengths or in one PareError.

import { expect, test } from 'vitest';
import { countCost } from '../../src/analysis/cost.js';
import { inferShapes } from '../../src/analysis/shapes.js';
import { PareError } from '../../src/errors.js';
import type { Attribute, Dim, Model, Node, ValueInfo } from '../../src/ir/graph.js';
import { standardOps } from '../../src/ops/index.js';
import { createRng } from '../../src/rng.js';
import type { Rng } from '../../src/rng.js';
import { conformanceCases } from '../conformance.js';
import { describeShared } from '../shared.js';

describeShared('operators met in damaged graphs', ['onnx-node-tests.tar.xz'], () => {
  test("twice per case of ONNX's own: no other error than PareError, no length that is none", () => {
    const rng = createRng('damaged');
    const found = conformanceCases().flatMap((c) =>
      [1, 2].map((k) => [c.name, outcome(damage(c.model(), rng.fork(`${c.name}/${k}`)))] as const),
    );
    expect(found.filter(([, text]) => text !== 'refused' && text !== 'inferred')).toEqual([]);
    // neither branch is empty: some damage is survived, some is refused
    expect(found.filter(([, text]) => text === 'refused').length).toBeGreaterThan(100);
    expect(found.filter(([, text]) => text === 'inferred').length).toBeGreaterThan(1000);
  });
});

function outcome(model: Model): string {
  try {
    const shapes = inferShapes(model, standardOps);
    countCost(model, standardOps, shapes);
    for (const [name, type] of shapes.types) {
      if (type.kind !== 'tensor') continue;
      const bad = type.shape?.find((d) => typeof d === 'number' && !(d >= 0 && Number.isSafeInteger(d)));
      if (bad !== undefined) return `${name} has length ${bad}`;
    }
    return 'inferred';
  } catch (error) {
    return error instanceof PareError ? 'refused' : String(error);
  }
}

function damage(model: Model, rng: Rng): Model {
  const many = model.graph.nodes.length > 1;
  const nodes = model.graph.nodes.map((n) => (many && rng.next() < 0.6 ? n : damageNode(n, rng)));
  return { ...model, graph: { ...model.graph, nodes, inputs: model.graph.inputs.map((v) => blur(v, rng)) } };
}

function damageNode(node: Node, rng: Rng): Node {
  const { inputs, attributes } = node;
  switch (rng.int(5)) {
    case 0:
      return { ...node, attributes: new Map([...attributes].filter(() => rng.next() < 0.5)) };
    case 1:
      return { ...node, inputs: inputs.slice(0, rng.int(inputs.length + 1)) };
    case 2:
      return { ...node, inputs: inputs.map((name) => (rng.next() < 0.3 ? '' : name)) };
    case 3:
      return { ...node, attributes: new Map([...attributes].map(([name, a]) => [name, absurd(a, rng)])) };
    default:
      return { ...node, inputs: rng.shuffle(inputs) };
  }
}

function absurd(a: Attribute, rng: Rng): Attribute {
  if (a.kind === 'int') return { ...a, value: rng.pick([-1000, -1, 0, 1, 3, 99]) };
  if (a.kind === 'ints') return { ...a, value: rng.pick([[], [0], [-1, -1], [1, 2, 3, 4, 5], [0, 0]]) };
  return a;
}

/** An input whose rank or some of whose dims are open, or other than they were. */
function blur(v: ValueInfo, rng: Rng): ValueInfo {
  if (v.type?.kind !== 'tensor' || rng.next() < 0.5) return v;
  const { elemType, shape = [] } = v.type;
  if (rng.next() < 0.3) return { name: v.name, type: { kind: 'tensor', elemType } };
  const dims = shape.map((d) => rng.pick<Dim>([d, undefined, 'n', 0, 1, 7]));
  return { name: v.name, type: { kind: 'tensor', elemType, shape: dims } };
}
