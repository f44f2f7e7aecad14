// Operators of plug-ins, proved on the network at hand before anything relies on them: their shapes against those that onnxruntime
// gives, and their channel rules by the law run(pruned) == run(masked) on random dead units of every group that they touch.
import type { Analysis } from '../analysis/analyse.js';
import { pruneModel } from '../analysis/cut.js';
import type { ChannelGroup } from '../analysis/groups.js';
import { maskModel } from '../analysis/mask.js';
import { concreteShape } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { describeNode, type Model, type Node } from '../ir/graph.js';
import { encodeModel } from '../onnx/write.js';
import { standardOps } from '../ops/index.js';
import type { OpDef, OpTable } from '../ops/op.js';
import { createRng, type Rng } from '../rng.js';
import type { CaseInput, Part, Sandbox } from './sandbox.js';

export interface OperatorPart {
  readonly part: Part;
  readonly def: OpDef;
}

const TOLERANCE = 1e-3;
const ROUNDS = 3;

/** Disables what is wrong; gives sentences on what could not be tried. */
export function proveOperators(
  sandbox: Sandbox,
  operators: readonly OperatorPart[],
  analyse: (table: OpTable) => Analysis,
  dims: ReadonlyMap<string, readonly number[]>,
): readonly string[] {
  const notes: string[] = [];
  for (const { part, def } of operators) {
    // others tell shapes, but pass no channels on: what fails then is this one's doing
    const rest = operators
      .filter((o) => o.part !== part)
      .map(({ def: { channels: _channels, ...other } }): OpDef => other);
    let analysis: Analysis;
    try {
      analysis = analyse(standardOps.with([...rest, def]));
    } catch (error) {
      if (!(error instanceof PareError)) throw error;
      notes.push(`plug-in ${part.name} could not be tried: ${error.message}`);
      continue;
    }
    const nodes = analysis.model.graph.nodes.filter((n) => uses(n, def));
    if (nodes.length === 0) continue;
    const note =
      proveShapes(sandbox, part, analysis, nodes, dims) ?? proveChannels(sandbox, part, analysis, nodes, dims);
    if (note !== undefined) notes.push(`plug-in ${part.name} could not be tried in onnxruntime: ${note}`);
  }
  return notes;
}

function uses(node: Node, def: OpDef): boolean {
  return node.opType === def.opType && node.domain === (def.domain ?? '');
}

/** The network with the operator's outputs among its own, run: are they of the shapes that the rule says? */
function proveShapes(
  sandbox: Sandbox,
  part: Part,
  { model, shapes }: Analysis,
  nodes: readonly Node[],
  dims: ReadonlyMap<string, readonly number[]>,
): string | undefined {
  const names = nodes.flatMap((n) => n.outputs.filter((o) => o !== '' && shapes.types.has(o)));
  const own = new Set(model.graph.outputs.map((o) => o.name));
  const outputs = [
    ...model.graph.outputs,
    ...names
      .filter((n) => !own.has(n))
      .map((name) => {
        const type = shapes.types.get(name);
        // its element type is all that onnxruntime needs
        const plain = type?.kind === 'tensor' ? { kind: 'tensor' as const, elemType: type.elemType } : type;
        return { name, ...(plain === undefined ? {} : { type: plain }) };
      }),
  ];
  const shown: Model = { ...model, graph: { ...model.graph, outputs } };
  const result = attempt(() => {
    const bytes = encodeModel(shown);
    return sandbox.tryOut({ before: bytes, after: bytes, tolerance: undefined, dims });
  });
  if (typeof result === 'string') return result;
  if ('skipped' in result) return result.skipped;
  for (const node of nodes) {
    for (const name of node.outputs) {
      const said = concreteShape(shapes, name);
      const is = result.shapes.get(name);
      if (said === undefined || is === undefined || said.join() === is.join()) continue;
      const input: CaseInput = { call: 'shape rule', model, data: { node: describeNode(node) } };
      sandbox.fail(
        part,
        `said [${said.join(', ')}] of ${describeNode(node)}, and onnxruntime gives [${is.join(', ')}]`,
        input,
      );
      return undefined;
    }
  }
  return undefined;
}

function proveChannels(
  sandbox: Sandbox,
  part: Part,
  analysis: Analysis,
  nodes: readonly Node[],
  dims: ReadonlyMap<string, readonly number[]>,
): string | undefined {
  if (sandbox.isDisabled(part)) return undefined;
  const touched = groupsAt(analysis, nodes);
  if (touched.length === 0) return undefined;
  for (let round = 0; round < ROUNDS; round++) {
    const rng = createRng(`law/${part.name}/${round}`);
    const dead = new Map(
      touched.map((g) => [g.id, someUnits(g, rng)] as const).filter(([, units]) => units.length > 0),
    );
    if (dead.size === 0) return undefined;
    const input: CaseInput = { call: 'channel rule', model: analysis.model, data: { dead } };
    const result = attempt(() =>
      sandbox.tryOut({
        before: encodeModel(maskModel(analysis, dead)),
        after: encodeModel(pruneModel(analysis, dead)),
        tolerance: TOLERANCE,
        dims,
      }),
    );
    if (typeof result === 'string') {
      if (!sandbox.isDisabled(part)) sandbox.fail(part, `breaks the law pruned == masked: ${result}`, input);
      return undefined;
    }
    if ('skipped' in result) return result.skipped;
  }
  return undefined;
}

function attempt<T>(act: () => T): T | string {
  try {
    return act();
  } catch (error) {
    if (error instanceof PareError) return error.message;
    throw error;
  }
}

/** Exact groups whose channels go into or out of the nodes. */
function groupsAt({ groups, plan }: Analysis, nodes: readonly Node[]): ChannelGroup[] {
  const classes = new Set<number>();
  for (const node of nodes) {
    for (const name of [...node.inputs, ...node.outputs])
      for (const c of plan.values.get(name)?.line ?? []) classes.add(c);
  }
  return groups.groups.filter(
    (g) => g.inexact === undefined && g.size > 1 && g.units.some(([atom]) => classes.has(plan.classOf(atom!))),
  );
}

/** About a third, at random; of each set of which one must stay, one does. */
function someUnits(group: ChannelGroup, rng: Rng): number[] {
  const stay = new Set<number>([rng.int(group.size)]);
  for (const set of group.atLeastOne) stay.add(rng.pick(set));
  return Array.from({ length: group.size }, (_, u) => u).filter((u) => !stay.has(u) && rng.next() < 0.35);
}
