/** What is known of a stored object besides its bytes. */
export interface ObjectInfo {
  /** Full URI, as it was asked for: `file:///...` or `s3://bucket/key`. */
  readonly uri: string;
  /** Bytes. */
  readonly size: number;
  /** Changes with every change of the content; goes back into `ifMatch`. */
  readonly etag: string;
  /** By the store's clock. */
  readonly modified: Date;
}

export interface StoredObject extends ObjectInfo {
  readonly body: Uint8Array;
}

export interface PutOptions {
  /** Write only over exactly this version. */
  readonly ifMatch?: string;
  /** `true`: write only when nothing is there. */
  readonly ifNoneMatch?: true;
  /** S3 server-side encryption with this KMS key (id, ARN or alias); the file store has none and ignores it. */
  readonly kmsKeyId?: string;
  readonly contentType?: string;
}

/**
 * Objects by URI, over `file://` and `s3://` (`s3a://`) alike. Conditional writes are atomic: of several writers with the
 * same condition one wins, the others get `PRECONDITION_FAILED`.
 */
export interface ObjectStore {
  /** `undefined` when there is none. */
  get(uri: string): Promise<StoredObject | undefined>;
  /**
   * Writes the whole object. A conditional write must never put the same bytes twice: that is how the store tells its own
   * write, whose answer was lost, from another's. After any other error than `PRECONDITION_FAILED` the write may still
   * have taken effect: read it back. On one object use conditional writes only, or none.
   *
   * @throws UserError `PRECONDITION_FAILED`, `STORAGE_ACCESS_DENIED`, `STORAGE_NOT_FOUND` (no such bucket),
   *   `STORAGE_FAILED`, and for S3 `AWS_UNREACHABLE`, `AWS_THROTTLED` and the others of `awsFailure`.
   */
  put(uri: string, body: string | Uint8Array, options?: PutOptions): Promise<ObjectInfo>;
  /**
   * Bytes `from` (included) to `to` (excluded) of an object that doesn't change, e.g. a file's footer.
   *
   * @throws UserError `STORAGE_NOT_FOUND` when there is none.
   */
  getRange(uri: string, from: number, to: number): Promise<Uint8Array>;
  /** What is known of an object without reading it; `undefined` when there is none. */
  head(uri: string): Promise<ObjectInfo | undefined>;
  /** Every object below a prefix, in the byte order of their keys or paths, paged behind the scenes. */
  list(prefix: string): AsyncIterable<ObjectInfo>;
  /** @throws UserError `STORAGE_NOT_FOUND` when there is no source. */
  copy(from: string, to: string): Promise<void>;
  /**
   * Gives an object another name: on files a rename, on S3 a copy and then the source's deletion, so that a process that dies
   * between has both. Of several that move the same object, all but the first may find no source.
   *
   * @throws UserError `STORAGE_NOT_FOUND` when there is no source.
   */
  move(from: string, to: string): Promise<void>;
  /** No error when there is none. */
  delete(uri: string): Promise<void>;
  /** Deletes every object below a folder whose URI ends with `/`; on files the folder too. */
  deleteAll(folder: string): Promise<void>;
}
