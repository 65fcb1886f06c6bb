#!/usr/bin/env node
/** The program `ioasis`: the only place that ends the process. */

import { dismissEngine, prepareEngine } from '../host/engine.js';

/** ioasis itself failed; as chroot, env and timeout say it. */
const failedStatus = 125;

// The engine's thread takes longest to start: it does so while the command line is still being read.
if (process.argv[2] === 'run') prepareEngine();

try {
  const { runProgram } = await import('./program.js');
  process.exitCode = await runProgram(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    columns: process.stdout.columns ?? 100,
  });
} catch (error) {
  process.stderr.write(`ioasis: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = failedStatus;
} finally {
  await dismissEngine();
}
