// Writing ONNX: to bytes, to a file, or to a file with its weights beside it. Files are written beside their place and
// renamed; data are streamed tensor by tensor.
import { createHash, randomUUID } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, realpathSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fail, failAt } from '../errors.js';
import type { Attribute, Graph, Model, Node } from '../ir/graph.js';
import { PIECE_BYTES, type Tensor } from '../ir/tensor.js';
import { encodeInto } from './codec.js';
import { modelMessage } from './graph-write.js';
import type { ModelProto, TensorProto } from './messages.js';
import { dataFilesOf, MAX_PROTOBUF_BYTES } from './read.js';
import { LazyBytes, RopeWriter, type Piece } from './rope.js';
import { Source } from './source.js';
import { isExternal } from './tensor-read.js';
import { tensorMessage, type WriteContext } from './tensor-write.js';

export interface WriteOptions {
  /**
   * Weights in a file beside the model. 'auto' (the default): when the model was read so, or would pass protobuf's 2 GiB.
   */
  readonly external?: 'auto' | 'always' | 'never';
}

/** The model as bytes, weights inside. An unmodified model gives the bytes it was read from. */
export function encodeModel(model: Model): Uint8Array {
  const rope = encodeInline(model);
  if (rope.size() > MAX_PROTOBUF_BYTES)
    fail('the model is larger than the 2 GiB of a protobuf file: write it with external data');
  return joined(rope);
}

/** A tensor as a TensorProto. */
export function encodeTensor(t: Tensor): Uint8Array {
  const rope = new RopeWriter();
  encodeInto('TensorProto', tensorMessage(t, INLINE), rope);
  return joined(rope);
}

/**
 * Writes the model, and its data beside it where `options.external` says so; returns the paths written. The files appear
 * complete or not at all; files that the model was read from keep their data.
 */
export function writeModel(model: Model, path: string, options: WriteOptions = {}): readonly string[] {
  const external = options.external ?? 'auto';
  if (external === 'always' || (external === 'auto' && hasExternalData(model))) return writeExternal(model, path);
  const rope = encodeInline(model);
  if (rope.size() <= MAX_PROTOBUF_BYTES)
    return writeFiles([{ path, write: (file) => writePieces(file, rope.pieces()) }]);
  if (external === 'never')
    fail(`${path}: the model is larger than the 2 GiB of a protobuf file: write it with external data`);
  return writeExternal(model, path);
}

/** Where a model comes from, for `withRecipe`. */
export interface Recipe {
  /** The edits that made it, as JSON. */
  readonly genome: string;
  /** SHA-256 of the file it was made from, in hex. */
  readonly sourceSha256: string;
  readonly seed: string;
  /** Pare's own version. */
  readonly version: string;
  /** Its weights are those of that file, cut and not refitted. */
  readonly inherited?: boolean;
  /** How it was trained after that, as JSON. */
  readonly training?: string;
}

/** The model with its recipe in metadata_props (pare.version, pare.recipe, pare.source_sha256, pare.seed, pare.weights, pare.training); nothing else changes. */
export function withRecipe(model: Model, recipe: Recipe): Model {
  const metadata = new Map(model.metadata);
  metadata.set('pare.version', recipe.version);
  metadata.set('pare.recipe', recipe.genome);
  metadata.set('pare.source_sha256', recipe.sourceSha256);
  metadata.set('pare.seed', recipe.seed);
  if (recipe.inherited === true) metadata.set('pare.weights', 'inherited');
  else metadata.delete('pare.weights');
  if (recipe.training !== undefined) metadata.set('pare.training', recipe.training);
  return { ...model, metadata };
}

/** Smaller data stay in the model: shapes and scalars must be at hand. */
const MIN_EXTERNAL_BYTES = 1024;
/** So that data can be mapped into memory (ExternalData.md). */
const ALIGNMENT = 4096;

const INLINE: WriteContext = { relocating: false, place: () => undefined };

function encodeInline(model: Model): RopeWriter {
  return encode(model, hasExternalData(model) ? { ...INLINE, relocating: true } : INLINE);
}

function encode(model: Model, context: WriteContext): RopeWriter {
  if (context.relocating) refuseUnmovable(model);
  const rope = new RopeWriter();
  encodeInto('ModelProto', modelMessage(model, context), rope);
  return rope;
}

function writeExternal(model: Model, path: string): readonly string[] {
  const dataPath = freeDataPath(model, path);
  const location = basename(dataPath);
  const placed = new Map<Tensor, { readonly offset: number; readonly length: number }>();
  let end = 0;
  const place: WriteContext['place'] = (t, length) => {
    if (length < MIN_EXTERNAL_BYTES || t.bytes === undefined) return undefined;
    const known = placed.get(t);
    if (known !== undefined) return { location, offset: known.offset };
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    end = offset + length;
    placed.set(t, { offset, length });
    return { location, offset };
  };
  const rope = encode(model, { relocating: true, place });
  if (rope.size() > MAX_PROTOBUF_BYTES) fail(`${path}: the model passes protobuf's 2 GiB even without its weights`);
  if (placed.size === 0) return writeFiles([{ path, write: (file) => writePieces(file, rope.pieces()) }]);
  // Those of the source are of other files: where it has any, the new file gets one.
  const sha1 = hasChecksums(model) ? createHash('sha1') : undefined;
  const writeData = (file: number): void => {
    let at = 0;
    for (const [t, { offset, length }] of placed) {
      sha1?.update(new Uint8Array(offset - at));
      for (const { from, bytes } of piecesOf(t, length)) {
        writeAll(file, bytes, offset + from);
        sha1?.update(bytes);
      }
      at = offset + length;
    }
  };
  const writeNames = (file: number): void => {
    const checksum = sha1?.digest('hex');
    const again: WriteContext['place'] = (t) => {
      const known = placed.get(t);
      return known && { location, offset: known.offset, ...(checksum === undefined ? {} : { checksum }) };
    };
    const pieces = checksum === undefined ? rope : encode(model, { relocating: true, place: again });
    writePieces(file, pieces.pieces());
  };
  // the data first: the model is renamed only when all it names is there
  return writeFiles([
    { path: dataPath, write: writeData },
    { path, write: writeNames },
  ]);
}

