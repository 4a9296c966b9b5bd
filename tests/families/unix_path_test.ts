/**
 * The lock by which servers that start on one path take turns.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { bindSocketFile } from "../../src/families/unix_path.ts";
import { tempSocketPath } from "../harness.ts";

/** Binds a path, and says whether another server could take its lock meanwhile. */
function bindAndLook(path: string, removedByDeno: boolean): boolean {
  let couldLock = false;
  const { socket } = bindSocketFile(path, {
    bind(name) {
      using other = Deno.openSync(`${path}.netkit-lock`, { write: true });
      couldLock = other.tryLockSync(true);
      return Deno.listen({ transport: "unix", path: name });
    },
    mode: null,
    removedByDeno,
  });
  socket.close();
  return couldLock;
}

Deno.test("fault 30: bindSocketFile() has the lock of the path while it binds", () => {
  for (const removedByDeno of [true, false]) {
    assertEquals(bindAndLook(tempSocketPath(), removedByDeno), false);
  }
});

Deno.test("fault 30: bindSocketFile() takes no lock for its own whose file has been removed", () => {
  const path = tempSocketPath();
  const { openSync } = Deno;
  try {
    Deno.openSync = (name, options) => {
      const file = openSync(name, options);
      Deno.removeSync(name); // as the server does that has had the lock until now
      Deno.openSync = openSync;
      return file;
    };
    assertEquals(bindAndLook(path, true), false);
  } finally {
    Deno.openSync = openSync;
  }
});

Deno.test("bindSocketFile() waits while others have the lock by turns", () => {
  const path = tempSocketPath();
  const name = `${path}.netkit-lock`;
  let owner: Deno.FsFile | undefined;
  let [pauses, turns] = [0, 5];
  const next = () => {
    owner?.close();
    if (owner !== undefined) Deno.removeSync(name);
    owner = undefined;
    if (turns === 0) return;
    owner = Deno.openSync(name, { write: true, createNew: true });
    owner.utimeSync(0, turns--); // as one that has begun a while after the last
    owner.lockSync(true);
  };
  const { wait } = Atomics;
  try {
    Atomics.wait = ((...args: Parameters<typeof wait>) => {
      if (args[3] !== 5) return wait(...args);
      if (++pauses % 300 === 0) next();
      return "timed-out";
    }) as typeof wait;
    next();
    assertEquals(bindAndLook(path, true), false);
    assertEquals(pauses, 5 * 300);
  } finally {
    Atomics.wait = wait;
    owner?.close();
  }
});

Deno.test("fault 30: bindSocketFile() takes no path that another has got meanwhile", async () => {
  const path = tempSocketPath();
  const listen = (path: string) => Deno.listen({ transport: "unix", path });
  let other: Deno.Listener | undefined; // one that may not use the lock
  const bind = (name: string) => {
    other = listen(path);
    return listen(name);
  };
  assertThrows(
    () => bindSocketFile(path, { bind, mode: null, removedByDeno: true }),
    Deno.errors.AddrInUse,
  );
  (await Deno.connect({ transport: "unix", path })).close(); // it still has the path
  other!.close();
});
