/**
 * The measurement: contenders take turns, A B C A B C, so that whatever else the machine does meets all of them.
 *
 * @module
 */
import { BARE, type Contender, CONTENDERS, reasonToMiss, type Tools } from "./contenders.ts";
import { type Figures, median, processorTimeOf, type Ratio, ratioOf, rounded } from "./figures.ts";
import { Generator } from "./generator.ts";
import { type Reached, reachedUnder } from "./goals.ts";
import { isCost, type Load } from "./loads.ts";
import { Program } from "./process.ts";

/** What is measured, and how long. */
export interface Plan {
  contenders: readonly Contender[];
  rounds: number;
  /** How long a round of a contender takes. */
  seconds: number;
  tools: Tools;
}

/** What came of one load. */
export interface LoadResult extends Pick<Load, "name" | "title" | "detail" | "unit"> {
  results: Figures[];
  /** How each compares with the bare loop and with its counterpart. */
  ratios: ({ contender: string; other: string } & Ratio)[];
  /** Who has no part in it, and why. */
  missing: { contender: string; reason: string }[];
  /** Who gave a wrong answer, or none. */
  failed: { contender: string; reason: string }[];
  /** What the load generator could do with the quickest contender, did it never wait; in the unit of the load. */
  ceiling: number | null;
  reached: Reached[];
}

/** What a contender did in one round. */
interface Turn {
  /** In the unit of the load. */
  figure: number;
  answers: number;
  /** Processor time of the server, in seconds. */
  processor: number;
  lost: number;
  busy: number | null;
}

/** How long a server may take to listen, in milliseconds: Deno fetches and compiles at the first start. */
const START_LIMIT = 60_000;
/** How long memory is left alone before it is measured, in milliseconds. */
const SETTLE = 500;

/** One contender under one load. */
class Entry implements AsyncDisposable {
  readonly contender: Contender;
  readonly turns: Turn[] = [];
  readonly #load: Load;
  readonly #tools: Tools;
  #server?: Program;
  #generator?: Generator;

  constructor(contender: Contender, load: Load, tools: Tools) {
    this.contender = contender;
    this.#load = load;
    this.#tools = tools;
  }

