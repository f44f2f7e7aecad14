// Channel rules in the plug-ins' process: the rule runs in the real engine on a graph of one node, and what it does is written down,
// to be done again where the whole network is.
import { Engine } from '../analysis/channels.js';
import type { Model, Node, ValueType } from '../ir/graph.js';
import type { ChannelContext, ChannelRule, Labels, NodePatch, PartialValue, RecountContext } from '../ops/op.js';
import type { Packed } from './pack.js';
import type { Call, ChannelInput, ChannelStep, LabelData, RecountAnswer, RecountReply } from './protocol.js';

interface Recording {
  readonly steps: readonly ChannelStep[];
  readonly recounts: readonly ((ctx: RecountContext) => NodePatch)[];
}

export function recordChannels(rule: ChannelRule, node: Node, input: ChannelInput): Recording {
  const engine = engineFor(node, input);
  const steps: ChannelStep[] = [];
  const recounts: ((ctx: RecountContext) => NodePatch)[] = [];
  const context: ChannelContext = {
    node,
    opset: input.opset,
    arity: node.inputs.length,
    inputShape: (i) => input.inputShapes[i] ?? [],
    outputShape: (i) => input.outputShapes[i] ?? [],
    value: (i) => input.values[i],
    elemType: (i) => input.elemTypes[i] ?? 0,
    isConstant: (i) => input.constant[i] ?? false,
    present: (i) => (node.inputs[i] ?? '') !== '',
    labels: (i) => input.labels[i] ?? engine.none([]),
    unlabelled: (labels) => engine.unlabelled(labels),
    varies: (labels, axis) => engine.varies(labels, axis),
    along: (labels, axis) => engine.along(labels, axis),
    classOf: (atom) => engine.classOf(atom),
    isInexact: (labels) => engine.isInexact(labels),
    spread: (atoms, axis, shape) => engine.spread(atoms, axis, shape),
    none: (shape) => engine.none(shape),
    fresh(n) {
      const atoms = engine.fresh(n);
      steps.push(['fresh', n]);
      return atoms;
    },
    whole(labels, axis, reason) {
      steps.push(['whole', dataOf(labels), axis, reason]);
      return engine.whole(labels, axis, reason);
    },
    tie(a, b) {
      steps.push(['tie', dataOf(a), dataOf(b)]);
      engine.tie(a, b);
    },
    tieAll(atoms) {
      steps.push(['tieAll', Int32Array.from(atoms)]);
      engine.tieAll(atoms);
    },
    freeze(labels, reason) {
      steps.push(['freeze', dataOf(labels), reason]);
      engine.freeze(labels, reason);
    },
    inexact(labels, reason) {
      steps.push(['inexact', dataOf(labels), reason]);
      engine.inexact(labels, reason);
    },
    hold(labels, axis) {
      steps.push(['hold', dataOf(labels), axis]);
    },
    consume(i, labels, zero) {
      steps.push(zero === undefined ? ['consume', i, dataOf(labels)] : ['consume', i, dataOf(labels), zero]);
    },
    cut(i, labels, role) {
      steps.push(['cut', i, dataOf(labels), role]);
      if (input.constant[i] !== true) engine.cut(i, labels, role);
    },
    output(i, labels) {
      steps.push(['output', i, dataOf(labels)]);
    },
    recount(patch) {
      steps.push(['recount']);
      recounts.push(patch);
    },
  };
  rule(context);
  return { steps, recounts };
}

/** Thrown through the closure: it is run again with the answer. */
class Question extends Error {
  readonly reply: RecountReply;

  constructor(reply: RecountReply) {
    super('asked');
    this.reply = reply;
  }
}

/** Runs the rule again and then one of its closures; what that asks and is not answered yet is the reply. */
export function recountAt(
  rule: ChannelRule,
  node: Node,
  { input, index, answers }: Call & { readonly op: 'recount' },
  pack: (value: unknown) => Packed,
): RecountReply {
  const patch = recordChannels(rule, node, input).recounts[index];
  if (patch === undefined) throw new Error('its channel rule does not do the same thing twice: no such recount');
  const asked = (labels: Labels, axis: number): RecountAnswer => {
    const found = answers.find((a) => a.axis === axis && sameLabels(a.labels, labels));
    if (found === undefined) throw new Question({ ask: { labels: dataOf(labels), axis } });
    return found;
  };
  let open: Question | undefined;
  const guarded = <T>(ask: () => T): T => {
    try {
      return ask();
    } catch (error) {
      // kept, whatever the closure does with it
      if (error instanceof Question) open ??= error;
      throw error;
    }
  };
  const context: RecountContext = {
    // the casts: -1 is answered with dims, an axis with what is alive
    dims: (labels) => guarded(() => asked(labels, -1).answer as number[]),
    alive: (labels, axis) => guarded(() => asked(labels, axis).answer as boolean[]),
    value: (i) =>
      guarded((): PartialValue | undefined => {
        const known = answers.find((a) => a.values !== undefined);
        if (known === undefined) throw new Question({ ask: 'values' });
        return known.values?.[i];
      }),
  };
  try {
    const { attributes = {}, inputs = new Map<number, readonly number[]>() } = patch(context);
    if (open === undefined) {
      return { attributes: pack({ ...attributes }), inputs: [...inputs].map(([i, list]) => [i, [...list]]) };
    }
  } catch (error) {
    if (open === undefined) throw error;
  }
  return open.reply;
}

function sameLabels(a: LabelData, b: Labels): boolean {
  return (
    a.offset === b.offset &&
    a.shape.join() === b.shape.join() &&
    a.strides.join() === b.strides.join() &&
    a.atoms.length === b.atoms.length &&
    a.atoms.every((x, i) => x === b.atoms[i])
  );
}

function dataOf({ shape, strides, offset, atoms }: Labels): LabelData {
  return { shape: [...shape], strides: [...strides], offset, atoms: Int32Array.from(atoms) };
}

/** The engine on this node alone, with the ties that the network has made so far. */
function engineFor(node: Node, input: ChannelInput): Engine {
  const types = new Map<string, ValueType>();
  const declare = (name: string | undefined, shape: readonly number[] | undefined, elemType: number): void => {
    if (name !== undefined && name !== '' && shape !== undefined) types.set(name, { kind: 'tensor', elemType, shape });
  };
  node.inputs.forEach((name, i) => declare(name, input.inputShapes[i], input.elemTypes[i] ?? 0));
  node.outputs.forEach((name, i) => declare(name, input.outputShapes[i], 0));
  const engine = new Engine(alone(node, input), { types, values: new Map(), unknown: [] });
  engine.enter(node, 0);
  engine.atoms.fresh(input.classes.length);
  input.classes.forEach((c, k) => {
    const atom = k + 1;
    if (c === 0) engine.atoms.freeze(atom, 'stays');
    else if (c !== atom) engine.atoms.tie(c, atom, 'tied');
    if (input.inexact[k] === 1) engine.atoms.inexact(atom, 'inexact');
  });
  node.inputs.forEach((name, i) => {
    const labels = input.labels[i];
    if (labels !== undefined && name !== '') engine.values.set(name, labels);
  });
  return engine;
}

function alone(node: Node, input: ChannelInput): Model {
  const graph = {
    name: '',
    nodes: [node],
    initializers: new Map(),
    sparseInitializers: new Map(),
    inputs: [],
    outputs: [],
    valueInfo: new Map(),
  };
  return {
    irVersion: 8,
    opsets: new Map([[node.domain, input.opset]]),
    producerName: '',
    producerVersion: '',
    metadata: new Map(),
    functions: [],
    graph,
  };
}
