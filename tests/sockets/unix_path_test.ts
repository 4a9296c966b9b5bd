/**
 * The lock by which servers that start on one path take turns.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { bindSocketFile } from "../../src/sockets/unix/unix_path.ts";
import { tempSocketPath } from "../harness.ts";

/** Binds a path, and says whether another server could take its lock meanwhile. */
function bindAndLook(path: string, removedByDeno: boolean): boolean {
  let couldLock = false;
  const { socket } = bindSocketFile(path, {
    bind(name) {
      using other = Deno.openSync(`${path}.lock`, { write: true });
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
