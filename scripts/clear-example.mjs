// `npm run example` starts afresh: a finished run is never overwritten by `pare optimize` itself.
import { rmSync } from 'node:fs';

rmSync(new URL('../runs/example', import.meta.url), { recursive: true, force: true });
