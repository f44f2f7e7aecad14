#!/usr/bin/env node
// The program `pare`: runs the command line and sets the exit code (0 done, 1 defect of Pare, 2 what the user can mend, 130 interrupted).
import { runCommandLine } from './command-line.js';

process.exitCode = await runCommandLine(process.argv.slice(2));
