// The command line as a function: parses, runs one command, turns errors into one sentence and an exit code.
import yargs from 'yargs';
import { inWords, PareError } from '../errors.js';
import { compareCommand } from './compare.js';
import { countCommand } from './count.js';
import { gradcheckCommand } from './gradcheck.js';
import { groupsCommand } from './groups.js';
import { measureCommand } from './measure.js';
import { newMutationCommand } from './new-mutation.js';
import { optimizeCommand } from './optimize.js';
import { predictCommand } from './predict.js';
import { predictorCommand } from './predictor.js';
import { proxiesCommand } from './proxies.js';
import { pruneCommand } from './prune.js';
import { trainCommand } from './train.js';
import { verifyCommand } from './verify.js';
import { packageVersion } from './version.js';

/** The exit code: 0, 1 for a defect of Pare, 2 for a file, option or budget that the user can mend, 130 when interrupted. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  try {
    await parser(args).parseAsync();
    return 0;
  } catch (error) {
    return report(inWords(error), args.includes('--stack'));
  }
}

function parser(args: readonly string[]) {
  return (
    yargs([...args])
      .scriptName('pare')
      .usage('$0 COMMAND\n\nPares ONNX networks down to a budget: a trained .onnx in, smaller .onnx out.')
      .locale('en')
      .parserConfiguration({ 'dot-notation': false, 'duplicate-arguments-array': true })
      // one line a command
      .command(compareCommand)
      .command(countCommand)
      .command(gradcheckCommand)
      .command(groupsCommand)
      .command(measureCommand)
      .command(newMutationCommand)
      .command(optimizeCommand)
      .command(predictCommand)
      .command(predictorCommand)
      .command(pruneCommand)
      .command(proxiesCommand)
      .command(trainCommand)
      .command(verifyCommand)
      .option('stack', { type: 'boolean', hidden: true, describe: 'print the stack of an unexpected error' })
      .version(packageVersion())
      .help()
      .alias('help', 'h')
      .demandCommand(1, 'a command is missing; "pare --help" lists them')
      .strict()
      .strictCommands()
      .recommendCommands()
      .wrap(100)
      .exitProcess(false)
      .fail((message, error) => {
        // yargs has a class of its own for what is wrong with arguments, thrown errors of `coerce` included
        const own = error === undefined || error === null || error.name === 'YError';
        throw own ? new PareError(sentence(message ?? error.message, args)) : error;
      })
  );
}

/** What yargs says, in our words and with the way out. */
function sentence(message: string, args: readonly string[]): string {
  const line = message.replace(/\s+/g, ' ').trim().replace(/\.$/, '');
  if (line.includes('--')) return line;
  const help = args.length > 0 && !args[0]!.startsWith('-') ? `pare ${args[0]} --help` : 'pare --help';
  const meant = /^Did you mean (.*)\?$/.exec(line)?.[1];
  if (meant !== undefined)
    return `there is no command "${args[0]}": did you mean "${meant}"? "pare --help" lists them all`;
  const command = /^Unknown commands?: (.*)$/.exec(line)?.[1];
  if (command !== undefined && command === args[0]) return `there is no command "${command}"; "pare --help" lists them`;
  const unknown = command ?? /^Unknown arguments?: (.*)$/.exec(line)?.[1];
  if (unknown !== undefined) return `unknown option or argument ${unknown}; "${help}" says what there is`;
  if (line.startsWith('Not enough non-option arguments')) {
    return `an argument is missing, or taken by an unknown option before it; "${help}" says what there is`;
  }
  const missing = /^Missing required arguments?: (.*)$/.exec(line)?.[1];
  if (missing !== undefined) return `--${missing.replaceAll(', ', ', --')} is missing; "${help}" says what there is`;
  return `${line.charAt(0).toLowerCase()}${line.slice(1)}; "${help}" says what there is`;
}

function report(error: unknown, stack: boolean): number {
  if (error instanceof PareError) {
    console.error(`pare: ${error.message}`);
    if (stack) console.error(error.stack);
    return error.exitCode;
  }
  const known = error instanceof Error ? error : new Error(String(error));
  console.error(`pare: unexpected error, a defect of Pare: ${known.message}${stack ? '' : ' (--stack shows where)'}`);
  if (stack) console.error(known.stack);
  return 1;
}
