/**
 * What the main isolate and a worker say to each other: frames of a type and a payload, on any byte transport.
 *
 * A worker is told once which handler it runs (INIT, answered by READY or ERROR). Each request then goes from START to
 * DONE, and its context (CONTEXT) comes before that, where it has changed. In between the client's bytes travel as DATA and
 * END both ways, and a worker may ask for what only the owner of the socket can do: SEND_TO (answered by SENT), SET_OPTION,
 * CLOSE. WAIT and EXPIRED are the time limit of a read that blocks. A handler may call methods of its server (CALL, answered
 * by RETURN in any order). While such calls are under way the client's bytes are sent one part at a time, each of which the
 * worker asks for (MORE): an answer must not wait behind bytes that nobody reads. After DONE a worker drops what still
 * comes, up to the next START.
 *
 * @module
 */
/** The types of frames. */
export const FRAME = {
  /** To a worker: the handler to run; an {@linkcode Init}. */
  INIT: 1,
  /** From a worker: the handler is there. */
  READY: 2,
  /** To a worker: a request; a {@linkcode Start}, then its datagram. */
  START: 3,
  /** Either way: bytes of the stream. */
  DATA: 4,
  /** Either way: the end of the stream. */
  END: 5,
  /** From a worker: a datagram; the address, then the bytes. */
  SEND_TO: 6,
  /** From a worker: an option of the socket; a {@linkcode SocketOption}. */
  SET_OPTION: 7,
  /** From a worker: close the connection at once. To a worker: the client is cut off. */
  CLOSE: 8,
  /** From a worker: it blocks until there is more to read; a {@linkcode Wait}. */
  WAIT: 9,
  /** To a worker: the time of the {@linkcode Wait} of this number is up. */
  EXPIRED: 10,
  /** From a worker: the handler could not be loaded; an error. */
  ERROR: 11,
  /** From a worker: the request has ended; an {@linkcode Outcome}. */
  DONE: 12,
  /** To a worker: what became of its earliest SEND_TO so far; an error, or nothing. */
  SENT: 13,
  /** To a worker: the context of the requests that come, until there is another. */
  CONTEXT: 14,
  /** From a worker: the handler calls a method of its server; a {@linkcode ServerCall}. */
  CALL: 15,
  /** To a worker: what came of a call; a {@linkcode ServerReturn}. */
  RETURN: 16,
  /** From a worker: while calls are under way, its handler waits for more of the stream. */
  MORE: 17,
  /** To a worker: the stream has ended, but not as its protocol has it. */
  CUT: 18,
} as const;

/** The type of a frame. */
export type FrameType = typeof FRAME[keyof typeof FRAME];

/** Type and length. */
export const HEADER_BYTES = 5;
/** How long a key is; see {@linkcode newKey}. */
const KEY_BYTES = 16;
/** The longest payload of a DATA frame, in bytes: with its key and header it fills a pipe of Linux. */
export const MAX_DATA = 64 * 1024 - KEY_BYTES - HEADER_BYTES;
/** How long a context may be, in bytes as it is sent: it is copied several times on the way. */
export const MAX_CONTEXT = 16 * 1024 * 1024;
/**
 * The longest payload of a frame with an error in it, in bytes; `toErrorMessage()` makes none that is longer. To parse
 * what is made for it takes some 10 ms, in which the server does nothing else.
 */
const MAX_ERROR = 64 * 1024;
/** The longest payload of a frame with a few settings in it, in bytes. */
const MAX_SETTINGS = 64 * 1024;
/** The longest payload of a frame with a call or its result, in bytes. */
export const MAX_CALL = 64 * 1024;
/** How many calls a worker has under way at the most. */
export const MAX_CALLS = 16;
/** The longest datagram that a worker asks to be sent, in bytes; no system sends one as long as that. */
export const MAX_DATAGRAM = 1024 * 1024;
/** The types of frames that an end reads, each with its longest payload in bytes. */
export type FrameLimits = Readonly<Partial<Record<FrameType, number>>>;

/** What a worker reads. */
export const TO_WORKER: FrameLimits = {
  [FRAME.INIT]: MAX_SETTINGS,
  [FRAME.START]: MAX_SETTINGS + MAX_DATAGRAM,
  [FRAME.CONTEXT]: MAX_CONTEXT,
  [FRAME.DATA]: MAX_DATA,
  [FRAME.END]: 0,
  [FRAME.CUT]: 0,
  [FRAME.CLOSE]: 0,
  [FRAME.EXPIRED]: 0,
  [FRAME.SENT]: MAX_ERROR,
  [FRAME.RETURN]: MAX_CALL,
};

/** What the main isolate reads. */
export const FROM_WORKER: FrameLimits = {
  [FRAME.READY]: 0,
  [FRAME.DATA]: MAX_DATA,
  [FRAME.END]: 0,
  [FRAME.SEND_TO]: MAX_DATAGRAM + MAX_SETTINGS,
  [FRAME.SET_OPTION]: MAX_SETTINGS,
  [FRAME.CLOSE]: 0,
  [FRAME.WAIT]: MAX_SETTINGS,
  [FRAME.ERROR]: MAX_ERROR,
  [FRAME.DONE]: MAX_ERROR,
  [FRAME.CALL]: MAX_CALL,
  [FRAME.MORE]: 0,
};

/** Makes a key that nobody can guess. */
export function newKey(): string {
  const random = crypto.getRandomValues(new Uint8Array(KEY_BYTES / 4 * 3));
  return btoa(String.fromCharCode(...random));
}
