// Lint rules. Plain JavaScript, because the layers below are one list and the rules of each folder follow from it.

import { defineConfig } from 'oxlint';

// The layers of the house, lowest first: code imports from lower rows, never from its own row's neighbours or above.
const layers = [
  ['src/rng.ts', 'src/errors.ts', 'src/once.ts'],
  ['src/ir'],
  ['src/onnx', 'src/ops'],
  ['src/analysis'],
  ['src/runtime'],
  ['src/data'],
  ['src/training'],
  ['src/recovery'],
  ['src/measure'],
  ['src/predictor'],
  ['search'],
  ['src/compare', 'src/report'],
  ['src/plugin'],
  ['src/cli'],
];

// Libraries that only one place may know: [package, its place, what the others use].
const owned = [
  ['protobufjs', 'src/onnx', 'Only src/onnx knows protobuf.'],
  ['onnxruntime-node', 'src/runtime', 'Use the Runtime interface of src/runtime.'],
  ['@tensorflow/*', 'src/runtime', 'Use the Runtime interface of src/runtime.'],
  ['seedrandom', 'src/rng.ts', 'Use src/rng.ts.'],
  ['yargs', 'src/cli', 'Only src/cli parses the command line.'],
];

const outside = ['test', 'bench', 'scripts', 'examples'];

export default defineConfig({
  plugins: ['eslint', 'typescript', 'unicorn', 'oxc', 'import', 'promise', 'vitest'],
  categories: { correctness: 'error' },
  options: { reportUnusedDisableDirectives: 'error' },
  ignorePatterns: ['node_modules', 'dist', 'runs', 'results'],
  rules: {
    'import/no-cycle': 'error',
    'import/no-default-export': 'error',
    'import/no-self-import': 'error',
    'no-restricted-properties': [
      'error',
      { object: 'Math', property: 'random', message: 'Take an Rng: a run must be equal for equal seeds.' },
    ],
    'no-console': 'error',
    'no-var': 'error',
    'prefer-const': 'error',
    eqeqeq: 'error',
    'max-lines': ['warn', { max: 400, skipBlankLines: false, skipComments: false }],
    'unicorn/filename-case': ['error', { case: 'kebabCase' }],
    'typescript/no-explicit-any': 'error',
    // `xs[i]!` after a bounds check is how noUncheckedIndexedAccess is answered in numeric loops
    'typescript/no-non-null-assertion': 'off',
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/no-unsafe-argument': 'error',
    'typescript/no-unsafe-assignment': 'error',
    'typescript/no-unsafe-call': 'error',
    'typescript/no-unsafe-member-access': 'error',
    'typescript/no-unsafe-return': 'error',
    'typescript/no-unnecessary-type-assertion': 'error',
    'typescript/only-throw-error': 'error',
    'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    // Laws are functions shared by many tests: titles and bodies come as arguments, and `expect` is called in them.
    'vitest/expect-expect': 'off',
    'vitest/no-standalone-expect': 'off',
    'vitest/valid-describe-callback': 'off',
    'vitest/valid-title': 'off',
    'vitest/no-focused-tests': 'error',
  },
  overrides: [
    ...layers.flatMap((row, index) =>
      row.map((place) => ({
        files: [place.endsWith('.ts') ? place : `${place}/**`],
        rules: { 'no-restricted-imports': ['error', { patterns: restricted(place, index) }] },
      })),
    ),
    { files: ['src/cli/**', ...outside.map((place) => `${place}/**`)], rules: { 'no-console': 'off' } },
    {
      // Plain JavaScript has no types to assert: JSON.parse gives any.
      files: ['**/*.mjs'],
      rules: {
        'typescript/no-unsafe-argument': 'off',
        'typescript/no-unsafe-assignment': 'off',
        'typescript/no-unsafe-call': 'off',
        'typescript/no-unsafe-member-access': 'off',
        'typescript/no-unsafe-return': 'off',
      },
    },
    { files: ['*.config.{ts,mjs}'], rules: { 'import/no-default-export': 'off' } },
  ],
});

/**
 * What a place must not import: folders of its own row and above, and libraries that another place owns.
 * @param {string} place
 * @param {number} index
 */
function restricted(place, index) {
  const above = layers.flatMap((row, i) => (i < index ? [] : row)).filter((other) => other !== place);
  const folders = [...above.map((other) => other.replace(/^src\//, '')), ...outside].filter((f) => !f.endsWith('.ts'));
  return [
    {
      regex: `^(\\.{1,2}/)+(src/)?(${folders.join('|')})/`,
      message: `${place} may only import from the layers below it (see oxlint.config.mjs).`,
    },
    ...owned
      .filter(([, owner]) => owner !== place)
      .map(([name, , message]) => ({ group: [name, `${name.replace('/*', '')}/**`], message })),
  ];
}
