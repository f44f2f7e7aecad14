// ONNX's own operator cases as the reference for our shape rules: element types and dims of every output.

import { beforeAll, expect, test } from 'vitest';
import { standardOps } from '../../src/ops/index.js';
import { conformanceCases } from '../conformance.js';
import { describeShared } from '../shared.js';
import { agreementOf } from './agreement.js';
import type { Agreement } from './agreement.js';

describeShared('shape rules agree with ONNX', ['onnx-node-tests.tar.xz'], () => {
  let all: readonly Agreement[] = [];
  beforeAll(() => {
    all = conformanceCases().map((c) => agreementOf(c, standardOps));
  });

  test('a rule may leave something open, but what it says is true, with and without the contents of inputs', () => {
    const fine = /^(right|unsupported|unknown)/;
    const wrong = all.flatMap((a) =>
      [a.withValues, a.fromShapes].filter((v) => !fine.test(v)).map((v) => `${a.name}: ${v}`),
    );
    expect(wrong).toEqual([]);
  });

  test('most cases are right; these numbers only ever go up', () => {
    expect(all.filter((a) => a.withValues === 'right').length).toBeGreaterThanOrEqual(1897);
    expect(all.filter((a) => a.fromShapes === 'right').length).toBeGreaterThanOrEqual(1573);
  });

  test('what stays open with known contents are sizes inside image files and lengths of sequences', () => {
    const open = all.filter((a) => a.withValues !== 'right').flatMap((a) => a.operators);
    const known = ['ImageDecoder', 'OptionalGetElement', 'ConcatFromSequence'];
    const sequences = [
      'SequenceEmpty',
      'SequenceInsert',
      'SequenceConstruct',
      'SequenceErase',
      'SequenceAt',
      'SplitToSequence',
    ];
    expect([...new Set(open)].filter((op) => !known.includes(op) && !sequences.includes(op))).toEqual([]);
  });
});
