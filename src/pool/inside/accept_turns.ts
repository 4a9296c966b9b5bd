/**
 * Which Workers of a threading server wait for clients: they follow each other in `accept()`.
 *
 * Workers that wait in accept are all woken by each client, so that few may; waking one that sleeps costs as much as to
 * serve a short request, so that it is done only where few wait. Hence a Worker that is done goes on accepting while fewer
 * than a maximum do, else it sleeps; one that has taken a client wakes another when fewer than a minimum are left. All of
 * that is counted in shared memory: no message is sent for a client, and the main isolate is woken only when fewer are
 * idle than there are to be spare.
 *
 * @module
 */
import * as atomics from "../../channel/atomics.ts";
import { TURN, type TurnState, type WorkerRecord } from "./worker_record.ts";

/** How many are to wait in accept, while there are others that sleep. */
const MIN_WAITING = 3;
/** How many may. */
const MAX_WAITING = 12;

/** Which run of the server Workers may accept for; 0 for none. */
const RUN = 0;
/** How many wait in accept. */
const WAITING = 1;
/** How many sleep. */
const SLEEPING = 2;
/** How many are idle: wait, or sleep, or are between the two. */
const IDLE = 3;
/** Changes when sleepers are to look whether they may wait in accept, or are to leave. */
const WAKE = 4;
/** How many are to be idle. */
const SPARE = 5;
/** Changes when fewer are. */
const LOW = 6;
/** How many serve a client. */
const ACTIVE = 7;
/** The most that ever did. */
const PEAK = 8;
const CELLS = 9;

type Cells = Int32Array<SharedArrayBuffer>;

const CellArray = Int32Array; // taken before a handler's module is loaded, as the functions of Atomics are

function wakeAll(cells: Cells): void {
  atomics.add(cells, WAKE, 1);
  atomics.notify(cells, WAKE);
}

function ringIfLow(cells: Cells): void {
  if (atomics.load(cells, IDLE) >= atomics.load(cells, SPARE)) return;
  atomics.add(cells, LOW, 1);
  atomics.notify(cells, LOW);
}

/** The turns of all Workers, seen from the main isolate. */
export class AcceptTurns {
  readonly memory: SharedArrayBuffer = new SharedArrayBuffer(CELLS * Int32Array.BYTES_PER_ELEMENT);
  readonly #cells: Cells = new CellArray(this.memory);

