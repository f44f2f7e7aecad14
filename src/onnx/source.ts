// What an IR object was read from: the protobuf message and the IR object as it was then. Edits are made by spreading and
// keep `source`; comparing an object's fields with those of `origin`, by reference, tells what was edited.

const NO_FILES: ReadonlySet<string> = new Set();

export class Source<T, M> {
  readonly message: M;
  /** The object as read. */
  readonly origin: T;

  /** Real paths of the data files that a model's tensors are read from. */
  readonly dataFiles: ReadonlySet<string>;

  private constructor(message: M, origin: T, dataFiles: ReadonlySet<string>) {
    this.message = message;
    this.origin = origin;
    this.dataFiles = dataFiles;
  }

  /** Gives a new object its source. */
  static attach<T extends object, M>(message: M, object: T, dataFiles: ReadonlySet<string> = NO_FILES): T {
    // the cast: written once, on an object that its maker has just made and hands over; from then on it is readonly
    const fresh = object as T & { source?: object };
    fresh.source = new Source(message, object, dataFiles);
    return fresh;
  }

  /** The source of an object of this kind; undefined for what was made in code. */
  static of<T extends { readonly source?: object }, M>(object: T): Source<T, M> | undefined {
    // the cast: a source is only ever attached to objects of one kind, and spreading keeps the kind
    return object.source instanceof Source ? (object.source as Source<T, M>) : undefined;
  }
}
