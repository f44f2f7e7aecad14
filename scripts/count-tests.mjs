// Prints `N passed, N failed` from vitest's JSON report (argument 1), for .ci/run. A test file that could not be loaded
// counts as one failed test, and so does a report that is missing. Exits with 1 unless something passed and nothing failed.

import { readFileSync } from 'node:fs';

const { passed, failed } = count(process.argv[2] ?? '');
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;

/** @param {string} path */
function count(path) {
  try {
    const report = JSON.parse(readFileSync(path, 'utf8'));
    const failed = report.testResults.map((file) => {
      const tests = file.assertionResults.filter((test) => test.status === 'failed').length;
      return file.status === 'failed' ? Math.max(1, tests) : tests;
    });
    return { passed: report.numPassedTests, failed: failed.reduce((sum, n) => sum + n, 0) };
  } catch {
    return { passed: 0, failed: 1 };
  }
}
