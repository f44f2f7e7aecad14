// Property tests draw the same cases in every run, so that a red CI is red for everybody; a failure names its seed and path.
import fc from 'fast-check';

fc.configureGlobal({ seed: 20_261_122 });