  async #start(): Promise<{ server: Program; port: number }> {
    const { service, sockets } = this.#load;
    const server = new Program(this.contender.command(this.#tools, service, sockets));
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error("it does not listen")), START_LIMIT);
    try {
      return { server, port: Number(await Promise.race([server.readLine(), late.promise])) };
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Starts the server, where it stays for all rounds, and connects the load with it. */
  async open(): Promise<void> {
    if (this.#load.kind === "start" || this.#load.kind === "idle") return;
    const { server, port } = await this.#start();
    this.#server = server;
    this.#generator = await Generator.connect(this.#tools, this.#load, port);
  }

  async warmUp(seconds: number): Promise<void> {
    if (this.#load.kind === "transfer") return; // the time of one would be as good as a round
    await this.#generator?.run(seconds * (this.#load.warmUp ?? 1));
  }

  /** Its turn in a round. */
  async turn(seconds: number): Promise<void> {
    const { kind } = this.#load;
    if (kind === "start") this.turns.push(await this.#measureStart());
    else if (kind === "idle") this.turns.push(await this.#measureIdle());
    else this.turns.push(await this.#measureLoad(this.#server!, this.#generator!, seconds));
  }

  async #measureLoad(server: Program, generator: Generator, seconds: number): Promise<Turn> {
    const before = server.processorTime();
    const round = await generator.run(seconds);
    const processor = server.processorTime() - before;
    const done = this.#load.unit === "MB/s" ? this.#load.size / 1e6 : round.answers;
    return { ...round, figure: done / round.seconds, processor };
  }

  async #measureStart(): Promise<Turn> {
    const start = performance.now();
    const { server, port } = await this.#start();
    await using _ = server;
    using conn = await Deno.connect({ hostname: "127.0.0.1", port });
    const message = new TextEncoder().encode("The first message\n");
    await conn.write(message);
    const answer = new Uint8Array(message.length + 1);
    for (let got = 0; got < message.length;) {
      const count = await conn.read(answer.subarray(got));
      if (count === null) throw new Error("Cannot read answer: the server closed the connection");
      got += count;
    }
    const figure = performance.now() - start;
    if (message.some((byte, index) => answer[index] !== byte)) {
      throw new Error("Cannot use answer: it is not the message");
    }
    return { figure, answers: 1, processor: server.processorTime(), lost: 0, busy: null };
  }

  /** Memory with many connections that have had an answer and wait, less that with one. */
  async #measureIdle(): Promise<Turn> {
    const { server, port } = await this.#start();
    await using _ = server;
    await using _one = await Generator.connect(this.#tools, { ...this.#load, sockets: 1 }, port);
    await settle();
    const [memory, processor] = [server.memory(), server.processorTime()];
    await using all = await Generator.connect(this.#tools, this.#load, port);
    await settle();
    const figure = (server.memory() - memory) / this.#load.sockets / 1024;
    const used = server.processorTime() - processor;
    const { answers } = await all.run(0); // they are all there yet
    return { figure, answers, processor: used, lost: 0, busy: null };
  }

  figures(): Figures {
    const rounds = this.turns.map((turn) => rounded(turn.figure));
    const processor = processorTimeOf(
      this.turns.map((turn) => turn.processor),
      this.turns.map((turn) => turn.answers),
    );
    const lost = this.turns.reduce((sum, turn) => sum + turn.lost, 0);
    return {
      contender: this.contender.name,
      rounds,
      median: median(rounds),
      processor: processor === null ? null : rounded(processor),
      ...(lost > 0 ? { lost } : {}),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#generator?.[Symbol.asyncDispose]();
    await this.#server?.[Symbol.asyncDispose]();
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE));
}

/** Measures all contenders under one load. */
export async function measure(load: Load, plan: Plan): Promise<LoadResult> {
  const { name, title, detail, unit } = load;
  const missing: LoadResult["missing"] = [];
  const failed: LoadResult["failed"] = [];
  await using stack = new AsyncDisposableStack();
  let entries: Entry[] = [];
  for (const contender of plan.contenders) {
    const reason = reasonToMiss(contender, load, plan.tools);
    if (reason !== null) missing.push({ contender: contender.name, reason });
    else entries.push(stack.use(new Entry(contender, load, plan.tools)));
  }
  const each = async (act: (entry: Entry) => Promise<void>) => {
    for (const entry of [...entries]) {
      try {
        await act(entry);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        failed.push({ contender: entry.contender.name, reason });
        entries = entries.filter((other) => other !== entry);
      }
    }
  };
  await each((entry) => entry.open());
  await each((entry) => entry.warmUp(plan.seconds));
  for (let round = 0; round < plan.rounds; round++) await each((entry) => entry.turn(plan.seconds));

  const results = entries.map((entry) => entry.figures());
  return {
    name,
    title,
    detail,
    unit,
    results,
    ratios: ratiosOf(load, results),
    missing,
    failed,
    ceiling: ceilingOf(entries),
    reached: reachedUnder(load, results),
  };
}

/** All contenders with what each is compared with, where both were measured. */
export function ratiosOf(
  load: Pick<Load, "unit">,
  results: readonly Figures[],
): LoadResult["ratios"] {
  return results.flatMap((figures) => {
    const { counterpart } = CONTENDERS.find(({ name }) => name === figures.contender) ?? {};
    return [BARE, counterpart].flatMap((other) => {
      const found = results.find(({ contender }) => contender === other);
      if (other === undefined || found === undefined || found === figures) return [];
      const { figure, processor } = ratioOf(figures, found, isCost(load));
      return [{
        contender: figures.contender,
        other,
        figure: rounded(figure, 3),
        processor: processor === null ? null : rounded(processor, 3),
      }];
    });
  });
}

/** The rate of the quickest, did the load generator never wait for it. */
function ceilingOf(entries: readonly Entry[]): number | null {
  const rates = entries.flatMap(({ turns }) => {
    const known = turns.filter(({ busy }) => busy !== null && busy > 0);
    if (known.length === 0) return [];
    const figure = median(known.map((turn) => turn.figure));
    return [{ figure, ceiling: median(known.map((turn) => turn.figure / turn.busy!)) }];
  });
  const quickest = rates.toSorted((a, b) => b.figure - a.figure)[0];
  return quickest === undefined ? null : rounded(quickest.ceiling, 3);
}
