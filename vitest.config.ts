import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    // Whole searches and small trainings run as tests.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Processes, not threads: onnxruntime's native sessions end with their process. Two, as on the smallest machine.
    pool: 'forks',
    maxWorkers: 2,
  },
});