  /** Lets the Workers of a run accept. */
  open(run: number): void {
    atomics.store(this.#cells, RUN, run);
    wakeAll(this.#cells);
  }

  /** Lets nobody accept any more who does not wait already. */
  close(): void {
    atomics.store(this.#cells, RUN, 0);
    atomics.add(this.#cells, LOW, 1);
    atomics.notify(this.#cells, LOW); // nobody watches any more
  }

  /** How many are to be idle. */
  set spare(count: number) {
    atomics.store(this.#cells, SPARE, count);
  }

  /** The most that served clients at once. */
  get peak(): number {
    return atomics.load(this.#cells, PEAK);
  }

  /** Calls `fill` now, and each time that too few are idle, until the turns are closed. */
  async watch(run: number, fill: () => void): Promise<void> {
    const cells = this.#cells;
    while (atomics.load(cells, RUN) === run) {
      const seen = atomics.load(cells, LOW);
      fill();
      const low = atomics.waitAsync(cells, LOW, seen);
      if (low.async) await low.value;
    }
  }

  /** Takes a Worker out that has ended in a state. */
  forget(state: TurnState): void {
    const cells = this.#cells;
    if (state === TURN.WAITING) atomics.sub(cells, WAITING, 1);
    if (state === TURN.BUSY) atomics.sub(cells, ACTIVE, 1);
    if (state !== TURN.WAITING && state !== TURN.PARKED) return;
    atomics.sub(cells, IDLE, 1);
    wakeAll(cells); // it may have been woken to wait in accept
  }
}

/** The turns of one Worker, seen from inside. */
export class WorkerTurn {
  /** Which run it serves. */
  run = 0;
  readonly #cells: Cells;
  readonly #record: WorkerRecord;

  constructor(memory: SharedArrayBuffer, record: WorkerRecord) {
    this.#cells = new CellArray(memory);
    this.#record = record;
  }

  /** Whether the server wants its Workers to accept, this one included. */
  get isOpen(): boolean {
    return this.run !== 0 && atomics.load(this.#cells, RUN) === this.run;
  }

  /**
   * Waits until it may wait in accept.
   *
   * @param leaves Whether it is to leave instead; asked each time that it is woken.
   * @returns Whether it may; else it leaves.
   */
  async begin(leaves: () => boolean): Promise<boolean> {
    const cells = this.#cells;
    const { state } = this.#record;
    if (state === TURN.LEAVING) return false; // it was given up on, and counts no more
    if (state === TURN.BUSY) atomics.sub(cells, ACTIVE, 1);
    if (state !== TURN.PARKED) atomics.add(cells, IDLE, 1);
    this.#record.state = TURN.PARKED;
    // Before it looks for a place: whoever frees one later sees that somebody sleeps.
    atomics.add(cells, SLEEPING, 1);
    try {
      while (true) {
        const seen = atomics.load(cells, WAKE);
        if (leaves()) return this.#leave();
        if (this.#mayWait()) return true;
        const woken = atomics.waitAsync(cells, WAKE, seen);
        if (woken.async) await woken.value;
      }
    } finally {
      atomics.sub(cells, SLEEPING, 1);
    }
  }

  /** Takes back that it waits in accept: it has failed there, or is to do something else. */
  stop(): void {
    atomics.sub(this.#cells, WAITING, 1);
    this.#record.state = TURN.PARKED;
  }

  /** Notes that a client has come, and sees to it that others wait for the next. */
  took(): void {
    const cells = this.#cells;
    this.#record.state = TURN.BUSY;
    atomics.sub(cells, IDLE, 1);
    const waiting = atomics.sub(cells, WAITING, 1) - 1;
    const active = atomics.add(cells, ACTIVE, 1) + 1;
    for (let peak = atomics.load(cells, PEAK); active > peak; peak = atomics.load(cells, PEAK)) {
      atomics.compareExchange(cells, PEAK, peak, active);
    }
    if (waiting < MIN_WAITING && atomics.load(cells, SLEEPING) > 0) {
      atomics.add(cells, WAKE, 1);
      atomics.notify(cells, WAKE, 1);
    }
    ringIfLow(cells);
  }

  /** Makes one that sleeps look around. */
  wake(): void {
    wakeAll(this.#cells);
  }

  /** Whether there are more idle ones than there are to be; one that is told so has to leave, and is idle no more. */
  takeSurplus(): boolean {
    const cells = this.#cells;
    for (let idle = atomics.load(cells, IDLE); idle > atomics.load(cells, SPARE);) {
      const before = atomics.compareExchange(cells, IDLE, idle, idle - 1);
      if (before === idle) {
        this.#record.state = TURN.LEAVING;
        return true;
      }
      idle = before;
    }
    return false;
  }

  /** Notes that it leaves. */
  #leave(): false {
    if (this.#record.state !== TURN.LEAVING) {
      this.#record.state = TURN.LEAVING;
      atomics.sub(this.#cells, IDLE, 1);
      ringIfLow(this.#cells);
    }
    wakeAll(this.#cells); // it may have been woken to wait in accept
    return false;
  }

  /** Takes a place in accept, where there is one. */
  #mayWait(): boolean {
    const cells = this.#cells;
    for (let waiting = atomics.load(cells, WAITING); this.isOpen && waiting < MAX_WAITING;) {
      const before = atomics.compareExchange(cells, WAITING, waiting, waiting + 1);
      if (before === waiting) {
        this.#record.state = TURN.WAITING;
        if (this.isOpen) return true; // else whoever closed it may not have seen that this one waits
        this.stop();
        return false;
      }
      waiting = before;
    }
    return false;
  }
}