/** The data of a tensor one after the other; piece by piece where they lie outside memory. */
function* piecesOf(t: Tensor, length: number): Generator<{ readonly from: number; readonly bytes: Uint8Array }> {
  const { bytes } = t;
  if (bytes === undefined) return;
  const { part } = bytes;
  if (part === undefined) yield { from: 0, bytes: new LazyBytes(t.name, length, bytes).bytes() };
  else {
    for (let from = 0; from < length; from += PIECE_BYTES) {
      yield { from, bytes: part(from, Math.min(PIECE_BYTES, length - from)) };
    }
  }
}

/** `MODEL.data`, or the first of `MODEL.1.data`, ... that is not a file the model's own tensors are still read from. */
function freeDataPath(model: Model, path: string): string {
  const inUse = dataFilesOf(model);
  for (let i = 0; ; i++) {
    const candidate = `${path}${i === 0 ? '' : `.${i}`}.data`;
    if (!inUse.has(realPath(candidate))) return candidate;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // not there: no tensor reads from it
  }
}

function hasExternalData(model: Model): boolean {
  return tensorsOf(model).some((t) => {
    const source = Source.of<Tensor, TensorProto>(t);
    return source !== undefined && isExternal(source.message);
  });
}

function hasChecksums(model: Model): boolean {
  return tensorsOf(model).some(
    (t) => Source.of<Tensor, TensorProto>(t)?.message.externalData.some((e) => e.key === 'checksum') === true,
  );
}

/** Every tensor of the model: initializers and attributes, subgraphs and functions. */
function tensorsOf(model: Model): Tensor[] {
  const found: Tensor[] = [];
  const graph = (g: Graph): void => {
    for (const t of g.initializers.values()) found.push(t);
    for (const s of g.sparseInitializers.values()) found.push(s.values, s.indices);
    for (const n of g.nodes) node(n);
  };
  const node = (n: Node): void => {
    for (const a of n.attributes.values()) attribute(a);
  };
  const attribute = (a: Attribute): void => {
    if (a.kind === 'tensor') found.push(a.value);
    else if (a.kind === 'tensors') found.push(...a.value);
    else if (a.kind === 'graph') graph(a.value);
    else if (a.kind === 'graphs') for (const g of a.value) graph(g);
  };
  graph(model.graph);
  for (const f of model.functions) {
    for (const n of f.nodes) node(n);
    for (const a of f.attributeDefaults.values()) attribute(a);
  }
  return found;
}

/** Training graphs are kept as they are: their data cannot follow to another file. */
function refuseUnmovable(model: Model): void {
  const message = Source.of<Model, ModelProto>(model)?.message;
  for (const training of message?.trainingInfo ?? []) {
    for (const g of [training.initialization, training.algorithm]) {
      if (g?.initializer.some(isExternal) === true) {
        fail('the training graphs of this model have external data, which cannot be moved: remove training_info');
      }
    }
  }
}

function joined(rope: RopeWriter): Uint8Array {
  const bytes = new Uint8Array(rope.size());
  let at = 0;
  for (const piece of rope.pieces()) {
    const part = piece instanceof LazyBytes ? piece.bytes() : piece;
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

interface Output {
  readonly path: string;
  readonly write: (file: number) => void;
}

/** Writes each file beside its place; when all are complete on disk, renames them in order. */
function writeFiles(outputs: readonly Output[]): readonly string[] {
  const drafts = outputs.map((o) => ({
    ...o,
    draft: join(dirname(o.path), `.${basename(o.path)}.${randomUUID()}.tmp`),
  }));
  try {
    for (const { draft, write } of drafts) {
      const file = openSync(draft, 'wx');
      try {
        write(file);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    }
    for (const { draft, path } of drafts) renameSync(draft, path);
    for (const folder of new Set(drafts.map((d) => dirname(d.path)))) syncFolder(folder);
  } catch (error) {
    for (const { draft } of drafts) if (existsSync(draft)) rmSync(draft);
    failAt('write', outputs.at(-1)!.path, error);
  }
  return outputs.map((o) => o.path);
}

/** So that the renames survive a power cut; not every system can open a folder. */
function syncFolder(folder: string): void {
  let file: number;
  try {
    file = openSync(folder, 'r');
  } catch {
    return;
  }
  try {
    fsyncSync(file);
  } catch {
    // nothing more can be done, and the files are complete
  } finally {
    closeSync(file);
  }
}

function writePieces(file: number, pieces: readonly Piece[]): void {
  let at = 0;
  for (const piece of pieces) {
    const part = piece instanceof LazyBytes ? piece.bytes() : piece;
    writeAll(file, part, at);
    at += part.length;
  }
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(file, bytes, done, Math.min(bytes.length - done, 2 ** 30), position + done);
  }
}
