// An independent view of a model's bytes: our onnx.proto with a field `future` (number 500) added to many messages, read by
// protobufjs alone, as JSON. To our own reader `future` is an unknown field.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { projectRoot } from './shared-path.js';

export type Json = string | number | boolean | null | Buffer | readonly Json[] | { readonly [key: string]: Json };

export function fullSchema(): {
  readonly encode: (m: Json) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Json;
} {
  const text = readFileSync(join(projectRoot, 'src', 'onnx', 'onnx.proto'), 'utf8')
    .replace(/^message (Model|Graph|Node|Attribute|Tensor|Function)Proto \{/gm, '$& optional string future = 500;')
    .replace('repeated bytes float_data = 4', 'repeated float float_data = 4 [packed = true]')
    .replace('repeated bytes int32_data = 5', 'repeated int32 int32_data = 5 [packed = true]')
    .replace('repeated bytes int64_data = 7', 'repeated int64 int64_data = 7 [packed = true]')
    .replace('repeated bytes double_data = 10', 'repeated double double_data = 10 [packed = true]')
    .replace('repeated bytes uint64_data = 11', 'repeated uint64 uint64_data = 11 [packed = true]');
  const type = protobuf.parse(text).root.lookupType('onnx.ModelProto');
  return {
    // the casts: protobufjs' own objects in and out, as JSON
    encode: (m) => type.encode(type.fromObject(m as Record<string, unknown>)).finish(),
    decode: (bytes) => type.toObject(type.decode(bytes), { longs: String, enums: String, bytes: String }),
  };
}
