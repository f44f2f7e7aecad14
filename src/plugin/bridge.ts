// Foreign code, asked and waited for: search and shape inference are synchronous, so the main thread sleeps until the thread between
// (worker.ts) has an answer. That thread guarantees one, because it stops the process when time or memory are up.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { BridgeReply, BridgeRequest } from './protocol.js';

export interface Bridge {
  ask(request: BridgeRequest): BridgeReply;
  close(): void;
}

/** Beyond a request's own deadline: starting processes, passing on large graphs. */
const GRACE_MS = 120_000;

/** The thread starts at the first request and does not keep the process alive. */
export function openBridge(): Bridge {
  const { port1, port2 } = new MessageChannel();
  const signal = new Int32Array(new SharedArrayBuffer(4));
  let worker: Worker | undefined;
  let asked = 0;

  const ask = (request: BridgeRequest): BridgeReply => {
    if (worker === undefined) {
      worker = new Worker(entryFile(), {
        workerData: { port: port2, signal },
        transferList: [port2],
        execArgv: [],
        env: {},
      });
      worker.unref();
      port1.unref();
    }
    port1.postMessage(request);
    const patience = GRACE_MS + ('deadlineMs' in request ? 3 * request.deadlineMs : 0);
    if (Atomics.wait(signal, 0, asked, patience) === 'timed-out')
      throw new Error('the thread of the plug-ins is silent');
    asked++;
    const received = receiveMessageOnPort(port1);
    if (received === undefined) throw new Error('the thread of the plug-ins gave no answer');
    // the cast: worker.ts posts nothing but replies
    return received.message as BridgeReply;
  };

  return {
    ask,
    close() {
      if (worker === undefined) return;
      ask({ kind: 'close' });
      port1.close();
      void worker.terminate();
      worker = undefined;
    },
  };
}

/** Threads and processes are loaded as JavaScript: beside this file, or, from sources (tests), the built one. */
function entryFile(): string {
  const places = ['./worker.js', '../../dist/src/plugin/worker.js'];
  const found = places.map((p) => fileURLToPath(new URL(p, import.meta.url))).find(existsSync);
  if (found === undefined) throw new Error('dist/src/plugin/worker.js is missing: run "npm run build" first');
  return found;
}
